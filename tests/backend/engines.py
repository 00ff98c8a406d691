"""Engines without a model for tests of the loop: time that only steps move, steps that fail on demand."""

from collections.abc import Callable
from typing import Any

from lampc.backend.fake import FakeEngine
from lampc.backend.hooks import Event, Hook, RequestEvent
from lampc.backend.request import Handle, Request, Sampling, State


def ids(text: str) -> tuple[int, ...]:
    return tuple(text.encode())


def request(text: str, tokens: int = 4, **options: Any) -> Request:
    """Generates exactly `tokens` tokens."""
    return Request(ids(text), Sampling(max_tokens=tokens, ignore_eos=True), **options)


def vague(text: str, tokens: int = 4, **options: Any) -> Request:
    """Generates exactly `tokens` tokens, which an engine cannot know."""
    return Request(ids(text), Sampling(max_tokens=tokens, ignore_eos=True, stop_ids=(0,)), **options)


def teach(engine: FakeEngine) -> None:
    """Lets an engine see a request of uncertain length that ends after one token: it will expect that of others."""
    engine.submit(Request(ids("t"), Sampling(max_tokens=4, stop_ids=(66,)), forced=(65, 66)))
    engine.run()


class Log(Hook):
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def life(self, handle: Handle) -> list[str]:
        return [e.kind for e in self.events if isinstance(e, RequestEvent) and e.handle is handle]


class On(Hook):
    """Does something at events of one kind."""

    def __init__(self, kind: str, act: Callable[[RequestEvent], Any]) -> None:
        self.kind = kind
        self.act = act

    def on_event(self, event: Event) -> None:
        if isinstance(event, RequestEvent) and event.kind == self.kind:
            self.act(event)


class _Runner:
    def __init__(self, inner: Any, engine: "TimedEngine") -> None:
        self.inner = inner
        self.engine = engine

    def execute(self, plan: Any) -> Any:
        self.begin(plan)
        return self.inner.execute(plan)

    def launch(self, plan: Any, before: Any) -> Any:
        self.begin(plan)
        return self.inner.launch(plan, before)

    def begin(self, plan: Any) -> None:
        self.engine.now += self.engine.step_s
        jobs = [c.job for c in plan.chunks] + [w.job for w in plan.wants]
        for job in jobs:
            if job.handle.request.key in self.engine.failing:
                raise self.engine.failing[job.handle.request.key]


class TimedEngine(FakeEngine):
    """Each step takes `step_s` seconds of a clock that nothing else moves. `failing`: what a step raises in which
    a request with that key takes part."""

    def __init__(self, *args: Any, step_s: float = 1.0, **options: Any) -> None:
        self.now = 0.0
        self.step_s = step_s
        self.failing: dict[int, BaseException] = {}
        super().__init__(*args, clock=lambda: self.now, **options)
        self._runner = _Runner(self._runner, self)


def alone(request: Request) -> tuple[int, ...]:
    """The tokens of a request that nobody runs beside."""
    engine = TimedEngine()
    handle = engine.submit(request)
    engine.run()
    assert handle.completion is not None
    return handle.completion.tokens


LIVE = (State.WAITING, State.PREFILLING, State.RUNNING, State.PREEMPTED)


def bring(engine: FakeEngine, state: State, **options: Any) -> Handle:
    """A request in `state`, with `key` 9, in an engine made with `TIGHT`."""
    victim = vague("victim me", 20, key=9, **options)
    if state is State.PREEMPTED:
        teach(engine)
    if state in (State.WAITING, State.PREEMPTED):
        for text in ("some one", "an other"):
            engine.submit(vague(text, 20, priority=1))
    if state is State.WAITING:
        engine.step()
    handle = engine.submit(victim)
    for _ in range(200):
        if handle.state is state:
            return handle
        engine.step()
        engine.check()
    raise AssertionError(f"never got to {state}")


TIGHT: dict[str, Any] = {"kv_tokens": 56, "block_size": 4, "max_running": 3, "chunk": 4}
