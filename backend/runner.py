"""Runs a plan through a model: rows in, K/V into the cache, logits out, tokens drawn."""

import numpy as np
import torch

from lampc.backend.attention import make_attention
from lampc.backend.job import Drawn
from lampc.backend.kv_cache import KVCache
from lampc.backend.models.registry import Model
from lampc.backend.models.rows import Rows
from lampc.backend.plan import Plan
from lampc.backend.sampler import resolve
from lampc.backend.tiles import Span


class TorchRunner:
    """The `Runner` of the paged engine. `slots` is the pool's size in tokens."""

    def __init__(
        self, model: Model, rows: Rows, slots: int, device: torch.device, dtype: torch.dtype, int8: bool = False
    ) -> None:
        self._model = model
        self._rows = rows
        self._device = device
        cache = KVCache(slots, model.layers, model.kv_heads, model.head_dim, device, dtype, int8)
        self._attention = make_attention(cache, model.heads, model.windows, rows.exact, rows.native)

    @torch.inference_mode()
    def execute(self, plan: Plan) -> list[Drawn]:
        """One step."""
        return resolve(plan.wants, self.logits(plan).cpu().numpy())

    @torch.inference_mode()
    def logits(self, plan: Plan) -> torch.Tensor:
        """float32 [n, vocab]: the rows that `plan.wants` name, in their order."""
        count = self._rows.padded(plan.rows)
        ids = np.zeros(count, np.int64)
        positions = np.zeros(count, np.int64)
        slots = np.full(count, -1, np.int64)
        spans = []
        row = 0
        for chunk in plan.chunks:
            job, start, end = chunk.job, chunk.start, chunk.end
            stop = row + end - start
            ids[row:stop] = job.ids[start:end]
            positions[row:stop] = np.arange(start, end)
            first = max(start, chunk.write_from)
            slots[row + first - start : stop] = job.slots[first:end]
            spans.append(Span(row, start, end - start, job.slots))
            row = stop
        wanted = np.array([r for want in plan.wants for r in want.rows], np.int64)
        return self._model.forward(
            torch.from_numpy(ids).to(self._device),
            torch.from_numpy(positions).to(self._device),
            self._attention.step(spans, slots),
            torch.from_numpy(wanted).to(self._device),
        )
