"""One rank's share of an engine: its weights, its K/V, and the steps that it computes together with the others."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from lampc.backend.attention import make_attention
from lampc.backend.errors import BackendError
from lampc.backend.kernel_choice import choose_kernels
from lampc.backend.kv_cache import KVCache
from lampc.backend.models.fields import Fields
from lampc.backend.models.registry import resolve
from lampc.backend.models.rows import Rows
from lampc.backend.models.weights import Weights
from lampc.backend.native.drawing import kernel_of
from lampc.backend.parallel.group import Group
from lampc.backend.parallel.halves import halved, together
from lampc.backend.parallel.join import own_device
from lampc.backend.parallel.outline import Pass, recipe
from lampc.backend.parallel.settings import DTYPES, Settings
from lampc.backend.parallel.shards import Shards
from lampc.backend.parallel.source import Source
from lampc.backend.parallel.step import Step
from lampc.backend.parallel.trace import Trace
from lampc.backend.reads import Read
from lampc.backend.tokenizer import read_json
from lampc.backend.transfer import Transfer, copy_seconds, make_transfer


class Share:
    """Alone until it is told to `connect`. `bytes_read` is of tensors."""

    def __init__(self, settings: Settings, rank: int) -> None:
        """Reads this rank's weights. Raises what `load_engine` raises."""
        folder, device, dtype = Path(settings.folder), own_device(settings, rank), DTYPES[settings.dtype]
        path = folder / "config.json"
        config = read_json(path)
        kernels = choose_kernels(settings.backend, device, dtype)
        if kernels.digest != settings.kernels:
            what = f"rank {rank} has other {kernels.backend} kernels than the first rank"
            raise BackendError(f"{what}; install, or build, the same for all")
        native, triton = kernels.native, kernels.triton
        self.kernel = kernel_of(native)
        self._rows = Rows(settings.exact, native=native, int8=settings.int8_weights, triton=triton)
        self._device = device
        self._halve_from = max(2, settings.halve_from)
        shards = Shards(rank, settings.ranks)
        self.group = Group()
        self.trace = Trace(rank) if settings.trace else None
        self._folder = Path(settings.trace)
        weights = Weights(folder)
        made = recipe(resolve(config, path), Fields(config, path), settings.context_length)
        source = Source(weights, shards, lambda x: self.group.begin(x), self._rows, device, dtype)
        with torch.inference_mode():
            self._model = made.load(source)
        weights.check_all_read()
        weights.close()
        self.bytes_read = weights.bytes_read
        o = self.outline = self._model.outline
        self._widths = [Shards(i, settings.ranks).width(o.vocab_size) for i in range(settings.ranks)]
        cache = KVCache(settings.slots, o.layers, o.kv_heads, o.head_dim, device, dtype, settings.int8)
        more = settings.exact, native, triton, o.scores
        self._attention = [make_attention(cache, o.heads, o.windows, *more) for _ in range(2)]
        self._cache = cache
        self._transfer: Transfer | None = None
        if settings.host_blocks:
            self._transfer = make_transfer(cache, settings.host_blocks, settings.block_size, triton)

    def copy_seconds(self, settings: Settings) -> float:
        """See `lampc.backend.transfer`; there must be a second tier."""
        assert self._transfer is not None
        return copy_seconds(self._transfer, self._cache, settings.host_blocks, settings.block_size)

    def padded(self, rows: int) -> int:
        """How many rows a step of `rows` rows is computed with."""
        return self._rows.padded(rows)

    def connect(self, group: Group) -> None:
        """Takes the group that connects the ranks."""
        self.group = group
        group.trace = self.trace

    def run(self, step: Step) -> torch.Tensor | None:
        """Stores K/V, and on the first rank gives logits [wanted, vocab], float32. Raises RankFailed."""
        with self._step(step):
            return self.group.to_first(self._logits(step), self._widths)

    def likeliest(self, step: Step) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Stores K/V, and on the first rank gives the likeliest token of each wanted row, int64 [wanted], and its
        logit, float32 [wanted]. Raises RankFailed."""
        with self._step(step):
            return self.group.likeliest(self._logits(step), self._widths)

    def end(self) -> None:
        """There are no more steps: writes the trace, if there is one."""
        if self.trace is not None:
            self.trace.write(self._folder)

    @contextmanager
    def _step(self, step: Step) -> Iterator[None]:
        if self._transfer is not None:
            self._transfer.run(step.copies)
        with torch.inference_mode(), nullcontext() if self.trace is None else self.trace.step(len(step.ids)):
            yield

    def _logits(self, step: Step) -> torch.Tensor:
        """[wanted, width] of this rank's tokens."""
        parts = self._halved(step)
        if parts is None:
            return together([self.begin(step)], self.trace)[0]
        halves, order = parts
        found = together([self.begin(half, place) for place, half in enumerate(halves)], self.trace)
        return torch.cat(found)[order.to(self._device)]

    def _halved(self, step: Step) -> tuple[list[Step], torch.Tensor] | None:
        return halved(step, self._halve_from, self._rows.padded) if self.group.ranks > 1 else None

    def reads(self, step: Step) -> list[Read]:
        """What this rank reads in a step, halved or not; see `lampc.backend.reads`."""
        parts = self._halved(step)
        whole = {id(span.slots): i for i, span in enumerate(step.spans)}
        found = []
        for attention, part in zip(self._attention, [step] if parts is None else parts[0]):
            for one in attention.reads(part.spans):
                members = tuple((whole[id(part.spans[i].slots)], start, count) for i, start, count in one.members)
                found.append(replace(one, members=members))
        return found

    def begin(self, step: Step, place: int = 0) -> Pass:
        """A pass through the model; one with another `place` may go on in turns with it."""
        attend = self._attention[place].step(step.spans, step.slots)
        ids, positions, wanted = (torch.from_numpy(x).to(self._device) for x in (step.ids, step.positions, step.wanted))
        return self._model.forward(ids, positions, attend, wanted)
