"""A program with scripted answers on a simulated engine: what it does, and when, is the same every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lampc.backend import EngineInfo, Tokenizer
from lampc.backend.simulated import SimulatedEngine, StepShape
from lampc.frontend.lmp import compile_lmp
from lampc.ir import Demo, Field, Signature, freeze
from lampc.ir.adapters import adapter
from lampc.ir.prog import DefPredictor
from lampc.ir.types import STR
from lampc.ir.unit import Unit
from lampc.runtime.events import EventBus
from lampc.runtime.models import ModelCall
from lampc.runtime.pool import firefly_folder
from lampc.runtime.prefix_record import keep_prefixes
from lampc.runtime.records import Recording
from lampc.runtime.rehearsal import RehearsedModel
from lampc.runtime.session import Session
from lampc.runtime.types import Row

SOURCE = '''signature Facts(note: str) -> (facts: str) {
  """Write down what the note says."""
}
signature Tone(note: str, facts: str) -> (tone: "good" | "bad") {
  """Say whether the note is kind."""
}
module Main(note: str) -> (tone: "good" | "bad") {
  use find = Predict(Facts);
  use judge = Predict(Tone);
  let f = find(note: note);
  let t = judge(note: note, facts: f.facts);
  return (tone: t.tone);
}
'''
ANSWERS: Mapping[str, Mapping[str, Any]] = {"find": {"facts": "the tea is cold"}, "judge": {"tone": "bad"}}


def seconds(shape: StepShape) -> float:
    """A step takes a millisecond, and a tenth of one for each token."""
    return 1e-3 + 1e-4 * shape.rows


class Said:
    """What the predictors answer, whatever they are asked."""

    def __init__(self, unit: Unit, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.predictors = {op.symbol: op for op in unit.module.body.ops if isinstance(op, DefPredictor)}

    def tokens(self, call: ModelCall) -> Sequence[int]:
        asked = self.predictors[call.node]
        told = Signature((Field("x", STR),), asked.signature.outputs)
        demo = Demo(freeze({"x": "", **ANSWERS[call.node]}))
        return self.tokenizer.encode(adapter(asked.layout).demo(told, demo)[-1][1].rstrip("\n"))

    def score(self, call: ModelCall) -> float:
        return 0.0


def engine(**options: Any) -> SimulatedEngine:
    tokenizer = Tokenizer.load(firefly_folder())
    info = EngineInfo("simulated", tokenizer.vocab_size, 1 << 14, 6144, 16, True, "simulated")
    return SimulatedEngine(tokenizer, info, seconds, **({"kv_tokens": 1 << 14} | options))


def rows(n: int) -> list[Row]:
    return [Row(str(i), {"note": f"note number {i % 7} about cup {i}"}) for i in range(n)]


def record(
    folder: Path, n: int, source: str = SOURCE, early: bool = False, given: list[Row] | None = None, **options: Any
) -> SimulatedEngine:
    """Run the program on `n` rows and record that in a folder, by the engine's clock; gives the engine. Nothing is
    computed before it is asked for unless `early`."""
    made = engine(**options)
    unit = compile_lmp(source)
    model = RehearsedModel(made, "main", Said(unit, made.tokenizer))  # type: ignore[arg-type]
    if not early:
        model.spare = lambda more: False  # type: ignore[method-assign]
    bus = EventBus(clock=made.clock)
    with Session(model=model, bus=bus) as session, Recording(folder, "scripted", bus, details=True) as kept:
        outcomes = session.run(unit, given or rows(n))
        assert [o.value for o in outcomes] == [{"tone": "bad"}] * n
        kept.rows = n
        kept.account(session.usage, session.usage_by_node, bound=session.bound())
        keep_prefixes(folder, session.desk)
    return made
