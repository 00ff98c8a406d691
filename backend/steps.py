"""What steps are made of and how long they take, told to whoever wants to know what work costs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lampc.backend.api import TokenEngine
from lampc.backend.core import EngineCore
from lampc.backend.errors import Unsupported
from lampc.backend.job import Drawn, Job
from lampc.backend.plan import Plan
from lampc.backend.request import Handle


@dataclass(frozen=True, slots=True)
class StepShape:
    """What a step is made of, as far as its cost hangs on it.

    `decoding` requests compute one token each and attend to `decode_reads` tokens in all, of which `distinct` are
    different ones (the rest is in prefixes that several share); `prefilled` tokens of prompts in `chunks` pieces attend
    to `prefill_reads`. `logits` rows go through the output layer; `sampled` of them are drawn from, rather than the
    likeliest token being taken (all of a step's, or none).
    """

    decoding: int = 0
    decode_reads: int = 0
    distinct: int = 0
    prefilled: int = 0
    chunks: int = 0
    prefill_reads: int = 0
    logits: int = 0
    sampled: int = 0

    @property
    def rows(self) -> int:
        """Tokens that go through the model."""
        return self.decoding + self.prefilled


class Shapes:
    """Gives the shapes of an engine's steps, one after another."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []  # those that decoded in the last step
        self._distinct = 0

    def of(self, plan: Plan) -> StepShape:
        """The shape of a planned step."""
        lanes, decoding = plan.lanes, len(plan.decoding)
        positions = lanes.memory[1, :decoding]
        if plan.decoding is self._jobs:  # never changed in place
            self._distinct += decoding
        else:
            self._jobs, self._distinct = plan.decoding, _distinct(plan, positions.tolist())
        decode_reads, distinct = int(positions.sum()) + decoding, self._distinct
        prefilled = chunks = prefill_reads = 0
        for chunk in plan.other_chunks:
            count = chunk.end - chunk.start
            if count == 1:
                decoding += 1
                decode_reads += chunk.end
                distinct += chunk.end
                continue
            prefilled += count
            chunks += 1
            prefill_reads += (chunk.start + 1 + chunk.end) * count // 2
        logits = len(plan.decoding) + sum(len(want.rows) for want in plan.other_wants)
        logits += sum(len(draft.tokens) for draft in plan.drafts)
        sampled = 0 if plan.plain else logits
        return StepShape(decoding, decode_reads, distinct, prefilled, chunks, prefill_reads, logits, sampled)


def _distinct(plan: Plan, positions: list[int]) -> int:
    """Slots on the paths of the requests that decode, each counted once."""
    pool = plan.lanes.tree.pool
    seen = np.zeros(pool.total * pool.block_size, np.bool_)
    for job, at in zip(plan.decoding, positions, strict=True):
        seen[job.slots[: at + 1]] = True
    return int(np.count_nonzero(seen))


@dataclass(frozen=True, slots=True)
class StepTaken:
    """A step: its shape, the seconds that the runner took, how many rows were whose, and how many tokens of the KV
    cache requests and retained prefixes held (in whole blocks)."""

    shape: StepShape
    seconds: float
    rows: tuple[tuple[Handle, int], ...]
    held: int


def watch_steps(
    engine: TokenEngine, tell: Callable[[StepTaken], None], clock: Callable[[], float] | None = None
) -> Callable[[], None]:
    """Has `tell` called after each step from now on; what is returned ends that. Whoever watches last ends first.

    Seconds are those of `clock`, by default the engine's. While somebody watches no step is launched ahead of the one
    before it. Raises Unsupported for an engine without a scheduler, or one
    that is closed.
    """
    runner: Any = engine._runner if isinstance(engine, EngineCore) else None
    if not isinstance(engine, EngineCore) or runner is None:
        raise Unsupported(f"this {type(engine).__name__} has no steps to watch")
    core = engine
    core._runner = watched = _Watched(runner, clock or core._clock, tell)

    def end() -> None:
        if core._runner is watched:
            core._runner = runner

    return end


class _Watched:
    """A runner whose steps are timed and told."""

    def __init__(self, inner: Any, clock: Callable[[], float], tell: Callable[[StepTaken], None]) -> None:
        self._inner, self._clock, self._tell = inner, clock, tell
        self._shapes = Shapes()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        """See `lampc.backend.plan.Runner`."""
        shape = self._shapes.of(plan)
        rows = [(job.handle, 1) for job in plan.decoding]
        rows += [(chunk.job.handle, chunk.end - chunk.start) for chunk in plan.other_chunks]
        begun = self._clock()
        drawn: Sequence[Drawn | int] = self._inner.execute(plan)
        seconds, tree = self._clock() - begun, plan.lanes.tree
        self._tell(StepTaken(shape, seconds, tuple(rows), tree.locked_blocks * tree.pool.block_size))
        return drawn
