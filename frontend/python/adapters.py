"""Adapters as objects, under DSPy's names: what `lampc.configure(adapter=...)` takes, and prompts without a model.

    adapter = lampc.JSONAdapter()
    adapter.format(signature, demos, inputs)      the messages of a call
    adapter.parse(signature, completion)          its outputs

Each stands for a layout of `lampc.ir.adapters`, which is what programs name and run with; here only Python values are
turned into plain ones, and back. A subclass that changes methods is asked itself, in plain Python.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from lampc.frontend.python.adapter_parts import demos_of, history_of, messages_of, system_of
from lampc.frontend.python.callbacks import active, telling
from lampc.frontend.python.given import demo_set
from lampc.frontend.python.signature import ensure_signature
from lampc.frontend.python.values.plain import plain, plain_in_text
from lampc.ir import Demo, DemoSet, freeze
from lampc.ir import Signature as IRSignature
from lampc.ir.adapters import Bound, ParseFailure, adapter, bind_prompt
from lampc.ir.adapters.dialogue import Dialogue
from lampc.ir.adapters.registry import ONCE, layout_for
from lampc.ir.adapters.schema import is_history, is_text
from lampc.ir.adapters.wording import both_described
from lampc.ir.media import split
from lampc.ir.modelnames import model_name
from lampc.ir.runner import runner
from lampc.ir.settings import settings

Message = dict[str, Any]
_METHODS = (
    "format", "parse", "format_system_message", "format_field_description", "format_field_structure",
    "format_task_description", "format_user_message_content", "format_assistant_message_content", "format_demos",
    "format_conversation_history", "user_message_output_requirements", "__call__",
)  # fmt: skip
"""What a subclass may override."""
_UNASKED = ("_call_preprocess", "_call_postprocess", "format_field_with_value", "_make_json_adapter_fallback", "acall")
"""What DSPy's adapters call inside of those, and ours do not."""


class Adapter:
    """Base of the adapters. `compat="dspy-3.4"` reads answers as DSPy does and no further; by default that of the
    settings. `callbacks` are told of every format and parse; native function calling and native responses are the
    business of the provider, so what is said of them is kept and otherwise of no effect on texts.
    """

    layout: ClassVar[str] = ""
    changed: ClassVar[str] = ""
    """A method that a user's subclass has in the place of ours: its calls are made by it, in Python."""
    unasked: ClassVar[str] = ""
    """One that nothing would call."""
    asks_always: ClassVar[bool] = False
    """Whether there is a user's message even if nothing stands in it."""

    def __init__(
        self,
        callbacks: Sequence[Any] | None = None,
        use_native_function_calling: bool = False,
        native_response_types: Sequence[Any] | None = None,
        parallel_tool_calls: bool | None = None,
        *,
        compat: str | None = None,
    ) -> None:
        if type(self) is Adapter:
            raise TypeError("choose one of ChatAdapter, JSONAdapter, XMLAdapter, BAMLAdapter and TwoStepAdapter")
        self.callbacks = list(callbacks or [])
        self.use_native_function_calling = use_native_function_calling
        self.native_response_types = list(native_response_types or [])
        self.parallel_tool_calls = parallel_tool_calls
        self.compat = compat

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__ == __name__:
            return
        cls.changed = next((n for n in _METHODS if n in vars(cls)), cls.changed)
        cls.unasked = next((n for n in _UNASKED if n in vars(cls)), cls.unasked)
        for method, names in (("format", ("demos", "inputs")), ("parse", ("completion",))):
            if method in vars(cls):
                setattr(cls, method, _told(f"adapter_{method}", vars(cls)[method], names))

    @property
    def name(self) -> str:
        """The layout that programs run with. Raises TypeError for a subclass that changes what nothing would call."""
        if self.unasked or (self.changed and self.layout == "two_step"):
            raise TypeError(
                f"`{type(self).__name__}` changes `{self.unasked or self.changed}`, which nothing calls here: override "
                f"one of {', '.join(_METHODS)} of another adapter, or write a template (Predict(..., template=...))"
            )
        return layout_for(self.layout or "chat", self.compat if self.compat is not None else settings.compat)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # -- calls --------------------------------------------------------------------------------------------

    def __call__(
        self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """Ask a model, and give the outputs of each draw. Raises AdapterParseError."""
        from lampc.frontend.python.own_adapters import speak

        return speak(self, lm, lm_kwargs, signature, demos, inputs)

    async def acall(
        self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """As calling, for `await`."""
        at: Any = runner("an adapter's call")
        found: list[dict[str, Any]] = await at.awaiting(lambda: self(lm, lm_kwargs, signature, demos, inputs))
        return found

    # -- whole prompts ------------------------------------------------------------------------------------

    def format(
        self, signature: Any, demos: Sequence[Any] | None = None, inputs: Mapping[str, Any] | None = None
    ) -> list[Message]:
        """The messages of a call. Inputs that are not given are left out of the last one."""
        if not (told := active(self)):
            return self._format(signature, demos, inputs)
        with telling("adapter_format", self, {"signature": signature, "demos": demos, "inputs": inputs}, told) as end:
            end.outputs = out = self._format(signature, demos, inputs)
        return out

    def _format(self, signature: Any, demos: Sequence[Any] | None, inputs: Mapping[str, Any] | None) -> list[Message]:
        if self.changed:
            return messages_of(self, signature, demos or [], inputs or {})
        made = _ir(signature)
        texts = {f.name for f in made.inputs if is_text(f)}
        given = {k: plain_in_text(v) if k in texts else plain(v) for k, v in (inputs or {}).items()}
        shown = replace(made, inputs=tuple(f for f in made.inputs if f.name in given or is_history(f)))
        how = adapter(self.name)
        whole, last = how.render(made, "p"), how.render(shown, "p")
        turns = (*whole.turns[:2], *last.turns[2:])
        bound = Bound("p", made, made.instruction, _demos(demos or []), self.name, "main")
        values = [given.get(f.name) for f in shown.inputs]
        bound_turns = bind_prompt(replace(whole, turns=turns), bound, values)
        return [_message(role, text) for role, text in bound_turns if text or role != "user" or self.asks_always]

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """The outputs in a completion, as Python values. Raises AdapterParseError."""
        if not (told := active(self)):
            return self._parse(signature, completion)
        with telling("adapter_parse", self, {"signature": signature, "completion": completion}, told) as end:
            end.outputs = out = self._parse(signature, completion)
        return out

    def _parse(self, signature: Any, completion: str) -> dict[str, Any]:
        made = ensure_signature(signature)
        self._derived()
        try:
            found: dict[str, Any] = made.lift(adapter(self.name).parse(made.ir(), completion))
        except ParseFailure as e:
            e.adapter_name, e.signature = type(self).__name__, made
            raise
        return found

    def format_finetune_data(
        self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> dict[str, list[Message]]:
        """A call and its answer as a line of chat fine-tuning data."""
        said = {"role": "assistant", "content": self.format_assistant_message_content(signature, outputs)}
        return {"messages": [*self.format(signature, demos, inputs), said]}

    # -- parts of them ------------------------------------------------------------------------------------

    def format_system_message(self, signature: Any) -> str:
        if self.changed:
            return system_of(self, signature)
        made = _ir(signature)
        how = self._how
        return how.structure(made) + how.objective + how.instruction(made.instruction)

    def format_field_description(self, signature: Any) -> str:
        return both_described(_ir(signature))

    def format_field_structure(self, signature: Any) -> str:
        made = _ir(signature)
        return self._how.structure(made).removeprefix(both_described(made) + "\n")

    def format_task_description(self, signature: Any) -> str:
        made = _ir(signature)
        return (self._how.objective + self._how.instruction(made.instruction)).removeprefix("\n")

    def format_user_message_content(
        self, signature: Any, inputs: Mapping[str, Any], prefix: str = "", suffix: str = "", main_request: bool = False
    ) -> str:
        own, values = self.changed and main_request, {k: plain(v) for k, v in inputs.items()}
        text = self._how.user(_ir(signature), values, prefix, main_request and not own)
        if own and (asked := self.user_message_output_requirements(signature)):
            text = f"{text}\n\n{asked}".strip()
        return f"{text}\n\n{suffix}".strip() if suffix else text

    def format_assistant_message_content(
        self, signature: Any, outputs: Mapping[str, Any], missing_field_message: str | None = None
    ) -> str:
        values = {k: plain(v) for k, v in outputs.items()}
        return self._how.answer(_ir(signature), values, missing_field_message)

    def format_demos(self, signature: Any, demos: Sequence[Any]) -> list[Message]:
        if self.changed:
            return demos_of(self, signature, demos)
        made = _ir(signature)
        ordered = self._how.order(made, _demos(demos).items)
        return [_message(role, text) for d in ordered for role, text in self._how.demo(made, d)]

    def format_conversation_history(
        self, signature: Any, history_field_name: str, inputs: Mapping[str, Any]
    ) -> list[Message]:
        if self.changed:
            return history_of(self, signature, history_field_name, inputs)
        turns = self._how.history(_ir(signature), plain(inputs.get(history_field_name)))
        return [_message(role, text) for role, text in turns]

    def user_message_output_requirements(self, signature: Any) -> str:
        return self._how.reminder(_ir(signature))

    def _derived(self) -> None:
        if not self.layout:
            raise NotImplementedError(f"`{type(self).__name__}` derives from Adapter alone: it writes and reads itself")

    @property
    def _how(self) -> Dialogue:
        self._derived()
        found = adapter(self.name)
        assert isinstance(found, Dialogue)
        return found


class ChatAdapter(Adapter):
    """Fields under markers `[[ ## name ## ]]`. With `use_json_adapter_fallback`, an answer that cannot be read is
    asked for again: once, showing the model what is wrong (under `compat`, as JSON, as DSPy does)."""

    layout = "chat"

    def __init__(
        self,
        callbacks: Sequence[Any] | None = None,
        use_native_function_calling: bool = False,
        native_response_types: Sequence[Any] | None = None,
        use_json_adapter_fallback: bool = True,
        parallel_tool_calls: bool | None = None,
        *,
        compat: str | None = None,
    ) -> None:
        super().__init__(
            callbacks, use_native_function_calling, native_response_types, parallel_tool_calls, compat=compat
        )
        self.use_json_adapter_fallback = use_json_adapter_fallback

    def __call__(
        self, lm: Any, lm_kwargs: dict[str, Any], signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """As `Adapter`; an answer that a subclass cannot read is asked for once more as JSON, as DSPy does."""
        try:
            return super().__call__(lm, lm_kwargs, signature, demos, inputs)
        except ParseFailure:
            if not self.changed or isinstance(self, JSONAdapter) or not self.use_json_adapter_fallback:
                raise
            return JSONAdapter(compat="dspy-3.4")(lm, lm_kwargs, signature, demos, inputs)

    @property
    def name(self) -> str:
        again = self.use_json_adapter_fallback or self.layout not in ("chat", "xml")
        return super().name + ("" if again else ONCE)


class JSONAdapter(ChatAdapter):
    """Inputs under markers, outputs as one JSON object."""

    layout = "json"

    def __init__(
        self,
        callbacks: Sequence[Any] | None = None,
        use_native_function_calling: bool = True,
        parallel_tool_calls: bool | None = None,
        *,
        compat: str | None = None,
    ) -> None:
        super().__init__(callbacks, use_native_function_calling, parallel_tool_calls=parallel_tool_calls, compat=compat)


class BAMLAdapter(JSONAdapter):
    """As JSON, with the types of outputs told by a compact schema."""

    layout = "baml"


class XMLAdapter(ChatAdapter):
    """Fields in XML elements."""

    layout = "xml"


class TwoStepAdapter(Adapter):
    """The model answers as it likes; a second call, to `extraction_model` (by default the same), picks the outputs out
    of its answer."""

    layout = "two_step"
    asks_always = True

    def format_task_description(self, signature: Any) -> str:
        return self.format_system_message(signature)

    def __init__(self, extraction_model: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.extraction_model = extraction_model

    @property
    def name(self) -> str:
        return super().name + (f":{model_name(self.extraction_model)}" if self.extraction_model is not None else "")


def _told(kind: str, method: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """A method of a user's class that callbacks are told of; `names` are its arguments after the signature."""

    @functools.wraps(method)
    def told(self: Any, signature: Any, *args: Any, **kwargs: Any) -> Any:
        given = {"signature": signature, **dict(zip(names, args, strict=False)), **kwargs}
        with telling(kind, self, given, active(self)) as end:
            end.outputs = out = method(self, signature, *args, **kwargs)
        return out

    return told


def _ir(signature: Any) -> IRSignature:
    made = signature if isinstance(signature, IRSignature) else ensure_signature(signature).ir()
    assert isinstance(made, IRSignature)
    return made


def _demos(demos: Sequence[Any]) -> DemoSet:
    if isinstance(demos, DemoSet):
        return demos
    return DemoSet(
        tuple(d if isinstance(d, Demo) else _demo(d) for d in demos),
    )


def _demo(demo: Any) -> Demo:
    if isinstance(demo, Mapping):
        return Demo(freeze({k: plain(v) for k, v in demo.items()}))
    return demo_set([demo]).items[0]


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": split(text) if role == "user" else text}
