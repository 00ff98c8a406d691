"""Runs a plan through a model: rows in, K/V into the cache, logits out, tokens drawn."""

import numpy as np
import torch

from lampc.backend.attention import make_attention
from lampc.backend.job import Drawn
from lampc.backend.kv_cache import KVCache
from lampc.backend.models.layers import Attend
from lampc.backend.models.registry import Greedy, Model
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
        self._greedy = model if isinstance(model, Greedy) else None
        self._inputs = _Inputs(0, device)
        self._rows = rows
        self._device = device
        cache = KVCache(slots, model.layers, model.kv_heads, model.head_dim, device, dtype, int8)
        self._attention = make_attention(cache, model.heads, model.windows, rows.exact, rows.native)

    @torch.inference_mode()
    def execute(self, plan: Plan) -> list[Drawn]:
        """One step."""
        if plan.plain and self._greedy is not None:
            ids, tops = self._greedy.likeliest(*self._prepare(plan))
            return drawn(ids.tolist(), tops.cpu().numpy())
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
        ids, positions, slots = inputs.ids, inputs.positions, inputs.slots
        row = len(decoding)
        ids[:row] = [job.ids[-1] for job in decoding]
        positions[:row] = [len(job.ids) - 1 for job in decoding]
        slots[:row] = plan.slots
        slots[row:count] = -1
        spans = np.ones((row + len(others), 4), np.int64)
        spans[:row, 0] = np.arange(row)
        spans[:row, 1] = positions[:row]
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
        attend = self._attention.step(Spans(spans, paths, plan.rows, not others), slots[:count])
        wanted = [*range(len(decoding)), *[r for want in plan.other_wants for r in want.rows]]
        some = torch.tensor(wanted, dtype=torch.int64, device=self._device)
        return *inputs.first(count), attend, some


class _Inputs:
    """Ids, positions and slots of up to `size` rows, int64: the same memory step after step."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._device = device
        self._tensors = [torch.zeros(size, dtype=torch.int64) for _ in range(3)]
        self.ids, self.positions, self.slots = (tensor.numpy() for tensor in self._tensors)

    def first(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and positions of the first `count` rows, on the device."""
        ids, positions, _ = self._tensors
        return ids[:count].to(self._device), positions[:count].to(self._device)
