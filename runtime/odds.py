"""How likely the arms of a branch are, and what is at stake when one is begun ahead: from what was met before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lampc.ir.effects import Trait
from lampc.ir.prog import FieldOf, If, Match
from lampc.ir.types import Choice, Scalar
from lampc.passes.schedule.speculate import reaching
from lampc.runtime.experience import Experience, Known, option
from lampc.runtime.failures import RowFailure
from lampc.runtime.ops import compute
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.ir import Op, Value
    from lampc.runtime.blocks import Block
    from lampc.runtime.modelview import ModelView

    Models = Callable[[str], ModelView]

PROMPT = 128
"""Tokens of a prompt of which nothing is known."""
ANSWER = 16
"""The same of an answer."""


class Odds:
    """Of one session. `usage` gives what predictors used so far; `experience` is what earlier runs met, read when it is
    first needed. The `models` of methods are those that the names of a program mean."""

    def __init__(
        self, usage: Callable[[], Mapping[str, Usage]], experience: Callable[[], Experience] = Experience
    ) -> None:
        self._usage, self._read = usage, experience
        self._experience: Experience | None = None
        self._seen: dict[Op, Counter[int]] = {}

    def saw(self, op: Op, arm: int) -> None:
        """A branch was decided."""
        self._seen.setdefault(op, Counter())[arm] += 1

    def of(self, op: If | Match, block: Block, models: Models, least: int) -> list[float] | None:
        """The share of each arm, each having been met once more than it was (Laplace); None if fewer than `least`
        decisions are known."""
        counts = Counter(self._seen.get(op, Counter()))
        counts.update(self._met(op, block, models))
        total = sum(counts.values())
        if total < least:
            return None
        arms = len(op.regions)
        return [(counts[i] + 1) / (total + arms) for i in range(arms)]

    def stakes(self, op: If | Match, arm: int, block: Block, models: Models) -> tuple[float, float]:
        """Steps saved if the arm is taken, and tokens wasted if not. An answer takes a step a token, a prompt one."""
        asked = _predictors(op.regions[arm].ops)
        length = {n: self._answer(n, block, models) for n in asked}
        deciders = _predictors(reaching([op.operands[0]], op.parent))
        deciding = max((self._answer(n, block, models) for n in deciders), default=ANSWER)
        saved = min(deciding, sum(1 + n for n in length.values()))
        return saved, self._prompt(asked[0]) + min(deciding, length[asked[0]])

    def asked(self, op: If | Match) -> list[str]:
        """Predictors that arms ask which may be begun."""
        return [n for i in op.ahead for n in _predictors(op.regions[i].ops)]

    def _met(self, op: If | Match, block: Block, models: Models) -> Counter[int]:
        """How often earlier runs took each arm, where the branch hangs on one closed output."""
        from lampc.runtime.ahead import arm_of

        chain = reaching([op.operands[0]], op.parent)
        fields = [o for o in chain if isinstance(o, FieldOf) and _closed(o.result.type)]
        if len(fields) != 1:
            return Counter()
        (closed,) = fields
        asked = closed.record.defining_op()
        if asked is None or not hasattr(asked, "predictor"):
            return Counter()
        known = self._known(asked.predictor.name, block, models).options.get(closed.field)
        if not known:
            return Counter()
        found: Counter[int] = Counter()
        for value in _options(closed.result.type):
            try:
                decided = _evaluate(op.operands[0], {closed.result: value}, block)
                found[arm_of(op, decided)] += known[option(value)]
            except (RowFailure, KeyError, TypeError):
                return Counter()
        return found

    def _known(self, node: str, block: Block, models: Models) -> Known:
        bound = block.task.bound[node]
        if self._experience is None:
            self._experience = self._read()
        return self._experience.of(bound, models(bound.model).target.info.digest)

    def _answer(self, node: str, block: Block, models: Models) -> float:
        """Tokens of an answer."""
        used = self._usage().get(node, Usage())
        fresh = used.calls - used.stored_calls
        return used.generated_tokens / fresh if fresh else self._known(node, block, models).mean or ANSWER

    def _prompt(self, node: str) -> float:
        """Tokens of a prompt that are computed."""
        used = self._usage().get(node, Usage())
        fresh = used.calls - used.stored_calls
        return used.computed_tokens / fresh if fresh else PROMPT


def _evaluate(value: Value, env: dict[Value, Any], block: Block) -> Any:
    """What a value is, given some it hangs on. Raises KeyError or TypeError if it hangs on more than those and on
    constants, RowFailure if it fails."""
    if value in env:
        return env[value]
    op = value.defining_op()
    if op is None:
        raise KeyError(value)
    args = [_evaluate(v, env, block) for v in op.operands]
    env[value] = compute(op, args, block.task.exe.module, block.task.cell.assignment)
    return env[value]


def _closed(t: object) -> bool:
    return isinstance(t, Choice) or t == Scalar("bool")


def _options(t: Any) -> tuple[Any, ...]:
    return tuple(t.options) if isinstance(t, Choice) else (True, False)


def _predictors(ops: Any) -> list[str]:
    """Predictors that ops ask, in order."""
    found = [o for op in ops for o in op.walk() if Trait.SAMPLES in o.traits and hasattr(o, "predictor")]
    return list(dict.fromkeys(o.predictor.name for o in found))


__all__ = ["ANSWER", "PROMPT", "Odds"]
