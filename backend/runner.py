"""Runs a plan through a model: rows in, K/V into the cache, logits out, tokens drawn."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.attention import Attention, make_attention
from lampc.backend.constrained import Constrained
from lampc.backend.host_tier import HostTier
from lampc.backend.job import Drawn
from lampc.backend.kv_cache import KVCache
from lampc.backend.models.layers import Attend
from lampc.backend.models.registry import Greedy, Model, greedy
from lampc.backend.models.rows import Rows
from lampc.backend.native.drawing import kernel_of
from lampc.backend.plan import Pending, Plan, Want
from lampc.backend.proposals import drawn_bare
from lampc.backend.sampler import drawn, resolve
from lampc.backend.scores import scores_of
from lampc.backend.spans import Spans
from lampc.backend.speculation.verify import verify, verify_likeliest
from lampc.backend.staging import Arriving, gather, upload
from lampc.backend.swap_rule import SwapRule
from lampc.backend.transfer import Transfer, copy_seconds, make_transfer

if TYPE_CHECKING:
    from lampc.backend.kernels.graphs import DecodeGraphs, Forward
    from lampc.backend.models.lora import Adapters

Ids = Callable[[torch.Tensor], None]
Out = TypeVar("Out")


class TorchRunner:
    """The `Runner` of the paged engine. `slots` is the pool's size in tokens."""

    branches = True

    def __init__(
        self, model: Model, rows: Rows, slots: int, device: torch.device, dtype: torch.dtype, int8: bool = False
    ) -> None:
        self._model = model
        self._adapters: Adapters | None = getattr(model, "adapters", None)
        self._greedy = greedy(model)
        on_host = device.type == "cpu" and not rows.triton
        self._resolve = _resolver(rows)
        self._kernel = kernel_of(rows.native) if on_host else None
        self._constrained = None if self._kernel is None else Constrained(model, self._kernel)
        self._inference = torch.inference_mode()
        self._inputs = _Inputs(0, device)
        self._decoding = _Decoding(np.zeros((3, 0), np.int64), 0, 0, device)
        self._rows = rows
        self._device = device
        cache = KVCache(slots, model.layers, model.kv_heads, model.head_dim, device, dtype, int8)
        how = rows.exact, rows.native, rows.triton, scores_of(model, model.head_dim)
        self._attention = make_attention(cache, model.heads, model.windows, *how)
        self.graphs: DecodeGraphs | None = None
        if rows.triton and device.type == "cuda":
            self.graphs = record_steps(self._attention)
        self._cache = cache
        self._transfer: Transfer | None = None

    @property
    def proposes(self) -> bool:
        """Whether tokens of `bare` plans are drawn before grammars are asked."""
        return self._kernel is not None

    def add_host_tier(self, total: int, size: int) -> HostTier:
        """A second tier of `total` blocks of `size` tokens; nothing may be in the cache yet."""
        self._transfer = make_transfer(self._cache, total, size, self._rows.triton)
        return HostTier(total, size, SwapRule(copy_seconds(self._transfer, self._cache, total, size)))

    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        """One step."""
        if self._transfer is not None and plan.copies is not None:
            self._transfer.run(plan.copies)
        if plan.greedy and not plan.plain and self._constrained is not None:
            with self._inference:
                return self._constrained.tokens(plan, self._prepare(plan, None))
        if self._draws_bare(plan):
            return self._bare(plan, None)
        if not plan.plain or self._greedy is None:
            logits = self.logits(plan)
            if not plan.drafts:
                return self._resolve(plan.wants, logits).get()
            at = len(logits) - sum(len(draft.tokens) for draft in plan.drafts)
            firsts = self._resolve(plan.wants, logits[:at]).get()
            verify(plan, logits[at:], firsts, lambda wants, some: self._resolve(wants, some).get())
            return firsts
        ids, tops = self._likeliest(self._greedy, plan, None)
        tokens = drawn(ids.tolist(), tops.tolist())
        return verify_likeliest(plan, tokens) if plan.drafts else tokens

    def launch(self, plan: Plan, before: Pending | None) -> "Launched":
        """See `lampc.backend.plan.LaunchingRunner`. On the CPU all is computed when this returns."""
        ids = None
        if before is not None:
            assert isinstance(before, Launched)
            ids = before.ids_of(plan)
        if self._transfer is not None and plan.copies is not None:
            self._transfer.run(plan.copies)
        if plan.greedy and not plan.plain and self._constrained is not None:
            with self._inference:
                return Launched(plan, HostDrawn(self._constrained.tokens(plan, self._prepare(plan, ids)), self._device))
        if self._draws_bare(plan):
            return Launched(plan, HostDrawn(self._bare(plan, ids), self._device))
        if not plan.plain or self._greedy is None:
            with self._inference:
                return Launched(plan, self._resolve(plan.wants, self.logits(plan, ids)))
        tokens, tops = self._likeliest(self._greedy, plan, ids)
        return Launched(plan, Likeliest(tokens, tops))

    def _draws_bare(self, plan: Plan) -> bool:
        return plan.bare and not plan.plain and not plan.drafts and self.proposes

    def _bare(self, plan: Plan, ids: Ids | None) -> list[int]:
        """A token for each want of a `bare` plan."""
        assert self._kernel is not None
        return drawn_bare(self._kernel, plan, self.logits(plan, ids).numpy())

    def _likeliest(self, model: Greedy, plan: Plan, ids: Ids | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each want the likeliest token, and its logit."""
        with self._inference:
            found = self._recorded("likeliest", model.likeliest, plan, ids)
            if found is None:
                return model.likeliest(*self._prepare(plan, ids))
            tokens, tops = found
            rows = len(plan.decoding)
            return tokens[:rows], tops[:rows]

    @torch.inference_mode()
    def logits(self, plan: Plan, ids: Ids | None = None) -> torch.Tensor:
        """float32 [n, vocab]: the rows that `plan.wants` name, in their order, then those of drafts; `ids` puts in
        those in flight."""
        found = self._recorded("forward", self._model.forward, plan, ids)
        return self._model.forward(*self._prepare(plan, ids)) if found is None else found[: len(plan.decoding)]

    def _recorded(self, name: str, forward: "Forward[Out]", plan: Plan, ids: Ids | None) -> "Out | None":
        """What a step of nothing but decoding gives, and rows of padding, if steps are recorded here."""
        if self.graphs is None or plan.other_wants or plan.other_chunks:
            return None
        return self.graphs.run(name, forward, plan.lanes, ids)

    def _prepare(self, plan: Plan, known: Ids | None) -> tuple[torch.Tensor, torch.Tensor, Attend, torch.Tensor]:
        """Ids, positions, attention and the rows whose logits are wanted; `known` puts in ids that the host lacks."""
        inputs = self._inputs_of(plan)
        if known is not None:
            known(inputs[0])
        return inputs

    def _inputs_of(self, plan: Plan) -> tuple[torch.Tensor, torch.Tensor, Attend, torch.Tensor]:
        if self._adapters:
            self._adapters.use(_places(plan))
        if plan.other_wants or plan.other_chunks:
            return self._mixed(plan)
        lanes, rows = plan.lanes, len(plan.decoding)
        if lanes.memory is not self._decoding.memory or rows != self._decoding.rows:
            count = self._rows.padded(rows)
            lanes.make_room(count)
            self._decoding = _Decoding(lanes.memory, count, rows, self._device)
        ids, positions, slots, wanted = self._decoding.inputs()
        return ids, positions, self._attention.step(lanes.spans, slots), wanted

    def _mixed(self, plan: Plan) -> tuple[torch.Tensor, torch.Tensor, Attend, torch.Tensor]:
        count = self._rows.padded(plan.rows)
        if count > len(self._inputs.ids):
            self._inputs = _Inputs(2 * count, self._device)
        inputs, lanes, others = self._inputs, plan.lanes, plan.other_chunks
        ids, positions, slots, wanted = inputs.ids, inputs.positions, inputs.slots, inputs.wanted
        rows = row = len(plan.decoding)
        ids[:row], positions[:row], slots[:row] = lanes.memory[:, :row]
        slots[row:count] = -1
        wanted[:row] = inputs.range[:row]
        spans = inputs.spans[: row + len(others)]
        spans[:row] = lanes.spans.table
        for i, chunk in enumerate(others, row):
            job, start, end = chunk.job, chunk.start, chunk.end
            size = end - start
            spans[i] = row, start, size, job.slots_at
            ids[row : row + size] = chunk.ids
            positions[row : row + size] = np.arange(start, end)
            first = max(start, chunk.write_from)
            slots[row + first - start : row + size] = job.slots[first:end]
            row += size
        ids[row:count] = positions[row:count] = 0
        paths = [*lanes.spans.slots, *(chunk.job.slots for chunk in others)]
        attend = self._attention.step(Spans(spans, paths, plan.rows), slots[:count])
        more = [r for want in plan.other_wants for r in want.rows]
        for draft in plan.drafts:
            more += range(draft.row, draft.row + len(draft.tokens))
        if rows + len(more) > len(wanted):  # several requests may want the same row
            wanted = inputs.want(rows + len(more))
        wanted[rows : rows + len(more)] = more
        return *inputs.first(count), attend, inputs.rows(rows + len(more))


def _places(plan: Plan) -> dict[str, list[int]]:
    """The rows of a step by the adapters of their requests."""
    found: dict[str, list[int]] = {}
    row = len(plan.decoding)
    for i, job in enumerate(plan.decoding):
        if job.request.adapter is not None:
            found.setdefault(job.request.adapter, []).append(i)
    for chunk in plan.other_chunks:
        size = chunk.end - chunk.start
        if chunk.job.request.adapter is not None:
            found.setdefault(chunk.job.request.adapter, []).extend(range(row, row + size))
        row += size
    return found


class Resolved(Protocol):
    """Tokens that were drawn, see `lampc.backend.kernels.drawing.Drawing`."""

    @property
    def tokens(self) -> torch.Tensor:
        """On the device."""
        ...

    @property
    def places(self) -> NDArray[np.int64] | None:
        """Where the token of each want is; None: all want one, in their order."""
        ...

    def get(self) -> Sequence[Drawn | int]:
        """Waits for them."""
        ...


def _resolver(rows: Rows) -> Callable[[Sequence[Want], torch.Tensor], Resolved]:
    """What draws tokens from logits: on the device with Triton's kernels, else on the host."""
    if rows.triton:
        from lampc.backend.kernels.drawing import DeviceSampler  # nobody else pays for triton

        return DeviceSampler().resolve
    kernel = kernel_of(rows.native)
    return lambda wants, logits: HostDrawn(resolve(wants, logits.cpu().numpy(), kernel), logits.device)


class HostDrawn:
    """Tokens that were drawn on the host; 0 where none was."""

    def __init__(self, found: Sequence[Drawn | int], device: torch.device) -> None:
        self.places: NDArray[np.int64] | None = None
        self._found, self._device = found, device

    @property
    def tokens(self) -> torch.Tensor:
        """int64 [wants], on the device."""
        found = [one if isinstance(one, int) else one.token or 0 for one in self._found]
        return torch.tensor(found, device=self._device)

    def get(self) -> Sequence[Drawn | int]:
        """They are here."""
        return self._found


class Likeliest:
    """Tokens and their logits, on their way to the host."""

    def __init__(self, tokens: torch.Tensor, tops: torch.Tensor) -> None:
        self.places: NDArray[np.int64] | None = None
        self.tokens = tokens
        self._arriving = Arriving(tokens, tops)

    def get(self) -> list[int]:
        """Waits for them. Raises BackendError if a logit is not finite."""
        tokens, tops = self._arriving.get()
        return drawn(tokens.tolist(), tops.tolist())


class Told:
    """Tokens that somebody else has chosen, of all wants; 0 where he has none."""

    def __init__(self, tokens: Sequence[int | None], device: torch.device) -> None:
        self.places: NDArray[np.int64] | None = None
        self._found, self._device = [token or 0 for token in tokens], device

    @property
    def tokens(self) -> torch.Tensor:
        """int64 [wants], on the device."""
        return upload(np.array(self._found, np.int64), self._device)

    def get(self) -> Sequence[int]:
        """They are here."""
        return self._found


class Launched:
    """See `lampc.backend.plan.Pending`."""

    __slots__ = ("_resolved", "drawn", "plan")

    def __init__(self, plan: Plan, resolved: Resolved) -> None:
        self.plan = plan
        self.drawn = resolved.get
        self._resolved = resolved

    def replace(self, tokens: Sequence[int | None]) -> None:
        """The step after this one goes on from these tokens; what was drawn here is told to the host as ever."""
        self._resolved = Told(tokens, self._resolved.tokens.device)

    def ids_of(self, plan: Plan) -> Ids | None:
        """What puts the tokens drawn here into the ids of the plan after this one; None if that needs none of them."""
        sources, tokens, places = plan.sources(self.plan), self._resolved.tokens, self._resolved.places
        if places is not None and len(places):
            sources = np.where(sources < 0, -1, places[sources])
        return (lambda ids: gather(ids, sources, tokens)) if (sources >= 0).any() else None


def record_steps(attention: Attention) -> "DecodeGraphs":
    """See `lampc.backend.kernels.graphs`."""
    from lampc.backend.kernels.graphs import DecodeGraphs  # nobody else pays for triton
    from lampc.backend.kernels.paged import TritonAttention

    assert isinstance(attention, TritonAttention)
    return DecodeGraphs(attention)


class _Decoding:
    """The inputs of steps in which `rows` requests decode and nothing else happens: the lanes' own memory."""

    def __init__(self, memory: NDArray[np.int64], count: int, rows: int, device: torch.device) -> None:
        self.memory = memory
        self.rows = rows
        self._host = torch.from_numpy(memory[:2, :count])
        self._slots = memory[2, :count]
        self._wanted = torch.arange(rows, device=device)
        self._device = device
        self._here = tuple(self._host) if device.type == "cpu" else None

    def inputs(self) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.int64], torch.Tensor]:
        """Ids, positions, slots to store to (-1: none), and the rows that are wanted."""
        ids, positions = self._here or upload(self._host.numpy(), self._device)
        return ids, positions, self._slots, self._wanted


class _Inputs:
    """What a step of up to `size` rows is made of, int64: the same memory step after step.

    Ids, positions and slots [size], `spans` as in `Spans`, and the rows that are wanted.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self._device = device
        self.ids, self.positions, self.slots = (np.zeros(size, np.int64) for _ in range(3))
        self.spans = np.zeros((size, 4), np.int64)
        self.range = np.arange(size)
        self.want(size)

    def want(self, count: int) -> NDArray[np.int64]:
        """Room for more wanted rows; those that were there are kept, as far as they are those of `range`."""
        self.wanted = np.arange(count)
        return self.wanted

    def first(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and positions of the first `count` rows, on the device."""
        return upload(self.ids[:count], self._device), upload(self.positions[:count], self._device)

    def rows(self, count: int) -> torch.Tensor:
        """The first `count` rows that are wanted, on the device."""
        return upload(self.wanted[:count], self._device)
