"""A rank's share of a decoder by the native kernels: what lies between two sums over ranks is one call.

Every output is computed by itself, and the residual stream is float32 on every rank, so that any number of ranks has
the same bits. Experts, and queries that are normalised together with those of other ranks, are not computed here.
"""

from collections.abc import Sequence
from ctypes import byref
from dataclasses import dataclass

import torch

from lampc.backend.models.decoder_config import DecoderConfig
from lampc.backend.models.layers import Attend
from lampc.backend.native.decoder import GATES, CLayer, CPass, CShape, in_turns
from lampc.backend.native.linear import Memory, Packed, team
from lampc.backend.native.shared_library import POINTER, SIZE, Library
from lampc.backend.parallel.linear import Column, Piece, Row
from lampc.backend.parallel.outline import Outline, Pass

Tables = tuple[torch.Tensor, torch.Tensor]


def usable(config: DecoderConfig) -> bool:
    """Whether all of a model can be computed so."""
    return not config.qk_joint and not config.mixtures


@dataclass(frozen=True, slots=True)
class FusedLayer:
    """`gate` and `up` are pieces of their projections; the rest as in `lampc.backend.parallel.decoder`."""

    norm: torch.Tensor | None
    qkv: Column
    qk_norm: torch.Tensor | None
    o: Row
    after_norm: torch.Tensor | None
    mlp_norm: torch.Tensor | None
    gate: Sequence[Piece]
    up: Sequence[Piece]
    down: Row
    after_mlp_norm: torch.Tensor | None


class FusedDecoder:
    """Layers, final norm and head; embeddings are looked up by the caller. `tables` are cos and sin of each layer."""

    def __init__(
        self,
        config: DecoderConfig,
        outline: Outline,
        layers: Sequence[FusedLayer],
        norm: torch.Tensor,
        head: Column,
        tables: Sequence[Tables],
        library: Library,
        memory: Memory,
        int8: bool,
    ) -> None:
        c, self.dtype = config, head.packed.dtype
        self.config, self.outline, self.layers, self.head = c, outline, layers, head.packed
        self._kept: list[object] = []  # what C's structures point to
        self.inner = sum(len(weight) for weight, _ in layers[0].gate)
        heads = outline.heads + 2 * outline.kv_heads
        self.work = c.hidden * ((heads + outline.heads) * c.head_dim + 3 * self.inner)
        self.shape = CShape(
            *(c.hidden, outline.heads, outline.kv_heads, c.head_dim, c.norm_eps, self.dtype is torch.bfloat16),
            torch.tensor(c.embed_scale).to(self.dtype).item(),
            *(c.logit_cap or 0.0, c.activation == "gelu_tanh", False),
        )
        self.norm = self._vector(norm)
        self.tables = [(self._vector(cos), self._vector(sin)) for cos, sin in tables]
        self.c_layers = [self._layer(layer, memory, int8) for layer in layers]
        at = (POINTER, POINTER, POINTER)
        self.queries = library.function("decoder_queries", *at)
        self.gates = library.function("decoder_gates", *at, SIZE)
        self.take = library.function("decoder_take", *at)
        self.logits = library.function("decoder_logits", *at, POINTER, POINTER, SIZE, POINTER, POINTER)
        self._buffers: list[_Buffers] = []

    def _vector(self, x: torch.Tensor | None) -> int | None:
        if x is None:
            return None
        self._kept.append(wide := x.float().contiguous())
        return wide.data_ptr()

    def _layer(self, layer: FusedLayer, memory: Memory, int8: bool) -> CLayer:
        pieces = [*layer.gate, *layer.up]
        weight, biases = torch.cat([w for w, _ in pieces]), [b for _, b in pieces if b is not None]
        bias = in_turns(torch.cat(biases).unsqueeze(1)).squeeze(1) if biases else None
        self._kept.append(gate_up := Packed(in_turns(weight), bias, memory, int8))
        return CLayer(
            norm=self._vector(layer.norm),
            qkv=layer.qkv.packed.c,
            qk_norm=self._vector(layer.qk_norm),
            mlp_norm=self._vector(layer.mlp_norm),
            gate_up=gate_up.c,
            after_norm=self._vector(layer.after_norm),
            after_mlp_norm=self._vector(layer.after_mlp_norm),
        )

    def forward(self, x: torch.Tensor, positions: torch.Tensor, attend: Attend, rows: torch.Tensor) -> Pass:
        """From embeddings x [M, hidden]; see `lampc.backend.parallel.outline.Sharded`. Passes may take turns."""
        room = self._buffers.pop() if self._buffers else _Buffers(self)
        room.start(x, positions)
        for i, layer in enumerate(self.layers):
            q, k, v = room.queries(i)
            attended = layer.o.start(attend(i, q, k, v).reshape(len(x), -1), wide=True)
            yield
            inner = room.gates(i, attended())
            fed = layer.down.start(inner, wide=True)
            yield
            room.take(i, fed())
        logits = room.logits(rows)
        self._buffers.append(room)
        return logits


class _Buffers:
    """The memory of one pass at a time."""

    def __init__(self, of: FusedDecoder) -> None:
        self._of = of
        c, o = of.config, of.outline
        self._stride = of.inner + -of.inner % GATES
        self._widths = {
            "x": c.hidden,
            "normed": c.hidden + c.hidden % 2,
            "wide": (o.heads + 2 * o.kv_heads) * c.head_dim,
            "q": o.heads * c.head_dim,
            "k": o.kv_heads * c.head_dim,
            "v": o.kv_heads * c.head_dim,
            "inner": self._stride,
        }
        self._pass = CPass()
        self._buffers: dict[str, torch.Tensor] = {}

    def start(self, x: torch.Tensor, positions: torch.Tensor) -> None:
        """Begins a pass."""
        of, rows = self._of, len(x)
        if not self._buffers or rows > len(self._buffers["x"]):
            for name, width in self._widths.items():  # padding is never written, and stays zero
                dtype = torch.float32 if name in ("x", "wide") else of.dtype
                self._buffers[name] = torch.zeros(-(-rows // 64) * 64, width, dtype=dtype)
                setattr(self._pass, name, self._buffers[name].data_ptr())
        self._rows, self._positions = rows, positions.contiguous()
        self._pass.rows, self._pass.threads = rows, team(rows * of.work)
        self._pass.positions = self._positions.data_ptr()
        torch.mul(x.float(), of.shape.embed_scale, out=self._buffers["x"][:rows])

    def queries(self, layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q [M, heads, D], k and v [M, kv_heads, D]."""
        of = self._of
        self._pass.cos, self._pass.sin = of.tables[layer]
        of.queries(byref(of.shape), byref(of.c_layers[layer]), byref(self._pass))
        q, k, v = (self._buffers[name][: self._rows].view(self._rows, -1, of.config.head_dim) for name in "qkv")
        return q, k, v

    def gates(self, layer: int, attended: torch.Tensor) -> torch.Tensor:
        """The inner values [M, this rank's] after what attention gave, float32 [M, hidden], was added to x."""
        of = self._of
        self._add(attended)
        of.gates(byref(of.shape), byref(of.c_layers[layer]), byref(self._pass), self._stride)
        return self._buffers["inner"][: self._rows, : of.inner]

    def take(self, layer: int, fed: torch.Tensor) -> None:
        """Adds what the feed-forward part gave, float32 [M, hidden], to x."""
        self._add(fed)
        self._of.take(byref(self._of.shape), byref(self._of.c_layers[layer]), byref(self._pass))

    def _add(self, more: torch.Tensor) -> None:
        self._more = more.contiguous()
        self._pass.more = self._more.data_ptr()

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [n, width] of rows [n]."""
        of, count = self._of, len(rows)
        rows = rows.contiguous()
        out = torch.empty(count, of.head.shape[0], dtype=torch.float32)
        last = torch.zeros(count, self._widths["normed"], dtype=of.dtype)
        where = byref(of.head.c), rows.data_ptr(), count, last.data_ptr(), out.data_ptr()
        of.logits(byref(of.shape), byref(self._pass), of.norm, *where)
        return out
