"""Slow, complete interpreters for programs before and after lowering, around one model that answers by hashing.

The model sees the text of a prompt and 64 random bits (0 for greedy calls); nothing else decides its answer. So two
programs that give the same results and calls sent the same texts with the same draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from lampc.ir import Draw, Key, Module, Op, Sampling, Value
from lampc.ir.adapters import Bound, adapter, bind_prompt, call_sampling
from lampc.ir.attrs import freeze
from lampc.ir.content import Demo
from lampc.ir.kv import Extend, Generate, Root
from lampc.ir.requests import Parse, RequestOp
from lampc.passes.lower import run_text
from lampc.runtime import interp
from lampc.runtime.failures import RowFailure
from tests.fakes import FakeTarget, hashed, value_of
from tests.strategies import LOG


@dataclass(frozen=True)
class ModelCall:
    """One call: the predictor, the text sent, the sampling, the random bits (0 if greedy)."""

    predictor: str
    text: str
    sampling: Sampling
    bits: int


@dataclass
class Outcome:
    """What a run gave: its value or its error, its calls and its effects in order."""

    value: Any = None
    error: str = ""
    calls: list[ModelCall] = field(default_factory=list)
    effects: list[Any] = field(default_factory=list)


@dataclass
class FakeModel:
    """Answers every prompt in the layout of its predictor; keeps the calls."""

    target: FakeTarget
    calls: list[ModelCall] = field(default_factory=list)

    def answer(self, bound: Bound, text: str, sampling: Sampling, draw: Draw) -> str:
        bits = 0 if sampling.temperature == 0 else draw.bits()
        self.calls.append(ModelCall(bound.name, text, sampling, bits))
        rng = hashed(text, bits)
        outputs = {f.name: value_of(f.type, rng) for f in bound.signature.outputs}
        every = {f.name: "x" for f in bound.signature.inputs} | outputs
        (_, (_, said)) = adapter(bound.layout).demo(bound.signature, Demo(freeze(every)))
        return said

    def predict(
        self, bound: Bound, inputs: dict[str, Any], sampling: Sampling, draw: Draw
    ) -> tuple[Mapping[str, Any], str]:
        """For `prog.predict`: the prompt is rendered, bound and wrapped as the eager path does."""
        prompt = adapter(bound.layout).render(bound.signature, bound.name)
        text = self.target.render_chat(bind_prompt(prompt, bound, list(inputs.values()), self.target.quote))
        said = self.answer(bound, text, call_sampling(bound.signature, bound.layout, sampling, self.target), draw)
        return adapter(bound.layout).parse(bound.signature, said), said

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        return [f"{query} {i}" for i in range(max(k, 0))]


class _Twin(interp._Run):
    """The reference interpreter, taught the ops of the lower levels: a context is the text it stands for."""

    runner: FakeModel

    def op(
        self, op: Op, args: list[Any], env: dict[Value, Any], path: tuple[str, ...], indices: tuple[int, ...]
    ) -> list[Any]:
        match op:
            case RequestOp():
                bound = self.bound[op.predictor.name]
                text = self.runner.target.render_chat(bind_prompt(op.prompt, bound, args, self.runner.target.quote))
                return [self.answer(bound, text, op, path, indices)]
            case Parse():
                return [adapter(op.layout).parse(op.signature, args[0])]
            case Root():
                return [(op.predictor.name, "")]
            case Extend():
                name, text = args[0]
                return [(name, text + run_text(op.run, self.bound[name], args[1:], self.runner.target))]
            case Generate():
                name, text = args[0]
                assert name == op.predictor.name
                said = self.answer(self.bound[name], text, op, path, indices)
                return [(name, text + said), said]
        return super().op(op, args, env, path, indices)

    def answer(self, bound: Bound, text: str, op: Any, path: tuple[str, ...], indices: tuple[int, ...]) -> str:
        return self.runner.answer(bound, text, op.sampling, Draw(self.seed, Key(path + op.key.path), indices, self.row))


def run(module: Module, inputs: Mapping[str, Any], target: FakeTarget, entry: str) -> Outcome:
    """Run a module of any level."""
    model = FakeModel(target)
    LOG.clear()
    out = Outcome(calls=model.calls)
    try:
        with patch.object(interp, "_Run", _Twin):
            out.value = interp.interpret(module, inputs, entry=entry, runner=model, seed=7, row="row")
    except RowFailure as e:
        out.error = str(e)
    out.effects = list(LOG)
    return out
