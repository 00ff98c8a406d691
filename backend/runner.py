"""Runs a plan through a model: rows in, K/V into the cache, logits out, tokens drawn."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.attention import make_attention
from lampc.backend.job import Drawn
from lampc.backend.kv_cache import KVCache
from lampc.backend.models.layers import Attend
from lampc.backend.models.registry import Model, greedy
from lampc.backend.models.rows import Rows
from lampc.backend.plan import Plan
from lampc.backend.sampler import drawn, resolve
from lampc.backend.tiles import Spans


class TorchRunner:
    """The `Runner` of the paged engine. `slots` is the pool's size in tokens."""

    def __init__(
        self, model: Model, rows: Rows, slots: int, device: torch.device, dtype: torch.dtype, int8: bool = False
    ) -> None:
        self._model = model
        self._greedy = greedy(model)
        self._inputs = _Inputs(0, device)
        self._rows = rows
        self._device = device
        cache = KVCache(slots, model.layers, model.kv_heads, model.head_dim, device, dtype, int8)
        self._attention = make_attention(cache, model.heads, model.windows, rows.exact, rows.native, rows.triton)

    @torch.inference_mode()
    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        """One step."""
        if plan.plain and self._greedy is not None:
            ids, tops = self._greedy.likeliest(*self._prepare(plan))
            return drawn(ids.tolist(), tops.tolist())
        return resolve(plan.wants, self.logits(plan).cpu().numpy())

    @torch.inference_mode()
    def logits(self, plan: Plan) -> torch.Tensor:
        """float32 [n, vocab]: the rows that `plan.wants` name, in their order."""
        return self._model.forward(*self._prepare(plan))

    def _prepare(self, plan: Plan) -> tuple[torch.Tensor, torch.Tensor, Attend, torch.Tensor]:
        """Ids, positions, attention and the rows whose logits are wanted."""
        count = self._rows.padded(plan.rows)
        if count > len(self._inputs.ids):
            self._inputs = _Inputs(2 * count, self._device)
        inputs, decoding, others = self._inputs, plan.decoding, plan.other_chunks
        ids, positions, slots, wanted = inputs.ids, inputs.positions, inputs.slots, inputs.wanted
        row = len(decoding)
        ids[:row] = [job.ids[-1] for job in decoding]
        positions[:row] = [len(job.ids) - 1 for job in decoding]
        slots[:row] = plan.slots
        slots[row:count] = -1
        wanted[:row] = inputs.range[:row]
        spans = inputs.spans[: row + len(others)]
        spans[:row, 0] = inputs.range[:row]
        spans[:row, 1] = positions[:row]
        spans[:row, 2] = 1
        spans[:row, 3] = [job.slots_at for job in decoding]
        for i, chunk in enumerate(others, row):
            job, start, end = chunk.job, chunk.start, chunk.end
            size = end - start
            spans[i] = row, start, size, job.slots_at
            ids[row : row + size] = job.ids[start:end]
            positions[row : row + size] = np.arange(start, end)
            first = max(start, chunk.write_from)
            slots[row + first - start : row + size] = job.slots[first:end]
            row += size
        ids[row:count] = positions[row:count] = 0
        paths = [job.slots for job in decoding] + [chunk.job.slots for chunk in others]
        attend = self._attention.step(Spans(spans, paths, plan.rows), slots[:count])
        rows = len(decoding)
        if plan.other_wants:
            more = [r for want in plan.other_wants for r in want.rows]
            if rows + len(more) > len(wanted):  # several requests may want the same row
                wanted = inputs.want(rows + len(more))
            wanted[rows : rows + len(more)] = more
            rows += len(more)
        return *inputs.first(count), attend, inputs.rows(rows)


class _Inputs:
    """What a step of up to `size` rows is made of, int64: the same memory step after step.

    Ids, positions and slots [size], `spans` as in `Spans`, and the rows that are wanted.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self._device = device
        self._tensors = [torch.zeros(size, dtype=torch.int64) for _ in range(3)]
        self.ids, self.positions, self.slots = (tensor.numpy() for tensor in self._tensors)
        self.spans = np.zeros((size, 4), np.int64)
        self.range = np.arange(size)
        self.want(size)

    def want(self, count: int) -> NDArray[np.int64]:
        """Room for more wanted rows; those that were there are kept, as far as they are those of `range`."""
        self._wanted = torch.arange(count)
        self.wanted: NDArray[np.int64] = self._wanted.numpy()
        return self.wanted

    def first(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and positions of the first `count` rows, on the device."""
        ids, positions, _ = self._tensors
        return ids[:count].to(self._device), positions[:count].to(self._device)

    def rows(self, count: int) -> torch.Tensor:
        """The first `count` rows that are wanted, on the device."""
        return self._wanted[:count].to(self._device)
