"""Which rows of a run may hold K/V now: as many as the cache has room for, those that share most beside each other.

An engine with too little K/V for all rows drops contexts that their rows come back to, and computes them again. So
rows are let in one after another until what they hold fills the cache, and a row goes on as long as it and those that
were let in before it fit; else it is put back. What waits is let in depth-first through the prefix tree: the next
prompt in lexicographic order after the last that was let in.

What a row holds between its calls counts as far as later calls of rows went on from earlier ones; that is learned while
the run goes on, as is how long answers are. Nothing here changes what is computed, only when.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lampc.passes.schedule.block_tree import common_prefix

if TYPE_CHECKING:
    from lampc.runtime.blocks import Task
    from lampc.runtime.contexts import RowContexts

ROOM = 0.9
"""Share of the cache that rows may fill: the rest is for what they share and for blocks that are not full."""
WORTH = 0.3
"""Share of what rows hold that later calls must go on from, so that rows wait for the sake of it."""
LEARN = 0.2
"""Weight of the latest observation."""
RECENT, NEAR = 512, 3
"""How many prompts are kept to compare with, and how many neighbours on each side are looked at."""
CONTEXTS = 8
"""How many of its latest contexts are looked at for what a row goes on from."""


@dataclass(order=True, slots=True)
class _Waiting:
    ids: tuple[int, ...]
    number: int
    shared: int = field(compare=False)
    task: Task = field(compare=False)
    node: str = field(compare=False)
    go: Callable[[], object] = field(compare=False)


class _Recent:
    """The latest prompts, in order, with the number of who asked."""

    def __init__(self) -> None:
        self._ordered: list[tuple[tuple[int, ...], int]] = []
        self._queue: deque[tuple[tuple[int, ...], int]] = deque()

    def shared(self, ids: tuple[int, ...], number: int) -> int:
        """Tokens that a prompt has in common with one of another row; it is added."""
        most = self.most(ids, number)
        insort(self._ordered, (ids, number))
        self._queue.append((ids, number))
        if len(self._queue) > RECENT:
            old = self._queue.popleft()
            del self._ordered[bisect_left(self._ordered, old)]
        return most

    def most(self, ids: tuple[int, ...], number: int) -> int:
        """Tokens that a prompt has in common with one of another row."""
        at, most = bisect_left(self._ordered, (ids, number)), 0
        for near in self._ordered[max(0, at - NEAR) : at + NEAR]:
            if near[1] != number:
                most = max(most, common_prefix(near[0], ids))
        return most


@dataclass(slots=True)
class _Held:
    """What a row holds: calls under way, tokens of its own so far, what counts of these, its latest contexts."""

    running: int = 0
    own: float = 0.0
    size: float = 0.0
    contexts: list[tuple[int, ...]] = field(default_factory=list)


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
        self._answers: dict[str, float] = {}
        self._recent = _Recent()
        self._used = 0.0
        self._last: tuple[int, ...] = ()
        self._numbers = 0

    def know(self, contexts: RowContexts, goes_on: bool) -> None:
        """A plan knows what rows hold; `goes_on`: and that later calls go on from what one of them holds."""
        self._contexts, self._planned = contexts, self._planned or goes_on
        contexts.others = self.others
        self._block = contexts.model.block_size  # a call may leave so much unused at its end

    def shared(self, task: Task, ids: tuple[int, ...]) -> int:
        """Tokens that a prompt, which is about to be asked with, has in common with one of another row."""
        return self._recent.shared(ids, task.index)

    def others(self, task: Task, ids: tuple[int, ...]) -> int:
        """Tokens that a prompt has in common with one of another row, of those that were asked with until now."""
        return self._recent.most(ids, task.index)

    def ask(
        self, task: Task, node: str, ids: tuple[int, ...], go: Callable[[], object], shared: int | None = None
    ) -> None:
        """Call `go`, which makes a call of a row, now or once there is room."""
        if shared is None:
            shared = self.shared(task, ids)
        self._numbers += 1
        call = _Waiting(ids, self._numbers, shared, task, node, go)
        self._give_up()
        held = self._inside.get(task)
        if held is None:
            free = not self._waiting and self._used + self._more(_Held(), call) <= self.room
            if free or not self._inside or not self.holds:
                self._start(call)
                return
        elif held.running or self._may_go_on(task, held.size + self._more(held, call)):
            self._start(call)
            return
        else:
            self._used -= self._inside.pop(task).size
            if self._contexts is not None:
                self._contexts.put_back(task)
        insort(self._waiting, call)
        self._admit()

    def answered(
        self, task: Task, node: str, ids: tuple[int, ...], answer: Sequence[int], held_on: float | None = None
    ) -> None:
        """A call has ended. `held_on`: tokens of its own that the row holds now, where a plan knows."""
        self._give_up()
        held, known = self._inside.get(task), self._answers.get(node, 0.0)
        self._answers[node] = known + LEARN * (len(answer) - known)
        if held is None:
            return
        held.running -= 1
        held.contexts = [*held.contexts[1 - CONTEXTS :], (*ids, *answer)]
        if not held.running:
            self._resize(held, held.own * self.reuse if held_on is None else held_on)
            self._admit()

    def ended(self, task: Task) -> None:
        """A row has ended."""
        held = self._inside.pop(task, None)
        if held is not None:
            self._used -= held.size
            self._admit()

    def force(self) -> bool:
        """Let in what waits first, room or not; False if nothing waits."""
        if not self._waiting:
            return False
        self._start(self._waiting.pop(self._next()))
        return True

    # -- inside -------------------------------------------------------------------------------------

    @property
    def holds(self) -> bool:
        """Whether rows come back to enough of what they hold, so that others wait for the sake of it."""
        return self._planned or self.reuse >= WORTH

    @property
    def room(self) -> float:
        """Tokens that rows may hold of their own."""
        return self.capacity - (self._contexts.common if self._contexts is not None else 0)

    def _more(self, held: _Held, call: _Waiting) -> float:
        """Tokens that a call adds to what its row holds."""
        found = max((common_prefix(c, call.ids) for c in held.contexts), default=0)
        return len(call.ids) - max(found, call.shared) + self._answers.get(call.node, 0.0) + self._block

    def _may_go_on(self, task: Task, size: float) -> bool:
        if not self.holds:
            return True
        before = 0.0
        for other, held in self._inside.items():
            if other is task:
                break
            before += held.size
        return not before or before + size <= self.room

    def _start(self, call: _Waiting) -> None:
        held = self._inside.setdefault(call.task, _Held())
        if held.contexts and held.own:
            found = max(common_prefix(c, call.ids) for c in held.contexts) - call.shared
            self.reuse += LEARN * (min(1.0, max(0, found) / held.own) - self.reuse)
        more = self._more(held, call)
        held.contexts = [*held.contexts[1 - CONTEXTS :], call.ids]  # what is asked beside it shares that, too
        held.own += more
        held.running += 1
        self._resize(held, held.size + more)
        self._last = call.ids
        call.go()

    def _resize(self, held: _Held, size: float) -> None:
        self._used += size - held.size
        held.size = size

    def _next(self) -> int:
        """The place of the next prompt depth-first."""
        at = bisect_left(self._waiting, self._last, key=lambda w: w.ids)
        return at if at < len(self._waiting) else 0

    def _give_up(self) -> None:
        """Rows that are away for so long that their contexts are not held any more hold nothing here either."""
        for task in self._contexts.overdue() if self._contexts is not None else ():
            held = self._inside.get(task)
            if held is not None and not held.running:
                held.contexts = []
                self._resize(held, 0.0)

    def _admit(self) -> None:
        if self._waiting:
            self._give_up()
        while self._waiting:
            at = self._next()
            first = self._waiting[at]
            inside = self._inside.get(first.task)
            more = self._more(inside or _Held(), first)
            if self.holds and inside is None and self._inside and self._used + more > self.room:
                return
            self._start(self._waiting.pop(at))
