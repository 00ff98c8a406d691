"""Scripted tokens, with a model or without one.

A `Script` says which tokens requests get. `play` makes an engine compute as ever and then takes each token from the
script. A `SimulatedEngine` computes nothing: queue, scheduler, tree and blocks are the real ones, and a cost function
moves its clock, so that what it counts is what the engine counts that it stands for.
"""

from collections.abc import Callable, Sequence
from typing import Any

from lampc.backend.api import EngineInfo, TokenEngine
from lampc.backend.core import EngineCore
from lampc.backend.drawing import Drawing
from lampc.backend.errors import Unsupported
from lampc.backend.job import Drawn, Job
from lampc.backend.plan import Plan, Runner
from lampc.backend.policies import POLICIES
from lampc.backend.speculation.drafts import Draft
from lampc.backend.steps import Shapes, StepShape
from lampc.backend.tokenizer import TextTokenizer


class Clock:
    """Simulated time, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now += max(seconds, 0.0)


class Script:
    """Tokens by request; behind them comes the model's end of sequence. A request without a script ends at once."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        end = min(tokenizer.eos_ids, default=None)
        if end is None:
            raise Unsupported("a scripted request ends with an end-of-sequence id, and this tokenizer has none")
        self._end: int = end
        self._tokens: dict[int, Sequence[int]] = {}

    def add(self, number: int, tokens: Sequence[int]) -> None:
        """What the request with this number (`Handle.id`) is to generate."""
        self._tokens[number] = tokens

    def tokens(self, plan: Plan) -> list[int | None]:
        """The token of each of the plan's wants, None for one that draws none."""
        positions = plan.lanes.memory[1, : len(plan.decoding)].tolist()
        found: list[int | None] = [
            self._token(job, at + 1 - job.prompt_len) for job, at in zip(plan.decoding, positions, strict=True)
        ]
        for want in plan.other_wants:
            job = want.job
            draws = job.draws and want.start + len(want.rows) == len(job.ids)
            found.append(self._token(job, len(job.ids) - job.prompt_len, isinstance(job, Job)) if draws else None)
        return found

    def after(self, draft: Draft) -> list[Drawn | int]:
        """The tokens behind guesses that are right, where nothing but tokens is wanted."""
        job, at = draft.job, draft.start - draft.job.prompt_len
        if job.matcher is not None or job.wants_logprobs:
            return []
        tokens = [*self._tokens.get(job.handle.id, ())[at:], self._end]
        found: list[Drawn | int] = []
        for guess, token, following in zip(draft.tokens, tokens, tokens[1:], strict=False):
            if guess != token:
                break
            found.append(following)
        return found

    def _token(self, job: Drawing, place: int, last: bool = True) -> int:
        tokens = self._tokens.get(job.handle.id, ())
        if place < len(tokens):
            return tokens[place]
        if last:
            self._tokens.pop(job.handle.id, None)  # it ends with this token
        return self._end


class _ScriptedRunner:
    """Computes everything, draws from the logits, and puts the script's tokens in the place of what was drawn."""

    def __init__(self, inner: Any, script: Script) -> None:
        self._inner, self._script = inner, script

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        """See `lampc.backend.plan.Runner`."""
        tokens = self._script.tokens(plan)
        drawn: Sequence[Drawn | int] = self._inner.execute(plan)
        for draft in plan.drafts:
            draft.found = self._script.after(draft)
        return _instead(tokens, drawn)


class _ScriptedLauncher(_ScriptedRunner):
    """The same of a runner that launches steps ahead: the step after one goes on from the script's tokens."""

    def launch(self, plan: Plan, before: "_Scripted | None") -> "_Scripted":
        """See `lampc.backend.plan.LaunchingRunner`."""
        tokens = self._script.tokens(plan)
        launched = self._inner.launch(plan, None if before is None else before.launched)
        launched.replace(tokens)
        return _Scripted(launched, tokens)


class _Scripted:
    """A step that was launched, and the tokens that the script has for it: see `lampc.backend.plan.Pending`."""

    def __init__(self, launched: Any, tokens: list[int | None]) -> None:
        self.launched, self._tokens = launched, tokens

    @property
    def plan(self) -> Plan:
        """What it computes."""
        plan: Plan = self.launched.plan
        return plan

    def drawn(self) -> Sequence[Drawn | int]:
        """Waits for the step."""
        return _instead(self._tokens, self.launched.drawn())

    def replace(self, tokens: Sequence[int | None]) -> None:
        """Another script's: see `lampc.backend.runner.Launched`."""
        self.launched.replace(tokens)


def _instead(tokens: list[int | None], drawn: Sequence[Drawn | int]) -> list[Drawn | int]:
    """The script's tokens, where it has any, in the place of what was drawn."""
    return [
        one if token is None else token if isinstance(one, int) else Drawn(token, one.logprobs, one.top)
        for one, token in zip(drawn, tokens, strict=True)
    ]


class _SimulatedRunner:
    """Computes nothing. Logprobs are 0."""

    branches = True

    def __init__(self, script: Script, cost: Callable[[StepShape], float], clock: Clock) -> None:
        self.script, self._cost, self._clock = script, cost, clock
        self._shapes = Shapes()

    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        """See `lampc.backend.plan.Runner`."""
        tokens = self.script.tokens(plan)
        if plan.copies is not None:
            plan.copies.clear()
        self._clock.sleep(self._cost(self._shapes.of(plan)))
        if plan.plain:
            return [token for token in tokens if token is not None]
        drawn: list[Drawn | int] = [Drawn(token) for token in tokens[: len(plan.decoding)]]
        for want, token in zip(plan.other_wants, tokens[len(plan.decoding) :], strict=True):
            job = want.job
            known: tuple[int, ...] = ()
            if job.wants_logprobs:
                known = job.follow[want.start + 1 : want.start + 1 + len(want.rows)]
                known += () if token is None else (token,)
            top = tuple(((t, 0.0),) for t in known if job.request.top_logprobs > 0)
            drawn.append(Drawn(token, (0.0,) * len(known), top))
        return drawn


class SimulatedEngine(EngineCore):
    """See the module's text. `cost` gives the seconds of a step; `clock` is the engine's own."""

    def __init__(
        self, tokenizer: TextTokenizer, info: EngineInfo, cost: Callable[[StepShape], float], **options: Any
    ) -> None:
        self.clock = Clock()
        self.script = Script(tokenizer)
        runner = _SimulatedRunner(self.script, cost, self.clock)
        super().__init__(runner, tokenizer, info, clock=self.clock, **options)

    @staticmethod
    def like(engine: TokenEngine, cost: Callable[[StepShape], float], **changes: Any) -> "SimulatedEngine":
        """An engine without a model that schedules as `engine` does. `changes` are options that differ.

        Raises Unsupported for an engine without a scheduler, or with K/V in host memory.
        """
        if not isinstance(engine, EngineCore):
            raise Unsupported(f"a {type(engine).__name__} has no scheduler to simulate")
        if engine._tree.host is not None:
            raise Unsupported("an engine that keeps K/V in host memory is not simulated; load it with host_kv_tokens=0")
        return SimulatedEngine(engine.tokenizer, engine.info, cost, **(settings(engine) | changes))


def settings(engine: EngineCore) -> dict[str, Any]:
    """What an engine was told of scheduling and memory, as the keywords that say it again."""
    scheduler = engine._scheduler
    return {
        "kv_tokens": engine._pool.total * engine._pool.block_size,
        "max_batch_tokens": scheduler._budget,
        "max_running": scheduler._max_running,
        "max_waiting": engine._max_waiting,
        "prefix_cache": scheduler._prefix_cache,
        "chunk": scheduler._chunk,
        "policy": next(name for name, kind in POLICIES.items() if type(scheduler._policy) is kind),
        "patience": scheduler._patience,
        "branch_rows": engine._branches.rows,
    }


def play(engine: TokenEngine) -> Script:
    """The script that an engine follows from now on; the model computes every step as before.

    Raises Unsupported for an engine that is closed or has no scheduler.
    """
    if isinstance(engine, SimulatedEngine):
        return engine.script
    runner: Runner | None = engine._runner if isinstance(engine, EngineCore) else None
    if not isinstance(engine, EngineCore) or runner is None:
        raise Unsupported(f"this {type(engine).__name__} cannot follow a script")
    script = Script(engine.tokenizer)
    ahead = hasattr(type(runner), "launch")
    engine._runner = _ScriptedLauncher(runner, script) if ahead else _ScriptedRunner(runner, script)
    return script
