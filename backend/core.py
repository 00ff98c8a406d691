"""The engine as others see it: requests, prefixes, counters. It knows no torch; a `Runner` does the numbers."""

from collections.abc import Callable

from lampc.backend.api import EngineInfo, EngineStats
from lampc.backend.audit import audit
from lampc.backend.errors import BackendError, QueueFull
from lampc.backend.job import Job, check_adapter, check_request
from lampc.backend.metrics import EngineMetrics
from lampc.backend.pins import check_pin
from lampc.backend.request import Handle, PrefixRef, Request, State
from lampc.backend.stepping import Stepping
from lampc.backend.swap_rule import SwapRule
from lampc.backend.tokenizer import TextTokenizer


class EngineCore(Stepping):
    """An engine over a runner; see `lampc.backend.api.TokenEngine` for what the methods promise.

    At most `max_waiting` requests wait: `submit` then raises QueueFull. Requests that were preempted come back
    to the queue whatever its length. `hooks` hear of every transition, see `lampc.backend.hooks`. All methods are
    for one thread; an engine does nothing by itself, so one that is `idle` needs no step until the next `submit`.
    With `async_scheduling`, and a runner that can, each step is launched before the tokens of the one before are here.
    """

    @property
    def info(self) -> EngineInfo:
        """Facts about the model and the numerics."""
        return self._info

    @property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer."""
        return self._tokenizer

    @property
    def idle(self) -> bool:
        """Whether `step` would find nothing to do and nothing to tell."""
        return not self._jobs and not self._finished and self._flight is None

    @property
    def slack(self) -> float:
        """The share of places for running requests that is free; 0 while a request waits for one."""
        scheduler = self._scheduler
        return 0.0 if scheduler.waiting else max(0.0, 1.0 - len(scheduler.running) / scheduler.places)

    def submit(self, request: Request, on_token: Callable[[Handle, int], None] | None = None) -> Handle:
        """Queues a request. Raises QueueFull, EngineClosed, ContextTooLong, Unsupported, BadGrammar or another
        ValueError, or what a hook raises to refuse it; the engine stays usable."""
        self._open()
        with self._books:
            return self._submit(request, on_token)

    def _submit(self, request: Request, on_token: Callable[[Handle, int], None] | None) -> Handle:
        try:
            if len(self._scheduler.waiting) >= self._max_waiting:
                raise QueueFull(self._max_waiting)
            request = self._hooks.rewrite(request)
            check_request(request, self._info)
            handle = Handle(self._ids.next(), request, on_token)
            job = Job(handle, self._tokenizer, self._info, self._grammars.matcher(request.grammar))
        except Exception:  # whatever a hook raises: counted, and passed on
            self._recorder.refused += 1
            raise
        if self._scheduler.drafter is not None:
            self._scheduler.drafter.begin(job)
        job.times.arrived = now = self._clock()
        self._scheduler.waiting.add(job)
        self._jobs[handle.id] = job
        self._requests += 1
        self._closed += request.closed
        if request.deadline is not None:
            self._deadlines.add(handle.id, request.deadline)
        self._note("submitted", handle, None, now)
        self._tell()
        return handle

    def step(self) -> list[Handle]:
        """One batch through the model; returns the requests that finished since the last step.

        Where steps are launched ahead, that batch is launched, and the tokens are those of the one before it.
        Raises BackendError if called from a hook, a callback or a runner of this engine, or after an interrupt
        (Ctrl-C, for one) in the midst of the engine's books. One that comes while the model computes takes back the
        step, and one launched after it, and it can be run again.
        """
        with self._books:
            if self._stepping:
                raise BackendError("the engine is within a step; a hook or callback must not call step or run")
            self._stepping, self._books.kept = True, False
            try:
                self._step()
            finally:
                self._stepping = self._fixed = False
        finished, self._finished = self._finished, []
        return finished

    def run(self) -> list[Handle]:
        """Steps until nothing is left to do; returns all that finished."""
        finished: list[Handle] = []
        while not self.idle:
            finished += self.step()
        return finished

    def abort(self, handle: Handle) -> None:
        """Ends a request at once with finish "abort"; does nothing if it is done."""
        job = self._jobs.get(handle.id)
        if job is not None and job.handle is handle:
            with self._books:
                self._finish(job, "abort")

    def retain(
        self,
        ids: tuple[int, ...],
        ttl: float | None = None,
        next_use: float | None = None,
        yields: bool = False,
        adapter: str | None = None,
    ) -> PrefixRef:
        """Keeps whatever of this prefix is or becomes cached, until released or for `ttl` seconds.

        `next_use` says when it is needed next after that, see `Request`. One that `yields` is let go before a request
        would be preempted, or could not run, for want of its blocks: those needed last first. It is the prefix of
        requests with an `adapter`, or of those without one. Raises Unsupported for an adapter that is not loaded.
        """
        self._open()
        check_pin(ttl, next_use)
        check_adapter(adapter, self._info)
        with self._books:
            self._scheduler.lanes.settle()
            return self._pins.add(ids, None if ttl is None else self._clock() + ttl, next_use, yields, adapter)

    def known(self, ids: tuple[int, ...], adapter: str | None = None) -> int:
        """How many tokens of a prefix are cached, or about to be."""
        with self._books:
            self._scheduler.lanes.settle()
            node, offset = self._tree.match(ids, self._tree.named_root(adapter))
            return node.start + offset

    def release(self, ref: PrefixRef, next_use: float | None = None, spent: int | None = None) -> None:
        """Lets a retained prefix go; it stays cached while there is room. `next_use` and `spent`: see `Request`. Raises
        ValueError if it is not held; one that yields may be released when the engine has let it go already."""
        with self._books:
            self._scheduler.lanes.settle()
            self._pins.remove(ref, next_use, spent)

    @property
    def restore_s(self) -> float | None:
        """Seconds that a token of context takes to come back once it was evicted: computed again, or copied back if
        that is faster and host memory keeps it. None as long as nobody knows."""
        rate = self._rate
        return rate.copy_s if isinstance(rate, SwapRule) and rate.pays else rate.compute_s

    @property
    def clock_s(self) -> float:
        """The time on the engine's clock, in seconds."""
        return self._clock()

    def stats(self) -> EngineStats:
        """Counters so far."""
        host, drafter = self._tree.host, self._scheduler.drafter
        return EngineStats(
            prompt_tokens=self._prompt,
            computed_tokens=self._computed,
            cached_tokens=self._cached,
            generated_tokens=self._generated,
            forward_tokens=self._forward,
            steps=self._steps,
            preemptions=self._preemptions,
            drains=self._drains,
            evicted_tokens=self._tree.evicted,
            requests=self._requests,
            finished=self._done,
            used_blocks=self._pool.used,
            peak_blocks=self._pool.peak,
            total_blocks=self._pool.total,
            drafted_tokens=0 if drafter is None else drafter.drafted,
            accepted_tokens=0 if drafter is None else drafter.accepted,
            **({} if host is None else host.stats()),
        )

    def metrics(self) -> EngineMetrics:
        """Rates, shares and distributions as of now."""
        states = [job.handle.state for job in list(self._jobs.values())]
        running, prefilling = states.count(State.RUNNING), states.count(State.PREFILLING)
        return self._recorder.read(
            self.stats(),
            running=running + prefilling,
            prefilling=prefilling,
            waiting=len(states) - running - prefilling,
            preempted=states.count(State.PREEMPTED),
        )

    def check(self) -> None:
        """Raises AssertionError if blocks leaked or reference counts are wrong."""
        audit(self._tree, self._pins, self._scheduler, self._jobs, self._branches.slots)

    def reset_cache(self) -> None:
        """Drops everything cached that no request or retained prefix holds; those held for a time end with a step."""
        with self._books:
            self._tree.clear()

    def close(self) -> None:
        """Aborts what runs and gives all memory back. The engine cannot be used afterwards. Twice is fine.

        After an interrupt that came halfway hooks are not told of it: nothing that they asked for would be right.
        """
        self._flight = None  # nobody hears of it
        if self._books.torn:  # they are of no use
            self._scheduler.lanes.tell()
            for job in self._jobs.values():
                if job.handle.completion is None:
                    metrics = self._recorder.finished(job.times, self._clock(), "abort", job.cached)
                    job.handle.completion = job.complete("abort", None, metrics)
                    self._done += 1
                job.handle.state = State.FINISHED
            self._jobs.clear()
            self._finished.clear()
        else:
            for job in list(self._jobs.values()):
                self._finish(job, "abort")
            self._pins.clear()
            self._tree.clear()
        self._masks.close()
        self._runner = None
