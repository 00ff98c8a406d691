"""Runs a plan through a model: rows in, K/V into the cache, logits out, tokens drawn."""

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
        self._inputs = _Inputs(0, device)
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
        if count > len(self._inputs.ids):
            self._inputs = _Inputs(2 * count, self._device)
        inputs = self._inputs
        ids, positions, slots = inputs.ids, inputs.positions, inputs.slots
        slots[:count] = -1
        spans = []
        row = 0
        for chunk in plan.chunks:
            job, start, end = chunk.job, chunk.start, chunk.end
            size = end - start
            spans.append(Span(row, start, size, job.slots))
            if size == 1:  # nearly every chunk while requests decode
                ids[row] = job.ids[start]
                positions[row] = start
                if chunk.write_from <= start:
                    slots[row] = job.slots[start]
            else:
                ids[row : row + size] = job.ids[start:end]
                positions[row : row + size] = range(start, end)
                first = max(start, chunk.write_from)
                slots[row + first - start : row + size] = job.slots[first:end]
            row += size
        ids[row:count] = positions[row:count] = 0
        wanted = [r for want in plan.wants for r in want.rows]
        attend = self._attention.step(spans, slots[:count])
        some = torch.tensor(wanted, dtype=torch.int64, device=self._device)
        return self._model.forward(*inputs.first(count), attend, some)


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
