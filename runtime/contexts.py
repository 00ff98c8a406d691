"""The K/V plan of the rows of one run at one model: what each row comes back to is held until then, the rest is not.

For each call the program says how far later calls of the row go on from its context
(`lampc.passes.schedule.later_use`). So when the call ends, what stands behind that place is needed by nobody and goes
at once where blocks are short; what stands before it is held until a later call of the row ends that goes on from
there, or until the op has ended for whose sake it was held. What hangs on no input is held as long as rows are to come.

A row that has calls at the model keeps what it holds: what is held hangs on no clock then. One that has none is away
(for a tool, mostly), and the longer it stays away, the longer do others go without its blocks. Held for t seconds, a
share s of the cache costs s * t seconds of the engine; having it back costs the time to compute it, or to copy it
back. Who waits until both are equal never pays more than twice what the best choice would have cost, whenever the row
returns (the rule for renting or buying skis: Karlin, Manasse, Rudolph and Sleator, "Competitive snoopy caching",
1988). Where the pauses after a call are known to be longer than that, nothing is held. Holds yield before a request
would have to, those of rows that were let in last first; and what is not held stays cached as long as there is room,
in the order in which it is needed next. Nothing here changes what is computed, only how often.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from lampc.ir import digest
from lampc.ir.prompt import Demos, Instruction, Run, Shots
from lampc.passes.schedule.block_tree import WIDTH, packed_prefix
from lampc.passes.schedule.later_use import Stay, first_input
from lampc.runtime.models import NOT_KNOWN, KvUse
from lampc.runtime.paths import Path, Paths, Prompt

if TYPE_CHECKING:
    from lampc.backend import PrefixRef
    from lampc.ir import Assignment, Op
    from lampc.runtime.admission import Recent
    from lampc.runtime.blocks import Block, ContextValue, Task
    from lampc.runtime.compile import Executable
    from lampc.runtime.local import LocalModel
    from lampc.runtime.types import Cell

    Ids = tuple[int, ...]
    End = tuple[Any, ...]
    Spot = tuple[int, str]

UNKNOWN = sys.float_info.max
"""A time that says nothing, see `lampc.backend.eviction`."""
COMMON = 0.5
"""Share of the cache that prefixes may hold which hang on no input."""
LEARN = 0.2
"""Weight of the latest pause."""
KNOWN = 3
"""As many pauses of a call must have been seen before they count."""
OFTEN = 0.1
"""Share of a call's prompts that other rows must have something of, for it to be taken that more will come."""


@dataclass(slots=True, eq=False)
class Planned:
    """A call of a row. `keeps` are pairs: when this has ended, no more than so many tokens of it are needed; the first
    ends first. `floor` tokens are needed by others, too, the first `static` of them by all rows. Of a later iteration
    of the same loop `line` is the same."""

    task: Task
    site: Op
    prompt: Prompt
    keeps: list[tuple[End, int]]
    static: int
    floor: int
    line: End
    answer: bool

    @property
    def use(self) -> KvUse:
        """What the engine is told when the call is made."""
        if self.answer:
            return NOT_KNOWN
        return KvUse(max(self.floor, *(keep for _, keep in self.keeps)) if self.keeps else self.floor)


@dataclass(slots=True, eq=False)
class _Hold:
    """A context that a row comes back to; `ref` None if it is not held, only cached."""

    call: Planned
    held: Prompt
    ref: PrefixRef | None


@dataclass(slots=True)
class _Site:
    """What was seen of a call of the program: how long rows stayed away after it, and how often others share more."""

    pause: float = 0.0
    pauses: int = 0
    shared: float = 0.0


@dataclass(slots=True)
class _Row:
    """`number` in the order in which rows were let in; `calls` that are asked for and not answered; `last` that was
    answered. `loose` if none of its contexts is held."""

    number: int
    holds: list[_Hold] = field(default_factory=list)
    passed: set[Op] = field(default_factory=set)
    calls: int = 0
    last: Op | None = None
    loose: bool = False


class RowContexts:
    """See the module's text. All methods are for the thread of the run."""

    def __init__(self, model: LocalModel) -> None:
        self.model = model
        self._engine: Any = model.engine
        self._rows: dict[Task, _Row] = {}
        self._sites: dict[Op, _Site] = {}
        self._numbers = count(1)
        self._away: dict[Task, float] = {}  # rows without a call at the model, since when, the first first
        self.paths = Paths()  # all that is held
        self._common: dict[Path, PrefixRef] = {}  # what is held for all rows
        self._static = Paths()
        self.recent: Recent | None = None  # prompts of all rows
        self._users: dict[tuple[Spot, Op], set[Path]] = {}  # for whose sake
        self._cells: Counter[Spot] = Counter()
        self._values: Counter[tuple[Spot, str, int]] = Counter()  # of inputs, by name
        self._passed: Counter[tuple[Spot, Op]] = Counter()  # rows that make a call no more

    @staticmethod
    def of(model: Any) -> RowContexts | None:
        """None for a model without K/V of its own to plan: endpoints, code, engines of other kinds, adapters."""
        engine = getattr(model, "engine", None)
        if not hasattr(engine, "restore_s") or getattr(model, "adapter", None) is not None:
            return None
        return RowContexts(model)

    # -- calls ----------------------------------------------------------------------------------------

    def plan(self, block: Block, site: Op, stays: Sequence[Stay], context: ContextValue) -> Planned:
        """A call that is about to be made."""
        grown, statics = block.task.exe.context(site)
        keeps, answer = [], False
        for stay in stays:
            keep = len(context.ids) if stay.answer else self._place(block, grown, stay, context)
            answer = answer or stay.answer
            keeps.append((_end(block, stay.until), keep))
        around = block.plan.region.parent
        line = (site, block.order[:-1] if around is not None and around.name == "prog.loop" else block.order)
        static = context.cuts[statics]
        return Planned(block.task, site, Prompt.of(context.ids), keeps, static, static, line, answer)

    def asked(self, call: Planned, others: int) -> None:
        """A call is about to be asked; so many tokens of it are in a prompt of another row."""
        site = self._site(call)
        more = others > call.floor + self.model.block_size
        site.shared += LEARN * (more - site.shared)
        call.floor = max(call.floor, others)
        if site.shared > OFTEN and not call.keeps:
            call.floor = len(call.prompt.ids)
        row = self._row(call.task)
        row.calls += 1
        since = self._away.pop(call.task, None)
        if since is not None and row.last is not None:
            seen = self._sites.setdefault(row.last, _Site())
            seen.pauses += 1
            seen.pause += (LEARN if seen.pauses > 1 else 1.0) * (self._engine.clock_s - since - seen.pause)
        self._hold_common(call)

    def let_in(self, task: Task) -> None:
        """A call of a row goes to the model: what is left of its contexts is held again."""
        row = self._rows.get(task)
        if row is not None and row.loose:
            row.number, row.loose = next(self._numbers), False
            for hold in row.holds:
                hold.ref = self._retain(hold.held, row.number)

    def answered(self, call: Planned, written: Ids) -> None:
        """A call has ended."""
        row = self._row(call.task)
        if row.holds or call.keeps:
            keep = max((keep for _, keep in call.keeps), default=0)
            held = call.prompt.then(written) if call.answer else call.prompt.first(keep)
            stale = [h for h in row.holds if h.call.line == call.line or held.path.startswith(h.held.path)]
            if call.keeps:
                call.floor = max(call.floor, self._others(call.task, call.prompt.path))
                row.holds.append(self._held(row, call, held))
            for hold in stale:
                row.holds.remove(hold)
                common = packed_prefix(hold.held.path, held.path)
                self._let_go(hold, None if common == len(hold.held.ids) else max(common, hold.call.floor))
        row.calls, row.last = max(row.calls - 1, 0), call.site
        if row.holds and not row.calls:
            self._away[call.task] = self._engine.clock_s
            site, limit = self._sites.get(call.site, _Site()), self._limit()
            if site.pauses >= KNOWN and limit is not None and site.pause > limit:
                self._loosen(row)

    def left(self, block: Block, i: int) -> None:
        """An op of a row has ended for whose sake contexts may have been held."""
        task, end = block.task, (*block.order, i)
        row = self._row(task)
        for hold in list(row.holds):
            call = hold.call
            if call.keeps[0][0] != end:
                continue
            call.keeps = [(e, k) for e, k in call.keeps if e != end]
            row.holds.remove(hold)
            keep = max((k for _, k in call.keeps), default=0)
            rest = call.prompt.first(keep)
            if call.keeps and not any(h.held.path.startswith(rest.path) for h in row.holds):
                call.answer = False
                row.holds.append(self._held(row, call, rest))
            self._let_go(hold, max(keep, call.floor))
        for site in task.exe.inside.get(block.plan.region.ops[i], ()):
            self._pass(task, row, site)

    def ended(self, task: Task) -> None:
        """A row has ended: nobody needs what only it had."""
        self._away.pop(task, None)
        row = self._rows.pop(task, _Row(0))
        for hold in row.holds:
            self._let_go(hold, hold.call.floor)
        for site in task.exe.later:
            self._pass(task, row, site)

    def holds(self, task: Task) -> list[Path]:
        """What a row holds."""
        row = self._rows.get(task)
        return [hold.held.path for hold in row.holds if hold.ref is not None] if row is not None else []

    def cached(self, ids: Ids) -> int:
        """How many tokens of a prompt are cached."""
        known: int = self._engine.known(ids)
        return known

    def put_back(self, task: Task) -> None:
        """A row waits for others to end."""
        self._away.pop(task, None)
        row = self._rows.get(task)
        if row is not None:
            self._loosen(row)

    def overdue(self) -> list[Task]:
        """Rows that are away for longer than their contexts are worth holding, which is done with now."""
        limit, now = self._limit(), self._engine.clock_s
        found: list[Task] = []
        while limit is not None and self._away:
            task, since = next(iter(self._away.items()))
            if now - since <= limit:
                break
            del self._away[task]
            self._loosen(self._rows[task])
            found.append(task)
        return found

    def expect(self, cells: Sequence[tuple[Cell, Executable]]) -> None:
        """Rows that will come, with their programs."""
        candidates: dict[Assignment, str] = {}
        for cell, exe in cells:
            candidate = candidates.get(cell.assignment)
            if candidate is None:
                candidate = candidates[cell.assignment] = digest(cell.assignment)
            spot = id(exe), candidate
            self._cells[spot] += 1
            for name, value in cell.row.inputs.items():
                if isinstance(value, str):
                    self._values[spot, name, hash(value)] += 1

    def _site(self, call: Planned) -> _Site:
        """What was seen of a call. Before anything was: rows share it whose programs put an input first into their
        prompts that is equal in others."""
        found = self._sites.get(call.site)
        if found is None:
            found = self._sites[call.site] = _Site()
            value = first_input(call.site)
            if value is not None and value in call.task.exe.func.body.args:
                given = call.task.cell.row.inputs.get(value.hint)
                if isinstance(given, str):
                    found.shared = float(self._values[_spot(call.task), value.hint, hash(given)] > 1)
        return found

    def close(self) -> None:
        """Lets everything go: the run is over, or was cut short. What is cached stays as it is."""
        refs = [hold.ref for row in self._rows.values() for hold in row.holds]
        for ref in [*refs, *self._common.values()]:
            if ref is not None:
                self.model.release(ref, UNKNOWN)
        self._rows.clear()
        self._away.clear()
        self._common.clear()
        self._users.clear()

    # -- inside ---------------------------------------------------------------------------------------

    def _place(self, block: Block, grown: Sequence[Any], stay: Stay, context: ContextValue) -> int:
        """How many tokens of a context stand before the place where a stay ends."""
        from lampc.passes.lower.runs import run_text

        at = stay.runs + len(context.cuts) - len(grown)  # a context that a region was given has grown before
        if not stay.segments:
            return context.cuts[at]
        op, end = grown[stay.runs + 1], context.cuts[at + 1]
        if not op.run.segments:
            return end  # a template that cannot be cut: where the place is nobody knows
        task, model = block.task, context.model
        bound = task.bound[_owner(grown, op.run, task)]
        rest = Run(op.run.segments[stay.segments :])
        text = run_text(rest, bound, [block.get(v) for v in op.inputs], model.target)
        assert model.target.tokens is not None
        return max(end - len(model.target.tokens.encode(text)), context.cuts[at])

    def _others(self, task: Task, path: Path) -> int:
        """Tokens that a prompt has in common with one of another row, which may have been asked with since."""
        return 0 if self.recent is None else self.recent.most(path, task.index)

    def _row(self, task: Task) -> _Row:
        row = self._rows.get(task)
        if row is None:
            row = self._rows[task] = _Row(next(self._numbers))
        return row

    def _held(self, row: _Row, call: Planned, held: Prompt) -> _Hold:
        return _Hold(call, held, None if row.loose else self._retain(held, row.number))

    def _retain(self, held: Prompt, number: int) -> PrefixRef:
        self.paths.add(held.path)
        return self.model.retain(held.ids, None, number, True)

    def _loosen(self, row: _Row) -> None:
        """What a row comes back to stays cached as long as there is room."""
        row.loose = True
        for hold in row.holds:
            if hold.ref is not None:
                self.paths.remove(hold.held.path)
                self.model.release(hold.ref)
                hold.ref = None

    def _limit(self) -> float | None:
        """Seconds for which a context is worth its blocks: its share of the cache times this is what it takes to have
        it back, so its length does not matter. None as long as nobody knows."""
        restore = self._engine.restore_s
        return None if restore is None else restore * self.model.kv_tokens

    def _let_go(self, hold: _Hold, spent: int | None) -> None:
        """`spent`: from where on its row does not need it."""
        if spent is not None:
            spent = max(spent, self._others(hold.call.task, hold.held.path))
        if hold.ref is not None:
            self.paths.remove(hold.held.path)
            self.model.release(hold.ref, UNKNOWN, spent)
        elif spent is not None:
            self.model.release(self.model.retain(hold.held.ids), UNKNOWN, spent)

    def _hold_common(self, call: Planned) -> None:
        """Holds what hangs on no input, as long as any row may come by this call."""
        spot = _spot(call.task)
        user, path = (spot, call.site), call.prompt.path[: call.static * WIDTH]
        if not path or call.site not in call.task.exe.later or self._passed[user] >= self._cells[spot]:
            return
        if path not in self._common:
            if self._static.tokens + self._static.more(path) > COMMON * self.model.kv_tokens:
                return
            self._static.add(path)
            self._common[path] = self._retain(call.prompt.first(call.static), 0)
        self._users.setdefault(user, set()).add(path)

    def _pass(self, task: Task, row: _Row, site: Op) -> None:
        """A row makes a call no more."""
        if site in row.passed:
            return
        row.passed.add(site)
        user = _spot(task), site
        self._passed[user] += 1
        if self._passed[user] < self._cells[user[0]]:
            return
        for path in self._users.pop(user, ()):
            if not any(path in others for others in self._users.values()):
                self._static.remove(path)
                self.paths.remove(path)
                self.model.release(self._common.pop(path), UNKNOWN)


def _end(block: Block, op: Op | None) -> End:
    """This activation of an op around a call, or further down than one."""
    walk: Block | None = block
    while walk is not None and op is not None:
        if op.parent is walk.plan.region:
            return (*walk.order, walk.plan.region.index(op))
        walk = walk.parent
    return ()


def _spot(task: Task) -> Spot:
    return id(task.exe), task.candidate


def _owner(grown: Sequence[Any], run: Run, task: Task) -> str:
    own = next((s.predictor for s in run.segments if isinstance(s, Instruction | Demos | Shots)), None)
    name = own or getattr(getattr(grown[0], "predictor", None), "name", None)
    return name if name in task.bound else next(iter(task.bound))


__all__ = ["Planned", "RowContexts"]
