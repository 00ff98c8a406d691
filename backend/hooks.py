"""Hooks: code of the user that hears of every transition of a request, and may rewrite requests before they queue."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from lampc.backend.errors import Unsupported
from lampc.backend.request import Handle, Request, State

Kind = Literal["submitted", "admitted", "running", "first_token", "preempted", "finished"]


@dataclass(frozen=True, slots=True)
class RequestEvent:
    """Something happened to a request at `time`, in seconds on the engine's clock.

    "submitted": it is queued. "admitted": it has blocks and computes its prompt, for the first time or after a
    preemption (then `before` is PREEMPTED). "running": its prompt is computed. "first_token": it generated one;
    the state stays. "preempted": its blocks went to others. "finished": `handle.completion` is there.
    `before` is the state it left, None for a new one; `after` the state it is in.
    """

    kind: Kind
    time: float
    handle: Handle
    before: State | None
    after: State


@dataclass(frozen=True, slots=True)
class StepEvent:
    """A step went through the model; `time` is its end, `seconds` how long the runner took.

    `rows` tokens went through the model for `requests` of the `running` requests, whose `handles` stand here; `waiting`
    is the depth of the queue, `used_blocks` counts KV blocks, cached ones included. Of prompts, `computed` tokens were
    computed in this step and `cached` ones found to be there: over all steps they add up to those of `EngineStats`.
    """

    time: float
    step: int
    seconds: float
    rows: int
    requests: int
    running: int
    waiting: int
    used_blocks: int
    computed: int = 0
    cached: int = 0
    handles: tuple[Handle, ...] = ()


Event = RequestEvent | StepEvent


@runtime_checkable
class Hook(Protocol):
    """Subclass it and override what you need, or give any object with both methods.

    A hook may call `submit`, `abort`, `retain`, `release`, `stats`, `metrics` and `close` of its engine, but not
    `step` or `run`. It runs in the thread that steps, so its time is everybody's time.
    """

    def on_submit(self, request: Request) -> Request:
        """What to queue in place of `request`; whatever is raised here, `submit` raises, and nothing is queued."""
        return request

    def on_event(self, event: Event) -> None:
        """Hears of what happened. If it raises, the event's request (of a step: each of its requests) ends with
        finish "error" and a message that names the hook."""
        return None


class Hooks:
    """The hooks of one engine, called in their order. Events wait until it is safe to run code of others.

    False if there are none: engines then need not make events at all. Raises TypeError for what is no hook.
    """

    def __init__(self, hooks: Sequence[Hook]) -> None:
        for i, hook in enumerate(hooks):
            if isinstance(hook, type) or not isinstance(hook, Hook):
                raise TypeError(f"hooks[{i}] is {hook!r}; give an object with on_submit and on_event")
        self._hooks = tuple(hooks)
        self._events: deque[tuple[Event, tuple[Handle, ...]]] = deque()
        self._telling = False

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def join(self, hook: Hook) -> Callable[[], None]:
        """One more hook, from now on; what is returned takes it out again."""
        self._hooks = (*self._hooks, hook)
        return lambda: self._leave(hook)

    def _leave(self, hook: Hook) -> None:
        self._hooks = tuple(h for h in self._hooks if h is not hook)

    def rewrite(self, request: Request) -> Request:
        """The request that is to be queued. Raises what a hook raises, or TypeError if it returns no Request."""
        for hook in self._hooks:
            wanted = hook.on_submit(request)
            if not isinstance(wanted, Request):
                raise TypeError(f"{_name(hook)}.on_submit returned {wanted!r}; return the Request to queue")
            request = wanted
        return request

    def add(self, event: Event, about: Iterable[Handle]) -> None:
        """Something happened; `about` are the requests that end if a hook fails at it."""
        self._events.append((event, tuple(about)))

    def tell(self, fail: Callable[[Handle, str], None]) -> None:
        """Tells the hooks what happened since, in order; calls `fail` for requests that a hook failed at.

        What happens meanwhile is told by the outermost call: hooks are never called from within hooks.
        """
        if self._telling:
            return
        self._telling = True
        try:
            while self._events:
                event, about = self._events.popleft()
                what = event.kind if isinstance(event, RequestEvent) else "step"
                for hook in self._hooks:
                    try:
                        hook.on_event(event)
                    except Exception as error:  # code of the user, which may raise anything
                        message = f"{_name(hook)}.on_event failed at {what!r}: {type(error).__name__}: {error}"
                        for handle in about:
                            fail(handle, message)
        finally:
            self._telling = False


def watch(engine: object, hook: Hook) -> Callable[[], None]:
    """Has a hook hear of an engine that is made already; what is returned ends that.

    Raises Unsupported for an engine that has no hooks.
    """
    hooks = getattr(engine, "_hooks", None)
    if not isinstance(hooks, Hooks):
        raise Unsupported(f"a {type(engine).__name__} tells nobody of its steps")
    return hooks.join(hook)


def _name(hook: Hook) -> str:
    return f"hook {type(hook).__qualname__}"
