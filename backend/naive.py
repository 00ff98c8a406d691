"""The naive twin of the paged engine: one request at a time, everything recomputed for every token.

No blocks, no cache, no batching, no scheduler: it defines which tokens are right.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count

import numpy as np
import torch

from lampc.backend.adapting import Adapting
from lampc.backend.api import EngineInfo, EngineStats
from lampc.backend.errors import BackendError, EngineClosed, words_of
from lampc.backend.grammar.compiled import Grammars
from lampc.backend.hooks import Hook, Hooks, Kind, RequestEvent
from lampc.backend.int8 import decode, encode
from lampc.backend.job import Ids, Job, check_adapter, check_request
from lampc.backend.kv_cache import KVCache
from lampc.backend.lifecycle import Deadlines, move
from lampc.backend.metrics import EngineMetrics, Recorder
from lampc.backend.models.layers import Attend, elementwise
from lampc.backend.models.registry import Model
from lampc.backend.models.rows import Rows
from lampc.backend.native.attention import NativeAttention, supported
from lampc.backend.native.drawing import kernel_of
from lampc.backend.pins import check_pin
from lampc.backend.plan import Want
from lampc.backend.request import Finish, Handle, PrefixRef, Request, State
from lampc.backend.sampler import resolve
from lampc.backend.scores import Scores, scores_of
from lampc.backend.spans import Span
from lampc.backend.tiles import CHUNK, padded_rows, value_width
from lampc.backend.tokenizer import TextTokenizer


def dense_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None = None, score: Scores | None = None
) -> torch.Tensor:
    """Causal attention of one sequence: q [T, heads, D], k and v [T, kv_heads, D] -> [T, heads, D].

    Every query token by itself against one chunk of keys after the other; with a window it sees only the last
    `window` keys, itself included.
    """
    length, heads, dim = q.shape
    score = score or Scores(dim)
    groups = k.shape[1]
    fold = heads // groups
    rows = padded_rows(1, fold)
    chunks = -(-length // CHUNK)
    queries = torch.zeros(length, groups, rows, dim)
    queries[:, :, :fold] = q.float().reshape(length, groups, fold, dim)
    keys = torch.zeros(chunks * CHUNK, groups, dim)
    values = torch.zeros(chunks * CHUNK, groups, value_width(dim))
    keys[:length], values[:length, :, :dim] = k.float(), v.float()
    out = torch.empty(length, groups, fold, dim)
    for i in range(length):
        scores = []
        first = 0 if window is None else max(0, i + 1 - window)
        start = first // CHUNK
        for at in range(start * CHUNK, i + 1, CHUNK):
            part = torch.bmm(queries[i], keys[at : at + CHUNK].transpose(0, 1).contiguous().transpose(1, 2))
            part = score(part)
            part[:, :, max(0, i + 1 - at) :] = -torch.inf
            part[:, :, : max(0, first - at)] = -torch.inf
            scores.append(part)
        top = torch.stack([part.amax(-1, keepdim=True) for part in scores]).amax(0)
        total, mass = torch.zeros(groups, rows, dim), torch.zeros(groups, rows, 1)
        for number, part in enumerate(scores, start):
            weights = elementwise(torch.exp2, part - top)
            chunk = values[number * CHUNK : (number + 1) * CHUNK].transpose(0, 1).contiguous()
            total = total + torch.bmm(weights, chunk)[..., :dim]
            mass = mass + weights.sum(-1, keepdim=True)
        out[i] = (total / mass)[:, :fold]
    return out.reshape(length, heads, dim).to(q.dtype)


class NaiveEngine(Adapting):
    """See `lampc.backend.api.TokenEngine`; `retain` holds nothing, since nothing is cached, and any number waits."""

    def __init__(
        self,
        model: Model,
        tokenizer: TextTokenizer,
        info: EngineInfo,
        rows: Rows,
        *,
        int8: bool = False,
        hooks: Sequence[Hook] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._scores = scores_of(model, model.head_dim)
        self.adapt(None, (info.digest,))
        self._tokenizer = tokenizer
        self._info = info
        self._rows = rows
        self._kernel = kernel_of(rows.native)
        self._int8 = int8
        self._hooks = Hooks(hooks)
        self._clock = clock
        self._recorder = Recorder(clock)
        self._grammars = Grammars(tokenizer, info.vocab_size)
        self._deadlines = Deadlines()
        self._stepping = False
        self._ids = Ids()
        self._refs = count()
        self._held: dict[int, PrefixRef] = {}
        self._queue: list[Job] = []
        self._finished: list[Handle] = []
        self._closed = False
        self._prompt = self._generated = self._forward = self._steps = self._requests = self._done = 0

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
        return not self._queue and not self._finished

    def submit(self, request: Request, on_token: Callable[[Handle, int], None] | None = None) -> Handle:
        """Queues a request. Raises EngineClosed, ContextTooLong, Unsupported or ValueError, or what a hook raises."""
        self._open()
        try:
            request = self._hooks.rewrite(request)
            check_request(request, self._info)
            handle = Handle(self._ids.next(), request, on_token)
            job = Job(handle, self._tokenizer, self._info, self._grammars.matcher(request.grammar))
        except Exception:  # whatever a hook raises: counted, and passed on
            self._recorder.refused += 1
            raise
        job.times.arrived = self._clock()
        self._queue.append(job)
        self._queue.sort(key=lambda job: (-job.request.priority, job.handle.id))
        self._requests += 1
        if request.deadline is not None:
            self._deadlines.add(handle.id, request.deadline)
        self._tell("submitted", handle, None)
        return handle

    def _open(self) -> None:
        if self._closed:
            raise EngineClosed("this engine is closed; load another one")

    def _named(self) -> set[str | None]:
        return {job.request.adapter for job in self._queue}

    def step(self) -> list[Handle]:
        """All tokens so far of the first request through the model; one token more."""
        if self._stepping:
            raise BackendError("the engine is within a step; a hook or callback must not call step or run")
        self._stepping = True
        try:
            for number in self._deadlines.late(self._clock()):
                self._finish(next(job for job in self._queue if job.handle.id == number), "timeout")
            if self._queue:
                self._try(self._queue[0])
        finally:
            self._stepping = False
        finished, self._finished = self._finished, []
        return finished

    def _try(self, job: Job) -> None:
        if job.handle.state is State.WAITING:
            self._recorder.admitted(job.times, self._clock())
            self._tell("admitted", job.handle, move(job.handle, State.PREFILLING))
            self._prompt += job.prompt_len
            job.pass_by(0, job.prompt_len)
        if job.handle.done:  # a hook ended it
            return
        self._steps += 1
        try:
            self._advance(job)
        except Exception as error:  # the model's, or that of a callback of the user
            if not job.handle.done:
                self._finish(job, "error", words_of(error))

    def _advance(self, job: Job) -> None:
        first, begin = job.next_logits, self._clock()
        rows = list(range(first, len(job.ids)))
        if self._adapters:
            self._adapters.use({} if job.request.adapter is None else {job.request.adapter: range(len(job.ids))})
        drawn = resolve([Want(job, first, rows, job.draws)], self.logits(job.ids, rows).numpy(), self._kernel)[0]
        now = self._clock()
        prefilling = job.handle.state is State.PREFILLING
        self._forward += len(job.ids)
        self._recorder.busy(begin, now)
        self._recorder.step(now, 1, len(job.ids), 0, job.prompt_len if prefilling else 0)
        if prefilling:
            self._tell("running", job.handle, move(job.handle, State.RUNNING))
            if job.handle.done:
                return
        job.record(drawn)
        told: Sequence[int] = (drawn.token,) if drawn.token is not None and job.accept(drawn.token) else ()
        if job.matcher is not None:
            told, job.untold = job.untold, []
        is_first = drawn.token is not None and self._recorder.token(job.times, now)
        self._generated += drawn.token is not None
        if job.handle.on_token is not None:
            for token in told:
                job.handle.on_token(job.handle, token)
        if is_first and not job.handle.done:
            self._tell("first_token", job.handle, job.handle.state)
        if job.handle.done:
            return
        if job.failure:
            self._finish(job, "error", job.failure)
        elif job.request.score:
            self._finish(job, "stop")
        elif job.output.done and job.next_logits >= len(job.ids) - 1:
            self._finish(job, "stop" if job.output.stopped else "length")

    @torch.inference_mode()
    def logits(self, ids: list[int], wanted: list[int]) -> torch.Tensor:
        """float32 [n, vocab] at the wanted positions of one sequence."""
        length = len(ids)
        padded = torch.zeros(self._rows.padded(length), dtype=torch.int64)
        positions = torch.zeros_like(padded)
        padded[:length] = torch.tensor(ids)
        positions[:length] = torch.arange(length)

        attend = self._dense(length) if self._rows.native is None else self._native(length, len(padded))
        return self._model.forward(padded, positions, attend, torch.from_numpy(np.array(wanted, np.int64)))

    def _dense(self, length: int) -> Attend:
        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            out = torch.zeros_like(q)
            if self._int8:
                k, v = (decode(*encode(x)) for x in (k, v))
            out[:length] = dense_attention(q[:length], k[:length], v[:length], self._model.windows[layer], self._scores)
            return out

        return attend

    def _native(self, length: int, rows: int) -> Attend:
        """With native kernels a context is laid out as it comes, and every query is a tile of its own.

        Like the paged engine's, attention is torch's where the kernel does not compute over such a cache.
        """
        model, native = self._model, self._rows.native
        assert native is not None
        slots = np.arange(length)
        spans = [Span(i, i, 1, slots) for i in range(length)]
        to = np.concatenate([slots, np.full(rows - length, -1)])
        steps: list[Attend] = []

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            if not steps:
                cache = KVCache(length, model.layers, model.kv_heads, model.head_dim, q.device, q.dtype, self._int8)
                if supported(cache):
                    attention = NativeAttention(native, cache, model.heads, model.windows, 1, self._scores)
                    steps.append(attention.step(spans, to))
                else:
                    steps.append(self._dense(length))
            return steps[0](layer, q, k, v)

        return attend

    def run(self) -> list[Handle]:
        """Steps until nothing is left to do; returns all that finished."""
        finished: list[Handle] = []
        while not self.idle:
            finished += self.step()
        return finished

    def abort(self, handle: Handle) -> None:
        """Ends a request at once with finish "abort"; does nothing if it is done."""
        for job in self._queue:
            if job.handle is handle:
                self._finish(job, "abort")
                return

    def retain(
        self,
        ids: tuple[int, ...],
        ttl: float | None = None,
        next_use: float | None = None,
        yields: bool = False,
        adapter: str | None = None,
    ) -> PrefixRef:
        """A reference that requests can grow from; nothing is kept."""
        check_pin(ttl, next_use)
        check_adapter(adapter, self._info)
        ref = PrefixRef(next(self._refs), tuple(ids), yields, adapter)
        self._held[ref.id] = ref
        return ref

    def release(self, ref: PrefixRef, next_use: float | None = None, spent: int | None = None) -> None:
        """Raises ValueError if the prefix is not held."""
        if self._held.get(ref.id) is not ref:
            raise ValueError(f"prefix {ref.id} is not held; it was released, or is not of this engine")
        del self._held[ref.id]

    def stats(self) -> EngineStats:
        """Counters so far; `forward_tokens` shows the price of recomputing."""
        return EngineStats(
            prompt_tokens=self._prompt,
            computed_tokens=self._prompt,
            generated_tokens=self._generated,
            forward_tokens=self._forward,
            steps=self._steps,
            requests=self._requests,
            finished=self._done,
        )

    def metrics(self) -> EngineMetrics:
        """Rates, shares and distributions as of now; there are no blocks to use."""
        states = [job.handle.state for job in list(self._queue)]
        waiting, prefilling = states.count(State.WAITING), states.count(State.PREFILLING)
        return self._recorder.read(
            self.stats(), running=len(states) - waiting, prefilling=prefilling, waiting=waiting, preempted=0
        )

    def check(self) -> None:
        """Nothing can leak here."""

    def reset_cache(self) -> None:
        """Nothing is cached here."""

    def close(self) -> None:
        """Aborts what is queued. The engine cannot be used afterwards."""
        for job in list(self._queue):
            self._finish(job, "abort")
        self._closed = True

    def _finish(self, job: Job, finish: Finish, error: str | None = None) -> None:
        self._queue.remove(job)
        self._deadlines.drop(job.handle.id)
        metrics = self._recorder.finished(job.times, self._clock(), finish, job.cached)
        job.handle.completion = job.complete(finish, error, metrics)
        self._done += 1
        self._finished.append(job.handle)
        self._tell("finished", job.handle, move(job.handle, State.FINISHED))

    def _tell(self, kind: Kind, handle: Handle, before: State | None) -> None:
        if self._hooks:
            self._hooks.add(RequestEvent(kind, self._clock(), handle, before, handle.state), (handle,))
            self._hooks.tell(self._hook_failed)

    def _hook_failed(self, handle: Handle, message: str) -> None:
        completion = handle.completion
        if completion is None:
            self._finish(next(job for job in self._queue if job.handle is handle), "error", message)
        elif completion.finish != "error":
            handle.completion = replace(completion, finish="error", stop_reason=None, error=message)
            self._recorder.refinished(completion.finish, "error")
