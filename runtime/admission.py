"""Which rows of a run may hold K/V now: as many as the cache has room for, those that share most beside each other.

An engine with too little K/V for all rows drops contexts that their rows come back to, and computes them again. So
rows are let in one after another until what all of them hold fills the cache, each token counted once, and a row goes
on as long as it and those that were let in before it fit: for it later ones are put back, else it is. A row that holds
nothing loses nothing by that, so it waits as a new one does. Of what waits the prompt is next that is cached the
furthest, of those near the last in depth-first order.

What a row holds between its calls is known from the K/V plan; without one, its latest context counts if later calls of
rows went on from earlier ones, which is learned while the run goes on, as is how long answers are. Nothing here changes
what is computed, only when.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lampc.passes.schedule.block_tree import packed, packed_prefix
from lampc.runtime.paths import Path, Paths, Prompt

if TYPE_CHECKING:
    from lampc.runtime.blocks import Task
    from lampc.runtime.contexts import RowContexts

ROOM = 0.9
"""Share of the cache that rows may fill: the rest is for blocks that are not full, and answers longer than others."""
WORTH = 0.3
"""Share of what rows hold that later calls must go on from, so that rows wait for the sake of it."""
LEARN = 0.2
"""Weight of the latest observation."""
RECENT, NEAR = 512, 3
"""How many prompts are kept to compare with, and how many neighbours on each side are looked at."""
LOOK = 8
"""How many of those that wait are compared, on each side of the last that was let in."""
CONTEXTS = 8
"""How many of its latest contexts are looked at for what a row goes on from."""


@dataclass(order=True, slots=True)
class _Waiting:
    path: Path
    number: int
    ids: tuple[int, ...] = field(compare=False)
    shared: int = field(compare=False)
    task: Task = field(compare=False)
    node: str = field(compare=False)
    go: Callable[[], object] = field(compare=False)


class Recent:
    """The latest prompts, in order, with the number of who asked."""

    def __init__(self) -> None:
        self._ordered: list[tuple[Path, int]] = []
        self._queue: deque[tuple[Path, int]] = deque()

    def shared(self, path: Path, number: int) -> int:
        """Tokens that a prompt has in common with one of another row; it is added."""
        spot, most = (path, number), self.most(path, number)
        insort(self._ordered, spot)
        self._queue.append(spot)
        if len(self._queue) > RECENT:
            old = self._queue.popleft()
            del self._ordered[bisect_left(self._ordered, old)]
        return most

    def most(self, path: Path, number: int) -> int:
        """Tokens that a prompt has in common with one of another row: of those on one side of it in the order the
        nearest has most in common with it."""
        at, most = bisect_left(self._ordered, (path, number)), 0
        for side in (range(at - 1, max(0, at - NEAR) - 1, -1), range(at, min(at + NEAR, len(self._ordered)))):
            for near, other in map(self._ordered.__getitem__, side):
                if other != number:
                    most = max(most, packed_prefix(near, path))
                    break
        return most


@dataclass(slots=True)
class _Held:
    """What a row has: prompts of calls under way, tokens that their answers are expected to take, and tokens of its own
    so far. `last` are its latest contexts, of which `held` is taken to be held where no plan knows."""

    running: list[Path] = field(default_factory=list)
    answers: float = 0.0
    own: float = 0.0
    last: list[Path] = field(default_factory=list)
    held: Path = b""


class Admission:
    """Rows of one run at one model, whose cache holds `capacity` tokens (0: no bound)."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity * ROOM
        self.reuse = 0.0
        self._planned = False
        self._block = 0
        self._contexts: RowContexts | None = None
        self._inside: dict[Task, _Held] = {}
        self._waiting: list[_Waiting] = []
        self._waits: dict[Task, list[_Waiting]] = {}  # the same by row
        self._answers: dict[str, float] = {}
        self._recent = Recent()
        self._paths = Paths()  # prompts of calls under way, and what is held
        self._expected = 0.0  # tokens that answers to calls under way are expected to take
        self._last: Path = b""
        self._numbers = 0

    def know(self, contexts: RowContexts, goes_on: bool) -> None:
        """A plan knows what rows hold; `goes_on`: and that later calls go on from what one of them holds."""
        self._planned = self._planned or goes_on
        if self._contexts is not contexts:
            for path in self._paths:
                contexts.paths.add(path)
            self._contexts, self._paths = contexts, contexts.paths
            contexts.recent = self._recent
            self._block = contexts.model.block_size  # a call may leave so much unused at its end

    def shared(self, task: Task, path: Path) -> int:
        """Tokens that a prompt, which is about to be asked with, has in common with one of another row."""
        return self._recent.shared(path, task.index)

    def others(self, task: Task, path: Path) -> int:
        """Tokens that a prompt has in common with one of another row, of those that were asked with until now."""
        return self._recent.most(path, task.index)

    def ask(self, task: Task, node: str, prompt: Prompt, go: Callable[[], object], shared: int | None = None) -> None:
        """Call `go`, which makes a call of a row, now or once there is room."""
        if shared is None:
            shared = self.shared(task, prompt.path)
        self._numbers += 1
        call = _Waiting(prompt.path, self._numbers, prompt.ids, shared, task, node, go)
        self._give_up()
        held = self._inside.get(task)
        if held is None:
            if not self._inside or not self.holds or (not self._waiting and self._fits(call)):
                self._start(call)
                return
        elif held.running or not self.holds or self._may_go_on(call):
            self._start(call)
            return
        else:
            self._put_back(task)
        self._wait(call)
        self._admit()

    def answered(self, task: Task, node: str, path: Path, answer: Sequence[int]) -> None:
        """A call has ended."""
        self._give_up()
        held, known = self._inside.get(task), self._answers.get(node, 0.0)
        self._answers[node] = known + LEARN * (len(answer) - known)
        if held is None or path not in held.running:
            return
        each = held.answers / len(held.running)
        held.answers -= each
        self._expected -= each
        held.running.remove(path)
        self._paths.remove(path)
        held.last = [*held.last[1 - CONTEXTS :], path + packed(answer)]
        if not held.running:
            if self._contexts is None and self.holds:
                self._hold(held, held.last[-1])
            self._admit()

    def ended(self, task: Task) -> None:
        """A row has ended."""
        if task in self._inside:
            self._leave(self._inside.pop(task))
            self._admit()

    def force(self) -> bool:
        """Let in what waits first, room or not; False if nothing waits."""
        if not self._waiting:
            return False
        self._start(self._take(self._waiting[self._next()]))
        return True

    # -- inside -------------------------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """Whether rows come back to enough of what they hold, so that others wait for the sake of it."""
        return self._planned or self.reuse >= WORTH

    @property
    def _used(self) -> float:
        """Tokens that rows take, or will when the calls that are under way end."""
        return self._paths.tokens + self._expected

    def _answer(self, call: _Waiting) -> float:
        """Tokens that a call is expected to take beyond its prompt."""
        return self._answers.get(call.node, 0.0) + self._block

    def _fits(self, call: _Waiting) -> bool:
        return self._used + self._paths.more(call.path) + self._answer(call) <= self.capacity

    def _may_go_on(self, call: _Waiting) -> bool:
        """Whether a call fits of a row that was let in: rows that were let in later, and have no calls under way, are
        put back for it, and those that have some do not count."""
        if self._contexts is not None and not self._contexts.holds(call.task):  # it is as one that comes
            return not self._waiting and self._fits(call)
        if self._fits(call):
            return True
        rows = list(self._inside)
        at = rows.index(call.task)
        for task in reversed(rows[at + 1 :]):
            if self._fits(call):
                return True
            if not self._inside[task].running:
                self._put_back(task)
        if not at or self._fits(call):
            return True
        before = [self._inside[task] for task in rows[: at + 1]]
        paths = [call.path, *(path for held in before for path in (*held.running, held.held))]
        if self._contexts is not None:
            paths += [path for task in rows[: at + 1] for path in self._contexts.holds(task)]
        return Paths(paths).tokens + sum(held.answers for held in before) + self._answer(call) <= self.capacity

    def _put_back(self, task: Task) -> None:
        """A row that has no calls under way waits for others to end."""
        self._leave(self._inside.pop(task))
        if self._contexts is not None:
            self._contexts.put_back(task)

    def _leave(self, held: _Held) -> None:
        for path in held.running:
            self._paths.remove(path)
        self._expected -= held.answers
        self._hold(held, b"")

    def _hold(self, held: _Held, path: Path) -> None:
        """What a row is taken to hold between its calls."""
        if held.held:
            self._paths.remove(held.held)
        if path:
            self._paths.add(path)
        held.held = path

    def _start(self, call: _Waiting) -> None:
        held = self._inside.setdefault(call.task, _Held())
        found, answer = max([packed_prefix(c, call.path) for c in held.last], default=0), self._answer(call)
        if held.last and held.own:
            self.reuse += LEARN * (min(1.0, max(0, found - call.shared) / held.own) - self.reuse)
        held.own += len(call.ids) - max(found, call.shared) + answer
        held.last = [*held.last[1 - CONTEXTS :], call.path]  # what is asked beside it shares that, too
        held.answers += answer
        self._expected += answer
        held.running.append(call.path)
        self._paths.add(call.path)
        self._hold(held, b"")
        self._last = call.path
        call.go()

    def _next(self) -> int:
        """The place of the prompt that is cached the furthest, of those near the last in depth-first order."""
        at, count = bisect_left(self._waiting, self._last, key=lambda w: w.path), len(self._waiting)
        near: list[int] = [(at + i) % count for i in (*range(LOOK), *range(-1, -LOOK - 1, -1))]
        return max(near, key=lambda i: self._known(self._waiting[i].ids))

    def _known(self, ids: tuple[int, ...]) -> int:
        return self._contexts.cached(ids) if self._contexts is not None else 0

    def _give_up(self) -> None:
        """Rows that are away for so long that their contexts are not held any more hold nothing here either."""
        for task in self._contexts.overdue() if self._contexts is not None else ():
            held = self._inside.get(task)
            if held is not None and not held.running:
                held.last = []

    def _admit(self) -> None:
        if self._waiting:
            self._give_up()
        while self._waiting:
            first = None
            if not self._full or not self._inside:
                first = self._waiting[self._next()]
            if first is None or not self._may_start(first):
                inside = next((task for task in self._inside if task in self._waits), None)
                if inside is None:
                    return
                first = self._waits[inside][0]  # a row that is in does not wait for others
            self._start(self._take(first))

    @property
    def _full(self) -> bool:
        """Whether no row can be let in, whatever its prompt."""
        return self.holds and self._used + self._block > self.capacity

    def _may_start(self, call: _Waiting) -> bool:
        return not self.holds or not self._inside or call.task in self._inside or self._fits(call)

    def _wait(self, call: _Waiting) -> None:
        insort(self._waiting, call)
        insort(self._waits.setdefault(call.task, []), call)

    def _take(self, call: _Waiting) -> _Waiting:
        """A call waits no more."""
        del self._waiting[bisect_left(self._waiting, call)]
        mine = self._waits[call.task]
        mine.remove(call)
        if not mine:
            del self._waits[call.task]
        return call
