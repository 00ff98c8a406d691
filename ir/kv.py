"""`kv.*`: which context grows out of which.

Contexts are persistent values. `extend` is pure: two extensions of one context by the same run are one,
so prefix sharing is common-subexpression elimination; `generate` gives the grown context and the text,
so forking is two uses of one value. When a context dies is the result of an analysis, never an op.
"""

from __future__ import annotations

from lampc.ir.attrs import Symbol
from lampc.ir.content import Key, Sampling
from lampc.ir.core import Op
from lampc.ir.define import Operand, Operands, Result, op
from lampc.ir.effects import Trait
from lampc.ir.prompt import Input, Run
from lampc.ir.types import FLOAT, KV, STR, ListOf, Type


@op("kv.root", traits=[Trait.PURE])
class Root(Op):
    """The empty context of a predictor's model."""

    predictor: Symbol
    model: Symbol
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (KV,)


@op("kv.extend", traits=[Trait.PURE])
class Extend(Op):
    """A context grown by one run of text; operands after the context fill its `Input` slots in order."""

    run: Run
    context: Operand
    inputs: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (KV,)

    def check(self) -> list[str]:
        run = self.run
        segments = [*run.segments, *(s for t in run.turns for s in t.segments)] if run.turns else run.segments
        wanted = 1 + max([s.index for s in segments if isinstance(s, Input)], default=-1)
        found = [] if self.context.type == KV else ["the first operand is a context"]
        if wanted != len(self.inputs):
            found.append(f"the run has slots for {wanted} inputs, {len(self.inputs)} given")
        return found


@op("kv.generate", traits=[Trait.SAMPLES])
class Generate(Op):
    """Let the model write: the grown context and the text. The values of `closed` outputs are each one of a few: where
    answers are kept to their form, each of these is found in one step (pass `closed-sets`). `early` says that a
    beginning of the context is known before the rest of it, and may be computed by then (pass `early-prefill`)."""

    sampling: Sampling = Sampling()
    key: Key
    predictor: Symbol
    closed: tuple[str, ...] = ()
    early: bool = False
    context: Operand
    grown: Result
    text: Result

    def infer(self) -> tuple[Type, ...]:
        return (KV, STR)


@op("kv.score", traits=[Trait.PURE])
class Score(Op):
    """Log-probability of each option as the continuation of a context: list[float], in nats.

    This compares whole texts. What `generate` says of a closed set is found token by token, and may be another one: the
    first token of an unlikely text can be likely.
    """

    options: tuple[str, ...]
    context: Operand
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (ListOf(FLOAT),)
