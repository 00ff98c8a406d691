"""The naive twin of the paged engine: one request at a time, everything recomputed for every token.

No blocks, no cache, no batching, no scheduler: it defines which tokens are right.
"""

from collections.abc import Callable
from itertools import count

import numpy as np
import torch

from lampc.backend.api import EngineInfo, EngineStats
from lampc.backend.core import Event
from lampc.backend.errors import BackendError
from lampc.backend.job import Ids, Job, check_request
from lampc.backend.lifecycle import move
from lampc.backend.models.registry import Model
from lampc.backend.models.rows import Rows
from lampc.backend.request import Finish, Handle, PrefixRef, Request, State
from lampc.backend.sampler import resolve
from lampc.backend.scheduler import Want
from lampc.backend.tiles import CHUNK, padded_rows, score_scale
from lampc.backend.tokenizer import TextTokenizer


def dense_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None = None) -> torch.Tensor:
    """Causal attention of one sequence: q [T, heads, D], k and v [T, kv_heads, D] -> [T, heads, D].

    Every query token by itself against one chunk of keys after the other; with a window it sees only the last
    `window` keys, itself included.
    """
    length, heads, dim = q.shape
    groups = k.shape[1]
    fold = heads // groups
    rows = padded_rows(1, fold)
    chunks = -(-length // CHUNK)
    queries = torch.zeros(length, groups, rows, dim)
    queries[:, :, :fold] = q.float().reshape(length, groups, fold, dim)
    keys = torch.zeros(chunks * CHUNK, groups, dim)
    values = torch.zeros(chunks * CHUNK, groups, dim)
    keys[:length], values[:length] = k.float(), v.float()
    out = torch.empty(length, groups, fold, dim)
    for i in range(length):
        scores = []
        first = 0 if window is None else max(0, i + 1 - window)
        start = first // CHUNK
        for at in range(start * CHUNK, i + 1, CHUNK):
            part = torch.bmm(queries[i], keys[at : at + CHUNK].transpose(0, 1).contiguous().transpose(1, 2))
            part *= score_scale(dim)
            part[:, :, max(0, i + 1 - at) :] = -torch.inf
            part[:, :, : max(0, first - at)] = -torch.inf
            scores.append(part)
        top = torch.stack([part.amax(-1, keepdim=True) for part in scores]).amax(0)
        total, mass = torch.zeros(groups, rows, dim), torch.zeros(groups, rows, 1)
        for number, part in enumerate(scores, start):
            weights = torch.exp2(part - top)
            chunk = values[number * CHUNK : (number + 1) * CHUNK].transpose(0, 1).contiguous()
            total = total + torch.bmm(weights, chunk)
            mass = mass + weights.sum(-1, keepdim=True)
        out[i] = (total / mass)[:, :fold]
    return out.reshape(length, heads, dim).to(q.dtype)


class NaiveEngine:
    """See `lampc.backend.api.TokenEngine`; `retain` holds nothing, since nothing is cached."""

    def __init__(
        self,
        model: Model,
        tokenizer: TextTokenizer,
        info: EngineInfo,
        rows: Rows,
        *,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._info = info
        self._rows = rows
        self._on_event = on_event
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

    def submit(self, request: Request, on_token: Callable[[Handle, int], None] | None = None) -> Handle:
        """Queues a request. Raises ContextTooLong, Unsupported or ValueError; the engine stays usable."""
        if self._closed:
            raise BackendError("this engine is closed; load another one")
        check_request(request, self._info)
        handle = Handle(self._ids.next(), request, on_token)
        self._queue.append(Job(handle, self._tokenizer, self._info))
        self._queue.sort(key=lambda job: job.order)
        self._requests += 1
        self._tell(handle)
        return handle

    def step(self) -> list[Handle]:
        """All tokens so far of the first request through the model; one token more."""
        if self._queue:
            job = self._queue[0]
            if job.handle.state is State.WAITING:
                move(job.handle, State.RUNNING)
                self._tell(job.handle)
                self._prompt += job.prompt_len
                job.pass_by(0, job.prompt_len)
            self._steps += 1
            try:
                self._advance(job)
            except Exception as error:
                self._finish(job, "error", f"{type(error).__name__}: {error}")
        finished, self._finished = self._finished, []
        return finished

    def _advance(self, job: Job) -> None:
        start = job.next_logits
        logits = self.logits(job.ids, list(range(start, len(job.ids))))
        self._forward += len(job.ids)
        drawn = resolve([Want(job, start, list(range(start, len(job.ids))))], logits.numpy())[0]
        job.record(drawn)
        if drawn.token is not None:
            self._generated += 1
            if job.output.push(drawn.token):
                job.ids.append(drawn.token)
                job.handle.push(drawn.token)
        if job.handle.done:
            return
        if job.request.score:
            self._finish(job, "stop")
        elif job.output.done:
            self._finish(job, "stop" if job.output.stopped else "length")

    @torch.inference_mode()
    def logits(self, ids: list[int], wanted: list[int]) -> torch.Tensor:
        """float32 [n, vocab] at the wanted positions of one sequence."""
        length = len(ids)
        padded = torch.zeros(self._rows.padded(length), dtype=torch.int64)
        positions = torch.zeros_like(padded)
        padded[:length] = torch.tensor(ids)
        positions[:length] = torch.arange(length)

        def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            out = torch.zeros_like(q)
            out[:length] = dense_attention(q[:length], k[:length], v[:length], self._model.windows[layer])
            return out

        return self._model.forward(padded, positions, attend, torch.from_numpy(np.array(wanted, np.int64)))

    def run(self) -> list[Handle]:
        """Steps until nothing is left to do; returns all that finished."""
        finished: list[Handle] = []
        while self._queue or self._finished:
            finished += self.step()
        return finished

    def abort(self, handle: Handle) -> None:
        """Ends a request at once with finish "abort"; does nothing if it is done."""
        for job in self._queue:
            if job.handle is handle:
                self._finish(job, "abort")
                return

    def retain(self, ids: tuple[int, ...], ttl: float | None = None) -> PrefixRef:
        """A reference that requests can grow from; nothing is kept."""
        ref = PrefixRef(next(self._refs), tuple(ids))
        self._held[ref.id] = ref
        return ref

    def release(self, ref: PrefixRef) -> None:
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
        job.handle.completion = job.complete(finish, error)
        move(job.handle, State.FINISHED)
        self._done += 1
        self._finished.append(job.handle)
        self._tell(job.handle)

    def _tell(self, handle: Handle) -> None:
        if self._on_event is not None:
            finish = handle.completion.finish if handle.completion is not None else None
            self._on_event({"type": "request", "id": handle.id, "state": handle.state.value, "finish": finish})
