"""The state machine of a request: which transitions exist, and an error for every other."""

from heapq import heapify, heappop, heappush

from lampc.backend.request import Handle, State

TRANSITIONS: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.PREFILLING, State.FINISHED}),
    State.PREFILLING: frozenset({State.RUNNING, State.PREEMPTED, State.FINISHED}),
    State.RUNNING: frozenset({State.PREEMPTED, State.FINISHED}),
    State.PREEMPTED: frozenset({State.PREFILLING, State.FINISHED}),
    State.FINISHED: frozenset(),
}


class IllegalTransition(RuntimeError):
    """A request was moved to a state that it cannot reach from where it is: a bug in the engine."""


def move(handle: Handle, to: State) -> State:
    """Moves a request to state `to`; gives the state it was in. Raises IllegalTransition."""
    before = handle.state
    if to not in TRANSITIONS[before]:
        raise IllegalTransition(f"request {handle.id}: {before.value} -> {to.value}")
    handle.state = to
    return before


class Deadlines:
    """Which requests are late. Adding and asking cost O(log n), however many wait."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._of: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._of)

    def add(self, number: int, deadline: float) -> None:
        """Request `number` is late from time `deadline` on."""
        self._of[number] = deadline
        heappush(self._heap, (deadline, number))

    def drop(self, number: int) -> None:
        """The request is over, or never had a deadline."""
        # Entries of the heap outlive their requests; with far deadlines they would otherwise pile up.
        if self._of.pop(number, None) is not None and len(self._heap) > 2 * len(self._of) + 64:
            self._heap = [(deadline, n) for n, deadline in self._of.items()]
            heapify(self._heap)

    def late(self, now: float) -> list[int]:
        """Requests whose deadline is reached, the first first; they are dropped."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            number = heappop(self._heap)[1]
            if self._of.pop(number, None) is not None:
                found.append(number)
        return found
