"""Predictors: the leaves that ask a model. Their instruction and demos are what optimizers change."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lampc.frontend.python.example import Example, Prediction
from lampc.frontend.python.fields import OutputField
from lampc.frontend.python.frames import here
from lampc.frontend.python.module import Module, Parameter
from lampc.frontend.python.signature import ensure_signature
from lampc.ir import Demo, DemoSet, Key, Sampling, Span, freeze
from lampc.ir import Signature as IRSignature
from lampc.ir.adapters import Bound
from lampc.ir.runner import ManyRunner, runner

serials = itertools.count()
"""Numbers declarations in the order in which they are made."""

_SAMPLING = ("temperature", "top_k", "top_p", "max_tokens", "stop")
_OTHER = ("n", "rollout_id")


class Predict(Module, Parameter):
    """Ask a model to fill the outputs of a signature.

    `config` takes `temperature top_k top_p max_tokens stop n`; `layout` names an adapter. Calls take the
    inputs by name, and `signature= demos= config= lm=` for that call only.
    """

    def __init__(
        self, signature: Any, callbacks: Any = None, *, layout: str = "compact", symbol: str = "", **config: Any
    ) -> None:
        super().__init__(callbacks)
        self.signature = ensure_signature(signature)
        self.layout = layout
        self.symbol = symbol
        self.config = _checked(config)
        self.serial = next(serials)
        self.loc: Span = here()
        self.reset()

    def reset(self) -> None:
        self.demos: list[Any] = []
        self.traces: list[Any] = []
        self.train: list[Any] = []
        self.lm: str | None = None

    def update_config(self, **config: Any) -> None:
        self.config = {**self.config, **_checked(config)}

    def get_config(self) -> dict[str, Any]:
        return self.config

    def ir_signature(self) -> IRSignature:
        signature: IRSignature = self.signature.ir()
        return signature

    def bound(self, signature: Any = None, demos: Any = None, lm: str | None = None) -> Bound:
        """The parameters of a call as they are now."""
        chosen = ensure_signature(signature).ir() if signature is not None else self.ir_signature()
        shown = demo_set(self.demos if demos is None else demos)
        model = lm or self.lm or "main"
        return Bound(self.symbol or chosen.name or "predict", chosen, chosen.instruction, shown, self.layout, model)

    def forward(self, **inputs: Any) -> Prediction:
        """One call, or `n` of them: then attributes give the first, `.completions` all."""
        config = {**self.config, **_checked(inputs.pop("config", None) or {})}
        bound = self.bound(inputs.pop("signature", None), inputs.pop("demos", None), inputs.pop("lm", None))
        values = check_inputs(bound.signature, bound.name, inputs)
        n, sampling = sampling_of(config)
        ask = runner(f"predictor `{bound.name}`")
        key = Key((bound.name,))
        if isinstance(ask, ManyRunner):
            rows = [outputs for outputs, _ in ask.predict_many(bound, values, sampling, key, n)]
        else:
            rows = [ask.predict(bound, values, sampling, key)[0] for _ in range(n)]
        return Prediction.from_completions(rows)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args:
            names = ", ".join(f"{n}=..." for n in self.signature.input_fields)
            raise TypeError(f"a predictor takes its inputs by name: ({names})")
        return self.forward(**kwargs)

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """In the form that DSPy saves."""
        demos = [dict(d.toDict() if isinstance(d, Example) else d) for d in self.demos]
        return {
            "traces": [],
            "train": [],
            "demos": demos,
            "signature": self.signature.dump_state(),
            "lm": self.lm,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.signature = self.signature.load_state(state["signature"])
        self.demos = [Example(d) for d in state["demos"]]
        model = state.get("lm")
        self.lm = model.get("model") if isinstance(model, Mapping) else model

    def __repr__(self) -> str:
        return f"Predict({self.signature!r})"


class ChainOfThought(Module):
    """A predictor that first writes its `reasoning`."""

    def __init__(
        self, signature: Any, rationale_field: Any = None, rationale_field_type: Any = str, **config: Any
    ) -> None:
        super().__init__()
        field = rationale_field or OutputField(desc="${reasoning}")
        extended = ensure_signature(signature).prepend("reasoning", field, rationale_field_type)
        self.predict = Predict(extended, **config)

    def forward(self, **inputs: Any) -> Any:
        return self.predict(**inputs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.predict(*args, **kwargs)


def sampling_of(config: Mapping[str, Any]) -> tuple[int, Sampling]:
    """(number of samples, how to draw them). More than one sample needs a temperature: then at least 0.7."""
    n = int(config.get("n", 1))
    options = {k: v for k, v in config.items() if k in _SAMPLING and v is not None}
    if "stop" in options:
        options["stop"] = (options["stop"],) if isinstance(options["stop"], str) else tuple(options["stop"])
    sampling = Sampling(**options)
    if n > 1 and sampling.temperature <= 0.15:
        sampling = replace(sampling, temperature=0.7)
    if "temperature" in options:
        sampling = replace(sampling, temperature=float(sampling.temperature))
    return n, sampling


def demo_set(demos: Any) -> DemoSet:
    """Examples, dicts or demos as the IR has them. Raises TypeError for values that are not JSON."""
    if isinstance(demos, DemoSet):
        return demos
    out = []
    for d in demos:
        values = d.toDict() if isinstance(d, Example) else dict(d)
        augmented = bool(values.pop("augmented", False))
        kept = {k: v for k, v in values.items() if not k.startswith("dspy_")}
        out.append(Demo(freeze(kept), augmented))
    return DemoSet(tuple(out))


def check_inputs(signature: IRSignature, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs in the order of the signature. Raises TypeError, naming what is missing or too many."""
    names = [f.name for f in signature.inputs]
    missing = [n for n in names if n not in given]
    extra = [n for n in given if n not in names]
    if missing or extra:
        raise TypeError(input_trouble(name, names, missing, extra))
    return {n: given[n] for n in names}


def input_trouble(name: str, names: list[str], missing: list[str], extra: list[str]) -> str:
    """What is wrong with the inputs of a call, in one line."""
    parts = []
    if missing:
        parts.append(f"lacks {', '.join(f'`{n}`' for n in missing)}")
    if extra:
        parts.append(f"does not take {', '.join(f'`{n}`' for n in extra)}")
    return f"`{name}` {' and '.join(parts)}; its inputs are {', '.join(names)}"


def _checked(config: Mapping[str, Any]) -> dict[str, Any]:
    unknown = [k for k in config if k not in _SAMPLING + _OTHER]
    if unknown:
        known = ", ".join(_SAMPLING + _OTHER)
        raise TypeError(f"a predictor has no option `{unknown[0]}`; there are {known}")
    return dict(config)
