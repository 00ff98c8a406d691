"""Branches begun before it is known that they are taken (marked by the pass `speculate`).

While the call that decides is answered and the engine has room, the likeliest arm runs in a scope of its own. If it is
taken, what it has done by then counts; if not, its calls are dropped, their K/V is free at once, and nothing of them is
journaled. Tools, functions and retrievals of an arm wait until it is taken, whatever is said of their effects.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lampc.ir.prog import If, Match
from lampc.passes.schedule.speculate import case_value, outer
from lampc.runtime.blocks import Block, Scope
from lampc.runtime.failures import RowFailure
from lampc.runtime.types import TraceStep, Usage

if TYPE_CHECKING:
    from lampc.ir import Value
    from lampc.runtime.client import Waiting
    from lampc.runtime.execute import Executor
    from lampc.runtime.odds import Odds


@dataclass(slots=True)
class Tally:
    """What became of arms begun ahead: `begun`, of these `taken`; tokens that those computed and generated which were
    not. Arms of rows that failed count as not taken."""

    begun: int = 0
    taken: int = 0
    wasted_tokens: int = 0

    def __str__(self) -> str:
        share = f" ({100 * self.taken / self.begun:.0f} %)" if self.begun else ""
        return f"branches begun ahead: {self.begun}, taken {self.taken}{share}, tokens wasted {self.wasted_tokens}"


@dataclass(frozen=True, slots=True)
class Gamble:
    """When an arm is begun: if `p * saved > (1 - p) * wasted * price`, at least `slack` of the engine's places are
    free, and nobody waits for one. `p` is the share of an arm among at least `least` decisions met before; `saved` are
    steps of the engine, `wasted` tokens computed and generated, `price` how many steps such a token is worth."""

    price: float = 0.02
    slack: float = 0.5
    least: int = 4

    def __post_init__(self) -> None:
        if self.price < 0 or not 0 <= self.slack <= 1 or self.least < 0:
            raise ValueError("price and least are not negative, slack is a share between 0 and 1")

    def worth(self, p: float, saved: float, wasted: float) -> bool:
        """Whether to begin."""
        return p * saved > (1 - p) * wasted * self.price


@dataclass(slots=True)
class Ahead:
    """Of one session: when arms are begun, how likely they are, what came of it."""

    odds: Odds
    gamble: Gamble = Gamble()
    tally: Tally = field(default_factory=Tally)


@dataclass(slots=True, eq=False)
class Bet:
    """One arm begun ahead. `values` are what it gave, `calls` what it asked, `held` ops that wait until it is taken."""

    arm: int
    scope: Scope
    taken: bool = False
    values: list[Any] | None = None
    usage: Usage = Usage()
    steps: list[tuple[tuple[int, ...], TraceStep]] = field(default_factory=list)
    calls: list[Waiting] = field(default_factory=list)
    held: list[tuple[Block, int]] = field(default_factory=list)

    def hold(self, block: Block, i: int) -> None:
        """Op `i` waits."""
        self.held.append((block, i))
        block.scope.pending += 1


class Branches:
    """The branches of one executor that are not decided yet, and the bets on them."""

    def __init__(self, executor: Executor, ahead: Ahead) -> None:
        self._of, self._ahead = weakref.ref(executor), ahead
        self._open: list[tuple[Block, int]] = []
        self._bets: dict[tuple[Block, int], Bet] = {}

    @property
    def _executor(self) -> Executor:
        found = self._of()
        assert found is not None
        return found

    def enter(self, block: Block) -> None:
        """A region was entered that has branches. Within an arm begun ahead none is begun."""
        if block.scope.open_bet() is None:
            self._open += [(block, i) for i in block.plan.branches]

    def look(self) -> bool:
        """There is nothing to do but to wait: begin what is worth it. True if something was begun."""
        keep, begun = [], 0
        for block, i in self._open:
            if not block.waits[i] or not block.scope.wants(block, i):
                continue
            op: Any = block.plan.region.ops[i]
            arm = self._likeliest(block, op)
            if arm is None or not self._has_slack(block, op):
                keep.append((block, i))
            else:
                begun += 1
                self._begin(block, i, op, arm)
        self._open = keep
        return begun > 0

    def decide(self, block: Block, i: int, arm: int) -> bool:
        """Branch `i` takes `arm`; whether that was begun, so that it needs not be."""
        op = block.plan.region.ops[i]
        if op.ahead:  # type: ignore[attr-defined]
            self._ahead.odds.saw(op, arm)
        bet = self._bets.pop((block, i), None)
        if bet is None:
            return False
        block.scope.bets.remove(bet)
        if bet.arm != arm:
            self._lose(bet)
            return False
        self._take(bet, block, i)
        return True

    def call_off(self, scope: Scope) -> None:
        """Arms of a scope that will not get to them."""
        for spot, bet in list(self._bets.items()):
            if bet in scope.bets and (scope.over or not bet.scope.wanted()):
                del self._bets[spot]
                scope.bets.remove(bet)
                self._lose(bet)

    # -- bets -----------------------------------------------------------------------------------------

    def _likeliest(self, block: Block, op: If | Match) -> int | None:
        """The arm to begin; None if there is none now."""
        ready = [a for a in op.ahead if _has_all(block, _needs(block, op, a))]
        if not ready:
            return None
        odds, gamble, models = self._ahead.odds, self._ahead.gamble, self._executor.services.model
        shares = odds.of(op, block, models, gamble.least)
        if shares is None:
            return None
        arm = max(ready, key=lambda a: shares[a])
        return arm if gamble.worth(shares[arm], *odds.stakes(op, arm, block, models)) else None

    def _has_slack(self, block: Block, op: If | Match) -> bool:
        services = self._executor.services
        nodes = self._ahead.odds.asked(op)
        models = {id(m): m for m in (services.model(block.task.bound[n].model).model for n in nodes)}.values()
        return all(getattr(m, "slack", 0.0) >= self._ahead.gamble.slack for m in models)

    def _begin(self, block: Block, i: int, op: If | Match, arm: int) -> None:
        executor, outer = self._executor, block.scope
        scope = Scope(block.task, outer, (block, i))
        bet = scope.bet = Bet(arm, scope)
        self._bets[block, i] = bet
        outer.bets.append(bet)
        self._ahead.tally.begun += 1

        def done(values: list[Any]) -> None:
            scope.over = True
            if not bet.taken:
                bet.values = values
                return
            outer.pending -= 1
            if outer.wants(block, i):
                executor._resolve(block, i, values)
            executor._settle(outer)

        def ended() -> None:
            if bet.taken:
                outer.pending -= 1
                if scope.failed is not None and scope.failure is not None:
                    executor._fail(outer, scope.failed, scope.failure)
                executor._settle(outer)

        scope.ended = ended
        env: dict[Value, Any] = {}
        case = case_value(op, arm)
        if case is not None:
            env[op.operands[0]] = case
        order = (*block.order, i)
        executor._enter(scope, op.regions[arm], env, block, block.path, block.indices, order, done)

    def _take(self, bet: Bet, block: Block, i: int) -> None:
        executor, scope, outer = self._executor, bet.scope, block.scope
        bet.taken = True
        self._ahead.tally.taken += 1
        outer.task.steps += bet.steps
        for waiting in bet.calls:
            executor.services.desk.confirm(waiting)
        bet.calls.clear()
        self._tell(bet)
        if bet.values is not None:
            executor._resolve(block, i, bet.values)
        elif scope.failed is not None and scope.over and scope.failure is not None:
            executor._fail(outer, scope.failed, scope.failure)
        else:
            outer.pending += 1
            for inner, n in bet.held:
                inner.scope.pending -= 1
                executor._queue(inner, n)
        bet.held.clear()

    def _lose(self, bet: Bet) -> None:
        bet.scope.over = True
        self._executor._drop(bet.scope)
        for waiting in bet.calls:
            waiting.call = None  # it will not be confirmed
        bet.calls.clear()
        bet.held.clear()
        self._ahead.tally.wasted_tokens += _tokens(bet.usage)
        self._tell(bet)

    def _tell(self, bet: Bet) -> None:
        task = bet.scope.task
        self._executor.services.desk.bus.emit(
            "branch", row=task.cell.row.id, cell=task.number, arm=bet.arm, taken=bet.taken, tokens=_tokens(bet.usage)
        )


def arm_of(op: If | Match, value: Any) -> int:
    """The region that a value takes. Raises RowFailure if there is none."""
    if isinstance(op, If):
        return 0 if value else 1
    arm = op.cases.index(value) if value in op.cases else len(op.cases)
    if arm >= len(op.arms):
        raise RowFailure(f"no case for {value!r}", op)
    return arm


def _tokens(used: Usage) -> int:
    return used.computed_tokens + used.generated_tokens


def _needs(block: Block, op: If | Match, arm: int) -> set[Value]:
    given = {op.operands[0]} if case_value(op, arm) is not None else set()
    return outer(op.regions[arm]) - given


def _has_all(block: Block, values: set[Value]) -> bool:
    """Whether values are known already."""
    missing, around = set(values), block
    while missing:
        missing -= around.env.keys()
        if around.parent is None:
            break
        around = around.parent
    return not missing


__all__ = ["Ahead", "Bet", "Branches", "Gamble", "Tally", "arm_of"]
