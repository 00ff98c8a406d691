"""The engine loop: queue, schedule, run, take tokens, finish. It knows no torch; a `Runner` does the numbers."""

import time
from collections.abc import Callable
from typing import Any, Protocol

from lampc.backend.api import EngineInfo, EngineStats
from lampc.backend.block_pool import BlockPool
from lampc.backend.errors import BackendError
from lampc.backend.job import Drawn, Ids, Job, check_request
from lampc.backend.lifecycle import move
from lampc.backend.pins import Pins
from lampc.backend.radix import RadixTree
from lampc.backend.request import Finish, Handle, PrefixRef, Request, State
from lampc.backend.scheduler import Plan, Scheduler
from lampc.backend.tokenizer import TextTokenizer

Event = dict[str, Any]


class Runner(Protocol):
    """Executes a plan: stores K/V of its rows, returns one `Drawn` per want, in order."""

    def execute(self, plan: Plan) -> list[Drawn]:
        """One step. Any exception means that nothing of the plan counts."""
        ...


class EngineCore:
    """An engine over a runner; see `lampc.backend.api.TokenEngine` for what the methods promise.

    `on_event` is called with a dict for every transition of a request ({"type": "request", "id", "state",
    "finish"}) and for every step ({"type": "step", "step", "rows", "running", "waiting", "used_blocks"}).
    """

    def __init__(
        self,
        runner: Runner,
        tokenizer: TextTokenizer,
        info: EngineInfo,
        *,
        kv_tokens: int,
        max_batch_tokens: int = 512,
        max_running: int = 64,
        prefix_cache: bool = True,
        chunk: int | None = None,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._tokenizer = tokenizer
        self._info = info
        self._pool = BlockPool(max(1, -(-kv_tokens // info.block_size)), info.block_size)
        self._tree = RadixTree(self._pool)
        self._pins = Pins(self._tree)
        self._scheduler = Scheduler(
            self._tree,
            max_batch_tokens=max_batch_tokens,
            max_running=max_running,
            chunk=chunk,
            prefix_cache=prefix_cache,
        )
        self._on_event = on_event
        self._clock = clock
        self._ids = Ids()
        self._jobs: dict[int, Job] = {}
        self._finished: list[Handle] = []
        self._deadlines = 0
        self._closed = False
        self._steps = self._prompt = self._computed = self._cached = 0
        self._generated = self._forward = self._preemptions = self._done = self._requests = 0

    @property
    def info(self) -> EngineInfo:
        """Facts about the model and the numerics."""
        return self._info

    @property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer."""
        return self._tokenizer

    def submit(self, request: Request, on_token: Callable[[Handle, int], None] | None = None) -> Handle:
        """Queues a request. Raises ContextTooLong, Unsupported or ValueError; the engine stays usable."""
        if self._closed:
            raise BackendError("this engine is closed; load another one")
        check_request(request, self._info)
        handle = Handle(self._ids.next(), request, on_token)
        job = Job(handle, self._tokenizer, self._info)
        self._jobs[handle.id] = job
        self._scheduler.add(job)
        self._requests += 1
        self._deadlines += request.deadline is not None
        self._tell(handle)
        return handle

    def step(self) -> list[Handle]:
        """One batch through the model; returns the requests that finished in it."""
        self._expire()
        plan = self._scheduler.schedule(self._admitted)
        for job in plan.preempted:
            self._preemptions += 1
            move(job.handle, State.PREEMPTED)
            self._tell(job.handle)
        for job, error in plan.starved:
            self._finish(job, "error", str(error))
        if plan.wants or plan.chunks:
            self._steps += 1
            self._pins.follow()
            try:
                drawn = self._runner.execute(plan)
            except Exception as error:
                self._failed(plan, error)
            except BaseException:  # an interrupt: the step did not happen, and can be run again
                self._scheduler.roll_back(plan)
                raise
            else:
                self._account(plan)
                for want, result in zip(plan.wants, drawn, strict=True):
                    self._take(want.job, result)
                if self._scheduler.solo and not self._scheduler.running:
                    self._scheduler.solo = False
        finished, self._finished = self._finished, []
        return finished

    def run(self) -> list[Handle]:
        """Steps until nothing is left to do; returns all that finished."""
        finished: list[Handle] = []
        while self._jobs or self._finished:
            finished += self.step()
        return finished

    def abort(self, handle: Handle) -> None:
        """Ends a request at once with finish "abort"; does nothing if it is done."""
        job = self._jobs.get(handle.id)
        if job is not None and job.handle is handle:
            self._finish(job, "abort")

    def retain(self, ids: tuple[int, ...], ttl: float | None = None) -> PrefixRef:
        """Keeps whatever of this prefix is or becomes cached, until released or for `ttl` seconds."""
        return self._pins.add(ids, None if ttl is None else self._clock() + ttl)

    def release(self, ref: PrefixRef) -> None:
        """Lets a retained prefix go. Raises ValueError if it is not held."""
        self._pins.remove(ref)

    def stats(self) -> EngineStats:
        """Counters so far."""
        return EngineStats(
            prompt_tokens=self._prompt,
            computed_tokens=self._computed,
            cached_tokens=self._cached,
            generated_tokens=self._generated,
            forward_tokens=self._forward,
            steps=self._steps,
            preemptions=self._preemptions,
            evicted_tokens=self._tree.evicted,
            requests=self._requests,
            finished=self._done,
            used_blocks=self._pool.used,
            peak_blocks=self._pool.peak,
            total_blocks=self._pool.total,
        )

    def check(self) -> None:
        """Raises AssertionError if blocks leaked or reference counts are wrong."""
        cursors = [job.cursor for job in self._jobs.values() if job.cursor is not None]
        self._tree.check(cursors + self._pins.cursors())
        queued = self._scheduler.waiting + self._scheduler.running
        assert {id(job) for job in queued} == {id(job) for job in self._jobs.values()}, "a job is lost"
        for job in self._scheduler.running:
            assert job.cursor is not None
            assert job.handle.state is State.RUNNING
            slots = self._tree.slots(job.cursor)
            assert job.slots[: len(slots)].tolist() == slots, "a job's slots are stale"

    def reset_cache(self) -> None:
        """Drops everything cached that no request or retained prefix holds."""
        self._tree.clear()

    def close(self) -> None:
        """Aborts what runs and gives memory back. The engine cannot be used afterwards."""
        for job in list(self._jobs.values()):
            self._finish(job, "abort")
        self._pins.clear()
        self._tree.clear()
        self._closed = True

    # -- inside ----------------------------------------------------------------------------------------

    def _admitted(self, job: Job) -> None:
        if job.handle.state is State.WAITING:
            self._prompt += job.prompt_len
        move(job.handle, State.RUNNING)
        self._tell(job.handle)

    def _account(self, plan: Plan) -> None:
        self._forward += plan.rows
        self._computed += plan.computed
        self._cached += plan.cached
        if self._on_event is not None:
            self._on_event(
                {
                    "type": "step",
                    "step": self._steps,
                    "rows": plan.rows,
                    "running": len(self._scheduler.running),
                    "waiting": len(self._scheduler.waiting),
                    "used_blocks": self._pool.used,
                }
            )

    def _take(self, job: Job, drawn: Drawn) -> None:
        if job.handle.done:  # aborted from a callback within this step
            return
        job.record(drawn)
        if drawn.token is not None:
            self._generated += 1
            if job.output.push(drawn.token):
                job.ids.append(drawn.token)
                try:
                    job.handle.push(drawn.token)
                except Exception as error:
                    self._finish(job, "error", f"on_token failed: {type(error).__name__}: {error}")
                    return
                if job.handle.done:
                    return
        if job.scored:
            self._finish(job, "stop")
        elif job.output.done and (drawn.token is not None or job.next_logits >= len(job.ids) - 1):
            self._finish(job, "stop" if job.output.stopped else "length")

    def _finish(self, job: Job, finish: Finish, error: str | None = None) -> None:
        self._pins.follow()
        self._scheduler.remove(job)
        del self._jobs[job.handle.id]
        self._deadlines -= job.request.deadline is not None
        job.handle.completion = job.complete(finish, error)
        move(job.handle, State.FINISHED)
        self._done += 1
        self._finished.append(job.handle)
        self._tell(job.handle)

    def _failed(self, plan: Plan, error: Exception) -> None:
        """Nothing of the step counts. Alone, a request is to blame; together, each is tried alone next."""
        self._scheduler.roll_back(plan)
        jobs = {id(job): job for job in [c.job for c in plan.chunks] + [w.job for w in plan.wants]}
        if len(jobs) > 1:
            self._scheduler.solo = True
            return
        self._scheduler.solo = False
        for job in jobs.values():
            self._finish(job, "error", f"{type(error).__name__}: {error}")

    def _expire(self) -> None:
        if self._deadlines:
            now = self._clock()
            for job in list(self._jobs.values()):
                if job.request.deadline is not None and job.request.deadline <= now:
                    self._finish(job, "timeout")
        self._pins.expire(self._clock)

    def _tell(self, handle: Handle) -> None:
        if self._on_event is not None:
            finish = handle.completion.finish if handle.completion is not None else None
            self._on_event({"type": "request", "id": handle.id, "state": handle.state.value, "finish": finish})
