"""The state machine of a request: which transitions exist, and an error for every other."""

from lampc.backend.request import Handle, State

TRANSITIONS: dict[State, frozenset[State]] = {
    State.WAITING: frozenset({State.RUNNING, State.FINISHED}),
    State.RUNNING: frozenset({State.PREEMPTED, State.FINISHED}),
    State.PREEMPTED: frozenset({State.RUNNING, State.FINISHED}),
    State.FINISHED: frozenset(),
}


class IllegalTransition(RuntimeError):
    """A request was moved to a state that it cannot reach from where it is: a bug in the engine."""


def move(handle: Handle, to: State) -> None:
    """Moves a request to state `to`. Raises IllegalTransition."""
    if to not in TRANSITIONS[handle.state]:
        raise IllegalTransition(f"request {handle.id}: {handle.state.value} -> {to.value}")
    handle.state = to
