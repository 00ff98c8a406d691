"""How an engine steps: schedule, run, take tokens, tell who hears of them, finish.

Steps are run one by one, or launched ahead: then one is in flight while the next is scheduled.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lampc.backend.api import EngineInfo
from lampc.backend.block_pool import BlockPool
from lampc.backend.books import Books
from lampc.backend.branches import Branches
from lampc.backend.errors import EngineClosed, words_of
from lampc.backend.flight import Flight, launch
from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.masks import Masks
from lampc.backend.hooks import Hook, Hooks, Kind, RequestEvent, StepEvent
from lampc.backend.host_tier import HostTier
from lampc.backend.job import Drawn, Ids, Job
from lampc.backend.lifecycle import Deadlines, move
from lampc.backend.metrics import Recorder
from lampc.backend.pins import Pins
from lampc.backend.plan import Plan, Runner
from lampc.backend.radix import RadixTree
from lampc.backend.request import Finish, Handle, State
from lampc.backend.scheduler import Scheduler
from lampc.backend.speculation.drafter import Drafter
from lampc.backend.speculation.options import Speculation, speculation_of
from lampc.backend.swap_rule import PrefillRate
from lampc.backend.taking import Taken, take
from lampc.backend.tokenizer import TextTokenizer


class Stepping:
    """What is inside of `lampc.backend.core.EngineCore`."""

    def __init__(
        self,
        runner: Runner,
        tokenizer: TextTokenizer,
        info: EngineInfo,
        *,
        kv_tokens: int,
        max_batch_tokens: int = 512,
        max_running: int = 64,
        max_waiting: int = 65536,
        prefix_cache: bool = True,
        chunk: int | None = None,
        policy: str = "priority",
        patience: int = 64,
        hooks: Sequence[Hook] = (),
        host: HostTier | None = None,
        async_scheduling: bool = False,
        branch_rows: int = 16,
        speculative: Mapping[str, Any] | str | Speculation | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_waiting < 1:
            raise ValueError(f"max_waiting is {max_waiting}; give at least 1")
        if host is not None and not prefix_cache:
            raise ValueError("K/V in host memory is part of the prefix cache; set prefix_cache, or host_kv_tokens=0")
        self._runner: Runner | None = runner
        self._tokenizer = tokenizer
        self._info = replace(info, kv_tokens=-(-kv_tokens // info.block_size) * info.block_size)
        self._pool = BlockPool(max(1, -(-kv_tokens // info.block_size)), info.block_size)
        self._tree = RadixTree(self._pool, host)
        self._pins = Pins(self._tree)
        self._scheduler = Scheduler(
            self._tree,
            max_batch_tokens=max_batch_tokens,
            max_running=max_running,
            chunk=chunk,
            prefix_cache=prefix_cache,
            policy=policy,
            patience=patience,
        )
        self._proposes = bool(getattr(runner, "proposes", False))
        self._branches = Branches(self._pool, branch_rows if getattr(type(runner), "branches", False) else 0)
        self._closed = 0  # requests that want them
        self._max_batch_tokens = max_batch_tokens
        self._scheduler.relent = self._pins.relent
        self._rate = PrefillRate() if host is None else host.rule
        speculation = speculation_of(speculative)
        if speculation is not None:
            if async_scheduling:
                raise ValueError(
                    "speculative needs the tokens of a step before the next one; set async_scheduling=False"
                )
            self._scheduler.drafter = Drafter(speculation, self._tree, clock)
        self._max_waiting = max_waiting
        self._hooks = Hooks(hooks)
        self._clock = clock
        self._recorder = Recorder(clock)
        self._grammars, self._masks = Grammars(tokenizer, info.vocab_size), Masks()
        self._ids = Ids()
        self._jobs: dict[int, Job] = {}
        self._finished: list[Handle] = []
        self._deadlines = Deadlines()
        self._stepping = False
        self._books = Books()
        self._fixed = False  # a plan is made and not yet run: nobody else may change anything
        self._async = async_scheduling
        self._flight: Flight | None = None  # the step launched last, if it is not taken yet
        self._landed = 0.0  # when the last one was taken
        self._steps = self._prompt = self._computed = self._cached = self._drains = 0
        self._generated = self._forward = self._preemptions = self._done = self._requests = 0

    def _open(self) -> None:
        if self._runner is None:
            raise EngineClosed("this engine is closed; load another one")

    def _step(self) -> None:
        self._expire()
        # Hooks hear of what the scheduler did only after the step: they may abort whatever is in the plan.
        self._fixed = True
        if self._async and hasattr(type(self._runner), "launch"):
            self._step_ahead()
        else:
            if self._flight is not None:
                self._land(self._flight)
            self._execute()
        self._fixed = False
        self._tell()

    def _execute(self) -> None:
        """A step from its schedule to its tokens."""
        if self._runner is None:
            return
        self._fixed = True
        self._room_for_branches()
        plan = self._scheduler.schedule(self._admitted, self._preempted)
        if plan.starved:
            self._starved(plan)
        if not plan.rows:
            return
        self._steps += 1
        start = self._clock()
        if self._closed:
            self._branches.grow(plan, self._max_batch_tokens)
        if not plan.plain and not plan.greedy:
            self._masks.begin(plan.matchers(self._proposes), self._info.vocab_size)
        try:
            drawn = self._runner.execute(plan)
        except Exception as error:
            self._recorder.busy(start, self._clock())
            self._recorder.failed_steps += 1
            self._failed(plan, error)
            return
        except BaseException:  # an interrupt: the step did not happen, and can be run again
            self._roll_back(plan)
            self._books.kept = True
            raise
        self._take(plan, drawn, self._steps, start)

    def _step_ahead(self) -> None:
        """The next step is launched, then the one before it taken."""
        plan, before = self._plan()
        if not plan.rows:
            return
        self._launch(plan, before)
        launched = self._flight
        if before is not None:
            self._land(before)
        if launched is not None and self._flight is launched and launched.failed:
            self._land(launched)

    def _plan(self) -> tuple[Plan, Flight | None]:
        """The next step, and the one in flight that it goes on from, if it need not be waited for first."""
        scheduler, before = self._scheduler, self._flight
        self._room_for_branches()
        if before is not None:
            plan = scheduler.schedule_ahead(before.plan, self._admitted)
            if plan is not None:
                self._starved(plan)
                if plan.rows:
                    return plan, before
            self._land(before)
            self._fixed = True
        if self._runner is None:  # a callback closed the engine
            return Plan(scheduler.lanes), None
        plan = scheduler.schedule(self._admitted, self._preempted, ahead=True)
        self._starved(plan)
        self._drains += before is not None and plan.rows > 0
        return plan, None

    def _starved(self, plan: Plan) -> None:
        for job, error in plan.starved:
            self._finish(job, "error", str(error))

    def _launch(self, plan: Plan, before: Flight | None) -> None:
        self._steps += 1
        start = self._clock()
        if self._closed:
            self._branches.grow(plan, self._max_batch_tokens)
        if not plan.plain and not plan.greedy:
            self._masks.begin(plan.matchers(self._proposes), self._info.vocab_size)
        try:
            pending = launch(self._runner, plan, before)
        except BaseException:  # an interrupt: the step did not happen, and can be run again
            self._roll_back(plan)
            self._books.kept = True
            raise
        self._flight = Flight(plan, pending, self._steps, start)

    def _land(self, flight: Flight) -> None:
        """Waits for a step, and tells everybody what it gave. Another may have been launched after it."""
        plan = flight.plan
        try:
            drawn = flight.pending.drawn()
        except Exception as error:
            now = self._clock()
            self._recorder.busy(max(flight.start, self._landed), now)
            self._landed = now
            self._recorder.failed_steps += 1
            self._ground(flight)
            self._failed(plan, error)
            return
        except BaseException:
            self._ground(flight)
            self._roll_back(plan)
            self._books.kept = True
            raise
        if self._flight is flight:
            self._flight = None
        start = max(flight.start, self._landed)
        self._landed = self._take(plan, drawn, flight.number, start)

    def _take(self, plan: Plan, drawn: Sequence[Drawn | int], number: int, start: float) -> float:
        """Step `number`, which began at `start`, is over: everybody hears of it. Gives the time of its end."""
        now = self._clock()
        self._recorder.busy(start, now)
        drawn, ways = self._branches.taken(plan, drawn)
        self._account(plan, number, start, now)
        taken, generated = take(plan, drawn, ways, now, self._recorder)
        self._generated += generated
        if plan.drafts and self._scheduler.drafter is not None:
            self._scheduler.drafter.took(plan.drafts)
        for job in plan.prefilled:
            if job.handle.state is State.PREFILLING:
                self._move(job, "running", State.RUNNING, now)
        self._fixed = False
        self._tell()
        for one in taken:
            if one.job.handle.completion is None:  # a hook or a callback may have ended it within this step
                self._deliver(one, now)
        self._scheduler.observe(now - start)
        self._rate.computed(plan.rows - len(plan.decoding), plan.rows, now - start)
        return now

    def _ground(self, flight: Flight) -> None:
        """Nothing is in flight any more: what was launched after a step that failed counts for nothing."""
        later, self._flight = self._flight, None
        if later is not None and later is not flight:
            self._roll_back(later.plan)
        if self._tree.host is not None:  # what the step wrote may have been evicted
            self._tree.host.clear()

    def _room_for_branches(self) -> None:
        """Blocks that nobody has, if a cached prefix or two can give some."""
        if self._closed and self._branches.rows:
            wanted = len(self._scheduler.running) + self._branches.blocks
            if self._pool.free < wanted:
                self._scheduler.lanes.settle()
                self._tree.evict(wanted)

    def _roll_back(self, plan: Plan) -> None:
        self._branches.end(plan)
        cached, computed = self._scheduler.roll_back(plan)
        self._cached += cached
        self._computed += computed

    def _admitted(self, job: Job) -> None:
        self._follow()
        if job.handle.state is State.WAITING:
            self._prompt += job.prompt_len
        now = self._clock()
        self._recorder.admitted(job.times, now)
        self._move(job, "admitted", State.PREFILLING, now)

    def _preempted(self, job: Job) -> None:
        self._preemptions += 1
        job.times.preemptions += 1
        self._move(job, "preempted", State.PREEMPTED)

    def _account(self, plan: Plan, number: int, start: float, now: float) -> None:
        running = len(self._scheduler.running)
        self._forward += plan.rows
        self._computed += plan.computed
        self._cached += plan.cached
        self._recorder.step(now, running, plan.rows, plan.cached, plan.computed)
        if self._hooks:
            waiting, about = len(self._scheduler.waiting), plan.jobs()
            handles = tuple(job.handle for job in about)
            event = StepEvent(
                now, number, now - start, plan.rows, len(about), running, waiting, self._pool.used,
                plan.computed, plan.cached, handles,
            )  # fmt: skip
            self._hooks.add(event, handles)

    def _follow(self) -> None:
        """Retained prefixes move on to what has come into the tree."""
        if self._pins.waiting:
            self._scheduler.lanes.settle()
        self._pins.follow()

    def _deliver(self, taken: Taken, now: float) -> None:
        """Tells whoever hears of a job's token, and ends the job if that was all."""
        job, token, tokens, first = taken
        handle = job.handle
        for told in tokens if handle.on_token is not None else ():
            if handle.completion is not None:  # the callback may have ended the request
                break
            try:
                handle.on_token(handle, told)  # type: ignore[misc]  # nobody takes it away
            except Exception as error:  # code of the user, which may raise anything
                if handle.completion is None:
                    self._finish(job, "error", f"on_token failed: {type(error).__name__}: {error}")
        if first and handle.completion is None:
            self._note("first_token", handle, handle.state, now)
            self._tell()
        if handle.completion is None and job.failure:
            self._finish(job, "error", job.failure)
        if handle.completion is None and (job.output.done or job.request.score):
            self._end(job, token)

    def _end(self, job: Job, token: int | None) -> None:
        """Finishes a request that has all it asked for."""
        if job.scored:
            self._finish(job, "stop")
        elif job.output.done and job.next_logits >= len(job.ids) - 1:
            self._finish(job, "stop" if job.output.stopped else "length")

    def _finish(self, job: Job, finish: Finish, error: str | None = None) -> None:
        handle, now = job.handle, self._clock()
        self._closed -= job.request.closed
        self._scheduler.lanes.leave(job)
        self._follow()
        if finish in ("stop", "length") and not job.output.certain:
            self._scheduler.lengths.add(len(job.output.tokens))
        self._scheduler.remove(job, job.request.next_use, job.request.spent)
        self._deadlines.drop(handle.id)
        handle.completion = job.complete(finish, error, self._recorder.finished(job.times, now, finish, job.cached))
        self._done += 1
        self._finished.append(handle)
        self._move(job, "finished", State.FINISHED, now)
        del self._jobs[handle.id]  # last: whoever is interrupted before still finds it
        self._tell()

    def _failed(self, plan: Plan, error: Exception) -> None:
        """Nothing of the step counts. Alone, a request is to blame; together, each is tried alone next."""
        self._roll_back(plan)
        jobs = plan.jobs()
        if len(jobs) > 1:
            self._scheduler.suspect(jobs)
            return
        for job in jobs:
            if job.handle.completion is None:
                self._finish(job, "error", words_of(error))

    def _expire(self) -> None:
        if self._deadlines:
            for number in self._deadlines.late(self._clock()):
                if number in self._jobs:  # a hook may have ended it just now
                    self._finish(self._jobs[number], "timeout")
        if self._pins.timed:
            self._pins.expire(self._clock())

    # -- what hooks hear -------------------------------------------------------------------------------

    def _move(self, job: Job, kind: Kind, to: State, now: float | None = None) -> None:
        self._note(kind, job.handle, move(job.handle, to), now)

    def _note(self, kind: Kind, handle: Handle, before: State | None, now: float | None) -> None:
        if self._hooks:
            time = self._clock() if now is None else now
            self._hooks.add(RequestEvent(kind, time, handle, before, handle.state), (handle,))

    def _tell(self) -> None:
        if self._hooks and not self._fixed:
            self._hooks.tell(self._hook_failed)

    def _hook_failed(self, handle: Handle, message: str) -> None:
        job, completion = self._jobs.get(handle.id), handle.completion
        if job is not None:
            self._finish(job, "error", message)
        elif completion is not None and completion.finish != "error":
            handle.completion = replace(completion, finish="error", stop_reason=None, error=message)
            self._recorder.refinished(completion.finish, "error")
