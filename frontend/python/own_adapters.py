"""Adapters that call models themselves, and those that users derive: what `format` and `parse` do in Python is what
calls send and how answers are read. Such calls are made together with others as all calls are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from lampc.frontend.python.fields import InputField
from lampc.frontend.python.given import demo_set
from lampc.frontend.python.modules.hints import NAME as HINT_NAME
from lampc.frontend.python.modules.hints import TEXT as HINT_TEXT
from lampc.frontend.python.options import call_key, sampling_of
from lampc.frontend.python.predict import drawn
from lampc.frontend.python.signature import ensure_signature
from lampc.frontend.python.types.history import History
from lampc.frontend.python.values.plain import plain
from lampc.ir import Key, Sampling, thaw
from lampc.ir.adapters import Bound, ParseFailure
from lampc.ir.adapters.schema import is_history
from lampc.ir.modelnames import model_name
from lampc.ir.runner import Spoken, runner
from lampc.ir.settings import settings


@dataclass
class _Call:
    """A predictor's call that an adapter makes: who answers, under which name, and what came of it."""

    ask: Any
    bound: Bound
    lm: Any
    sent: list[Mapping[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


_under_way: ContextVar[_Call | None] = ContextVar("lampc_adapter_call", default=None)


class Own:
    """A runner that lets an adapter make a predictor's calls; its outputs are Python's objects. `sent` are the messages
    of the last call."""

    sent: tuple[Mapping[str, Any], ...] = ()

    def __init__(
        self, adapter: Any, ask: Any, signature: Any, inputs: Mapping[str, Any], demos: Any, lm: Any,
        config: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.adapter, self.ask, self.signature, self.lm = adapter, ask, signature, lm
        self.inputs, self.demos, self.config = dict(inputs), list(demos), dict(config)

    def predict_many(
        self, bound: Bound, values: Mapping[str, Any], sampling: Sampling, key: Key, n: int
    ) -> list[tuple[dict[str, Any], str]]:
        chosen = self.ask.rebound(bound) if hasattr(self.ask, "rebound") else bound
        signature, demos = self.signature, self.demos
        if chosen.instruction != signature.instructions:
            signature = signature.with_instructions(chosen.instruction)
        if chosen.demos != bound.demos:
            demos = [{**thaw(d.values), **({"augmented": True} if d.augmented else {})} for d in chosen.demos.items]
        given = {
            f.name: self.inputs.get(f.name, History(**values[f.name]) if is_history(f) else values[f.name])
            for f in bound.signature.inputs
            if f.given
        }
        if HINT_NAME in given:
            signature = signature.append(HINT_NAME, InputField(desc=HINT_TEXT), str)
        lm = self.lm or settings.get("lm")
        call = _Call(self.ask, chosen, lm)
        token = _under_way.set(call)
        try:
            found = self.adapter(lm=lm, lm_kwargs=self.config, signature=signature, demos=demos, inputs=given)
        finally:
            _under_way.reset(token)
        if not isinstance(found, list) or not found or not all(isinstance(o, Mapping) for o in found):
            raise TypeError(f"`{type(self.adapter).__name__}` gives {found!r:.60} for a call: give a list of dicts")
        self.sent = tuple(call.sent)
        texts = [*call.texts[-len(found) :], *([""] * len(found))]
        return [(dict(o), t) for o, t in zip(found, texts, strict=False)]


def speak(
    adapter: Any, lm: Any, lm_kwargs: Mapping[str, Any], signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One call of an adapter: outputs of each draw. An adapter of a user's class writes the messages and reads the
    answers itself. Raises AdapterParseError."""
    made, call = ensure_signature(signature), _under_way.get()
    n, sampling = sampling_of(lm_kwargs if call is not None else {**settings.sampling, **lm_kwargs})
    name = call.bound.name if call is not None else made.ir().name or "predict"
    model = call.bound.model if call is not None and lm is call.lm else model_name(lm)
    bound = Bound(name, made.ir(), made.instructions, demo_set(demos), adapter.name, model)
    values = made.lower({k: v for k, v in inputs.items() if k in made.input_fields})
    ask: Any = call.ask if call is not None else runner("an adapter's call")
    key = call_key(name, lm_kwargs)
    if not adapter.changed or not hasattr(ask, "predict_many"):
        found = drawn(ask, bound, {**dict.fromkeys(made.input_fields), **values}, sampling, key, n, made)
        _note(call, (), [text for _, text in found])
        return [made.lift(outputs) for outputs, _ in found]
    messages = tuple(adapter.format(made, demos, inputs))
    outputs: list[dict[str, Any]] = []

    def read(text: str) -> dict[str, Any]:
        outputs.append(_read(adapter, made, text))
        return {k: plain(v) for k, v in outputs[-1].items()}

    answers = ask.predict_many(bound, values, sampling, key, n, Spoken(messages, read))
    _note(call, messages, [text for _, text in answers])
    return outputs


def _read(adapter: Any, signature: Any, text: str) -> dict[str, Any]:
    if not text.strip():
        raise ParseFailure("the model wrote nothing", text, adapter_name=type(adapter).__name__, signature=signature)
    found = dict(adapter.parse(signature, text))
    for name, info in signature.output_fields.items():
        if name not in found:
            found[name] = None if info.is_required() else info.get_default()
    return found


def _note(call: _Call | None, messages: Sequence[Mapping[str, Any]], texts: list[str]) -> None:
    if call is not None:
        call.sent[:] = messages
        call.texts += texts
