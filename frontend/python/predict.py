"""Predictors: the leaves that ask a model. Their instruction and demos are what optimizers change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, cast, overload

from lampc.frontend.python.calllog import CallRecord, held_weakly, remember
from lampc.frontend.python.continuing import gone_on, model_of, take_after
from lampc.frontend.python.example import Example, Prediction
from lampc.frontend.python.fields import OutputField
from lampc.frontend.python.frames import here
from lampc.frontend.python.given import as_given, check_inputs, demo_set
from lampc.frontend.python.module import Module, Parameter
from lampc.frontend.python.modules.hints import hinted
from lampc.frontend.python.options import call_key, checked_options, sampling_of
from lampc.frontend.python.ordering import asked_order, in_asked_order
from lampc.frontend.python.serials import serials
from lampc.frontend.python.signature import ensure_signature
from lampc.frontend.python.values.plain import known_plain
from lampc.ir import Kept, Key, Sampling, Span, freeze, thaw
from lampc.ir import Signature as IRSignature
from lampc.ir.adapters import Bound, ParseFailure
from lampc.ir.adapters.registry import layout_for
from lampc.ir.content import Cascade
from lampc.ir.modelnames import model_name, saved_model
from lampc.ir.runner import runner
from lampc.ir.settings import settings

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from lampc.frontend.python.typed import Answer

    A = TypeVar("A", default=Any)
    S = TypeVar("S", bound=Answer)
else:
    from typing import TypeVar

    A = TypeVar("A")
    S = TypeVar("S")


class Predict(Module, Parameter, Generic[A]):
    """Ask a model to fill the outputs of a signature.

    `config` takes `temperature top_k top_p min_p max_tokens stop n rollout_id`, `presence_penalty`,
    `frequency_penalty`, `repetition_penalty`, `logit_bias` ({token id: number}), and further options (`seed`,
    `reasoning_effort`) that go to an endpoint as they are. `layout` names an adapter ("": that of the
    settings), or `template` is a prompt in Jinja2 (a text, chat messages, or `lampc.Template`), which is translated:
    CompileError says line and column of what cannot be. Calls take the inputs by name, and `signature= demos= config=
    lm=` for that call only.

    With `after=d`, where `d` is what a predictor gave, a call goes on where that one ended: behind its prompt and what
    the model wrote stands this one's task, with its inputs.

    With `n` the answers are drawn as forks of one prompt, together. Their temperature is 0.7 unless one above 0.15
    is asked for. Calls that differ in `rollout_id` alone are different draws.
    """

    frozen: tuple[str, ...] = ()
    """Parameters that no optimizer changes; `lampc.freeze` sets this and `kept`."""
    kept: Kept = Kept()
    """What stands in every prompt, whatever instruction and demos are chosen."""
    cascade: Cascade | None = None
    """A cheap model that is asked first, by name; `lampc.Cascade(...)` finds when its answers stand."""
    proxy: Any = None
    """That model, if it is an object."""

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: Predict[S],
            signature: type[S],
            callbacks: Any = None,
            *,
            layout: str = "",
            symbol: str = "",
            **config: Any,
        ) -> None: ...
        @overload
        def __init__(
            self: Predict[Prediction], signature: Any, callbacks: Any = None, *, layout: str = "", symbol: str = "",
            **config: Any,
        ) -> None: ...  # fmt: skip

    def __init__(
        self, signature: Any, callbacks: Any = None, *, layout: str = "", symbol: str = "", template: Any = None,
        **config: Any,
    ) -> None:  # fmt: skip
        super().__init__(callbacks)
        self.signature = ensure_signature(signature)
        self.layout = layout if template is None else layout_of(template, self.signature.ir())
        self.symbol = symbol
        self.config = checked_options(config)
        self.serial = next(serials)
        self.loc: Span = here()
        if asked_order(self.signature)[1]:
            self.frozen = ("layout",)
        self.reset()

    def reset(self) -> None:
        """Forget what was learnt; frozen demos stay."""
        self.lm: Any = None
        self.traces: list[Any] = []
        self.train: list[Any] = []
        self.demos: list[Any] = self.demos if "demos" in self.frozen else []
        self.cascade, self.proxy = None, None

    def update_config(self, **config: Any) -> None:
        self.config = {**self.config, **checked_options(config)}

    def get_config(self) -> dict[str, Any]:
        return self.config

    def ir_signature(self) -> IRSignature:
        signature: IRSignature = self.signature.ir()
        return signature

    def layout_in_force(self, signature: IRSignature | None = None) -> str:
        """The adapter's name: this predictor's own, else that of the settings, else what the configured model is best
        asked in (DSPy's default, `chat`, if it does not say), and without a model `compact`. Under the setting
        `compat` its strict form. In the order of blocks that the signature asks for; `signature` is that of a call.
        """
        here = settings.view()
        lm = here["lm"]
        default = "compact" if lm is None else getattr(lm, "default_layout", "chat")
        name = layout_for(self.layout or here["layout"] or default, here["compat"])
        blocks, _ = asked_order(self.signature)
        return in_asked_order(name, blocks, signature or self.ir_signature()) if blocks else name

    def bound(self, signature: Any = None, demos: Any = None, lm: Any = None) -> Bound:
        """The parameters of a call as they are now."""
        chosen = ensure_signature(signature).ir() if signature is not None else self.ir_signature()
        shown = demo_set(self.demos if demos is None else demos)
        name = self.symbol or chosen.name or "predict"
        layout, model, keep = self.layout_in_force(chosen), model_name(lm or self.lm), self.kept
        return Bound(
            name, chosen, keep.instruction(chosen.instruction), keep.shown(shown), layout, model, keep, self.cascade
        )

    def _shown(self, demos: Any) -> list[Any]:
        """Demos as Python has them, those that are kept first."""
        known = {d.values for d in self.kept.demos.items}
        held = [Example(thaw(d.values)) for d in self.kept.demos.items]
        return held + [d for d in demos if not known or demo_set([d]).items[0].values not in known]

    def forward(self, **inputs: Any) -> A:
        """One call, or `n` of them: then attributes give the first, `.completions` all."""
        here = settings.view()
        config = {**here["sampling"], **self.config, **checked_options(inputs.pop("config", None) or {})}
        signature = ensure_signature(inputs.pop("signature", None)) or self.signature
        demos, lm = inputs.pop("demos", None), inputs.pop("lm", None)
        bound = self.bound(signature, demos, lm)
        asked = lm or self.lm or here["lm"]
        if (after := take_after(inputs, signature.input_fields)) is not None:
            bound = gone_on(bound, after, asked)
        values = check_inputs(bound.signature, bound.name, signature.lower(inputs))
        if len(inputs) < len(values):
            bound = replace(bound, signature=as_given(bound.signature, inputs))
        bound = hinted(self, bound, values)
        n, sampling = sampling_of(config)
        ask: Any = runner(f"predictor `{bound.name}`")
        own = bool(getattr(here["adapter"], "changed", "")) and not self.layout
        if own and bound.after:
            raise TypeError(
                f"`{bound.name}`: after= needs an adapter of lampc's own, not {type(here['adapter']).__name__}"
            )
        if own:
            from lampc.frontend.python.own_adapters import Own

            shown = self._shown(self.demos if demos is None else demos)
            ask = Own(here["adapter"], ask, signature, inputs, shown, lm or self.lm, config)
        elif here["callbacks"] or getattr(here["adapter"], "callbacks", None):
            from lampc.frontend.python.adapter_events import Told

            ask = Told(ask, signature, inputs)
        key = call_key(bound.name, config)
        sink = here["send_stream"]
        if sink is None:
            found = drawn(ask, bound, values, sampling, key, n, signature)
        else:
            with sink.calling(self, bound, values) as ended:
                found = drawn(ask, bound, values, sampling, key, n, signature)
                ended([text for _, text in found])
        texts = tuple(text for _, text in found)
        call = CallRecord(bound, values, texts, ask.sent if own else (), held_weakly(asked), model_of(asked))
        remember(call)
        completions = [outputs if own else signature.lift(outputs) for outputs, _ in found]
        made = Prediction.from_completions(completions, signature)
        made._call = call
        if (trace := here["trace"]) is not None:
            given = {k: v for k, v in values.items() if k in inputs or k not in signature.input_fields}
            trace.append((self, {**inputs, **given}, made))
        return cast(A, made)

    def __call__(self, *args: Any, **kwargs: Any) -> A:
        if args:
            self._refuse()
        return cast(A, super().__call__(**kwargs))

    async def acall(self, *args: Any, **kwargs: Any) -> A:
        if args:
            self._refuse()
        return cast(A, await super().acall(**kwargs))

    def _refuse(self) -> None:
        names = ", ".join(f"{n}=..." for n in self.signature.input_fields)
        raise ValueError(f"a predictor takes its inputs by name: ({names})")

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """In the form that DSPy saves; with `json_mode` objects in demos as their JSON."""
        state = getattr(self.lm, "dump_state", None)
        from lampc.frontend.python.freezing import frozen_state

        demos = [dict(d.toDict() if isinstance(d, Example) else d) for d in self.demos]
        frozen = frozen_state(self)
        return {
            "traces": list(self.traces),
            "train": list(self.train),
            "demos": known_plain(demos) if json_mode else demos,
            "signature": self.signature.dump_state(),
            "lm": state() if state is not None else self.lm,
            **({"frozen": frozen} if frozen else {}),
            **({"cascade": self._cascade_state()} if self.cascade is not None else {}),
        }

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> Predict:
        """Take over one predictor's part of a saved state. Raises KeyError or ValueError for another form, and
        ValueError for a model that only a trusted file may name."""
        from lampc.frontend.python.freezing import load_frozen

        lm = saved_model(state.get("lm"), allow_unsafe_lm_state)
        self.signature = self.signature.load_state(state["signature"])
        self.demos = [Example(d) for d in state["demos"]]
        self.traces, self.train = list(state.get("traces", ())), list(state.get("train", ()))
        self.lm = lm
        load_frozen(self, state.get("frozen") or {})
        self.cascade, self.proxy = None, None
        if kept := state.get("cascade"):
            self.proxy = saved_model(kept["proxy"], allow_unsafe_lm_state)
            record = freeze(dict(kept.get("record", {})))
            self.cascade = Cascade(model_name(self.proxy), float(kept["threshold"]), record)
        return self

    def _cascade_state(self) -> dict[str, Any]:
        assert self.cascade is not None
        state = getattr(self.proxy, "dump_state", None)
        proxy = state() if state is not None else self.cascade.proxy
        return {"proxy": proxy, "threshold": self.cascade.threshold, "record": thaw(self.cascade.record)}

    def __repr__(self) -> str:
        return f"Predict({self.signature!r})"


class ChainOfThought(Module, Generic[A]):
    """A predictor that first writes its `reasoning`."""

    if TYPE_CHECKING:

        @overload
        def __init__(
            self: ChainOfThought[S],
            signature: type[S],
            rationale_field: Any = None,
            rationale_field_type: Any = str,
            **config: Any,
        ) -> None: ...
        @overload
        def __init__(
            self: ChainOfThought[Prediction], signature: Any, rationale_field: Any = None,
            rationale_field_type: Any = str, **config: Any,
        ) -> None: ...  # fmt: skip

    def __init__(
        self, signature: Any, rationale_field: Any = None, rationale_field_type: Any = str, **config: Any
    ) -> None:
        super().__init__()
        field = rationale_field or OutputField(desc="${reasoning}")
        type_ = (
            getattr(rationale_field, "annotation", rationale_field_type) if rationale_field else rationale_field_type
        )
        extended = ensure_signature(signature).prepend("reasoning", field, type_)
        self.predict: Predict[A] = Predict(extended, **config)

    def forward(self, **inputs: Any) -> A:
        return self.predict(**inputs)

    if TYPE_CHECKING:

        def __call__(self, *args: Any, **kwargs: Any) -> A: ...
        async def acall(self, *args: Any, **kwargs: Any) -> A: ...


def drawn(
    ask: Any, bound: Bound, values: Mapping[str, Any], sampling: Sampling, key: Key, n: int, signature: Any = None
) -> list[Any]:
    """(outputs, text) of `n` draws of a call."""
    try:
        if hasattr(ask, "predict_many"):  # what ManyRunner says; asking a protocol takes ten times as long
            found: list[Any] = ask.predict_many(bound, values, sampling, key, n)
            return found
        return [ask.predict(bound, values, sampling, key) for _ in range(n)]
    except ParseFailure as e:
        e.signature = signature or e.signature
        raise


def layout_of(template: Any, signature: IRSignature) -> str:
    """The layout that a template of the user's own makes. Raises CompileError, ValueError."""
    from lampc.ir.templates import Template

    made = Template.of(template)
    made.check(signature)
    return made.layout()
