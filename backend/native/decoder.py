"""A decoder's layers by the native kernels, with attention of the caller's. `DecoderWeights` says what they compute."""

import ctypes
from ctypes import byref
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from lampc.backend.models.experts import ExpertWeights, MlpWeights
from lampc.backend.models.layers import Attend
from lampc.backend.native.attending import NativeAttend
from lampc.backend.native.linear import CMatrix, Memory, Packed, team
from lampc.backend.native.shared_library import FLOAT, INT, POINTER, SIZE, Library

if TYPE_CHECKING:
    from lampc.backend.models.decoder_config import DecoderConfig
    from lampc.backend.models.decoder_weights import DecoderWeights, LayerWeights
    from lampc.backend.models.experts import Mixture

_BEST = 32  # numbers of 4 bytes in `Best` of `decoder.cpp`
_TYPES = dict.fromkeys(("x", "wide", "more", "scores", "weights"), torch.float32)
_TYPES |= dict.fromkeys(("experts", "order"), torch.int32)
GATES = 32  # outputs of gate that stand together, and then as many of up


class CLayer(ctypes.Structure):
    """`Layer` of `decoder.cpp`, and so on."""

    _fields_ = (
        ("norm", POINTER),
        ("qkv", CMatrix),
        ("qk_norm", POINTER),
        ("o", CMatrix),
        ("mlp_norm", POINTER),
        ("gate_up", CMatrix),
        ("down", CMatrix),
        ("experts", POINTER),
        ("after_norm", POINTER),
        ("after_mlp_norm", POINTER),
    )


class _CExperts(ctypes.Structure):
    _fields_ = (
        *((name, SIZE) for name in ("count", "chosen", "normalised")),
        ("router", CMatrix),
        ("gate_up", ctypes.POINTER(CMatrix)),
        ("down", ctypes.POINTER(CMatrix)),
    )


_PAIRS = ("scores", "experts", "weights", "order", "starts", "gathered")


class _CPairs(ctypes.Structure):
    _fields_ = tuple((name, POINTER) for name in _PAIRS)


class CShape(ctypes.Structure):
    _fields_ = (
        *((name, SIZE) for name in ("hidden", "heads", "kv_heads", "head_dim")),
        ("eps", FLOAT),
        ("half", INT),
        ("embed_scale", FLOAT),
        ("logit_cap", FLOAT),
        ("gelu", INT),
        ("qk_joint", INT),
    )


class CPass(ctypes.Structure):
    _fields_ = (
        ("rows", SIZE),
        ("threads", INT),
        *((name, POINTER) for name in ("x", "normed", "wide", "q", "k", "v", "inner", "cos", "sin", "positions")),
        ("pairs", _CPairs),
        ("more", POINTER),
    )


class NativeLayers:
    """See `lampc.backend.models.decoder.Layers`. One pass at a time; what `queries` gives, the next call overwrites."""

    def __init__(
        self,
        config: "DecoderConfig",
        weights: "DecoderWeights",
        library: Library,
        memory: Memory,
        int8: bool = False,
    ) -> None:
        c = config
        self._memory = memory
        self._int8 = int8
        self._dtype = weights.embed.dtype
        self._kept: list[object] = []  # what C's structures point to
        self._qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None  # of the pass, once asked for
        self._embed = weights.embed
        self._shape = CShape(
            *(c.hidden, c.heads, c.kv_heads, c.head_dim, c.norm_eps, self._dtype is torch.bfloat16),
            torch.tensor(c.embed_scale).to(self._dtype).item(),
            *(c.logit_cap or 0.0, c.activation == "gelu_tanh", c.qk_joint),
        )
        self._layers = [self._layer(layer) for layer in weights.layers]
        self._norm = self._vector(weights.norm)
        self._head = Packed(*weights.head, memory, int8)
        self._pass = CPass()
        tables = {False: (self._vector(weights.cos), self._vector(weights.sin))}
        if weights.local is not None:
            tables[True] = self._vector(weights.local[0]), self._vector(weights.local[1])
        self._tables = [tables[c.is_local(i)] for i in range(c.layers)]
        self._widths = {
            "x": c.hidden,
            "normed": c.hidden + c.hidden % 2,
            "wide": (c.heads + 2 * c.kv_heads) * c.head_dim,
            "q": c.heads * c.head_dim,
            "k": c.kv_heads * c.head_dim,
            "v": c.kv_heads * c.head_dim,
            "inner": c.intermediate + -c.intermediate % GATES,
        }
        if c.norms.after_attention or c.norms.after_feed:
            self._widths["more"] = c.hidden
        mixtures = [found for i in range(c.layers) if (found := c.mixture(i)) is not None]
        self._mixture = mixtures[0] if mixtures else None  # as large as any
        if self._mixture is not None:
            self._use_experts(self._mixture, c.hidden)
        self._heads = (c.heads, c.kv_heads, c.head_dim)
        attention = (2 * c.heads + 2 * c.kv_heads) * c.head_dim
        inner = c.intermediate if self._mixture is None else self._mixture.chosen * self._mixture.intermediate
        self._work = c.hidden * (attention + 3 * inner)  # multiplications of a row in a layer
        self._buffers: dict[str, torch.Tensor] = {}
        self._rows = 0  # that they have room for
        self._last = torch.empty(0)
        self._best = torch.empty(0, dtype=torch.int32)
        self._room = self._written = torch.empty(0, dtype=torch.float32)
        at = (POINTER, POINTER, POINTER)
        self._c_embed = library.function("decoder_embed", *at, POINTER)
        self._c_queries = library.function("decoder_queries", *at)
        self._c_rest = library.function("decoder_rest", *at, POINTER)
        self._c_layers = library.function("decoder_layers", POINTER, POINTER, SIZE, POINTER, POINTER, POINTER, POINTER)
        head = (*at, POINTER, POINTER, SIZE, POINTER)
        self._c_logits = library.function("decoder_logits", *head, POINTER)
        self._c_likeliest = library.function("decoder_likeliest", *head, POINTER, POINTER, POINTER, POINTER)
        self._refs = [byref(layer) for layer in self._layers]
        self._all_layers = (POINTER * len(self._layers))(*map(ctypes.addressof, self._layers))
        self._all_tables = (POINTER * (2 * c.layers))(*(at for tables in self._tables for at in tables))
        self._shape_ref, self._pass_ref = byref(self._shape), byref(self._pass)

    def _vector(self, x: torch.Tensor | None) -> int | None:
        """Its address as float32, and it stays there."""
        if x is None:
            return None
        self._kept.append(wide := x.float().contiguous())
        return wide.data_ptr()

    def _matrix(self, weight: torch.Tensor, bias: torch.Tensor | None, rounded: bool = True) -> CMatrix:
        self._kept.append(packed := Packed(weight, bias, self._memory, self._int8 and rounded))
        return packed.c

    def _layer(self, layer: "LayerWeights") -> CLayer:
        made = CLayer(
            norm=self._vector(layer.norm),
            qkv=self._matrix(*layer.qkv),
            qk_norm=self._vector(layer.qk_norm),
            o=self._matrix(*layer.o),
            mlp_norm=self._vector(layer.mlp_norm),
            after_norm=self._vector(layer.after_norm),
            after_mlp_norm=self._vector(layer.after_mlp_norm),
        )
        if isinstance(layer.mlp, MlpWeights):
            made.gate_up, made.down = self._mlp(layer.mlp)
        else:
            made.experts = self._experts(layer.mlp)
        return made

    def _mlp(self, mlp: MlpWeights) -> tuple[CMatrix, CMatrix]:
        weight, bias = mlp.gate_up
        down, down_bias = mlp.down
        if spare := -down.shape[1] % GATES:
            down = pad(down, (0, spare))
        bias = None if bias is None else in_turns(bias.unsqueeze(1)).squeeze(1)
        return self._matrix(in_turns(weight), bias), self._matrix(down, down_bias)

    def _experts(self, layer: ExpertWeights) -> int:
        """The address of C's structure for them."""
        mixture = layer.mixture
        gate_up, down = zip(*map(self._mlp, layer.experts), strict=True)
        many = CMatrix * mixture.count
        router = self._matrix(layer.router, None, rounded=False)
        made = _CExperts(mixture.count, mixture.chosen, mixture.normalised, router)
        made.gate_up, made.down = many(*gate_up), many(*down)
        self._kept.append(made)
        return ctypes.addressof(made)

    def _use_experts(self, mixture: "Mixture", hidden: int) -> None:
        """Widths of what a row needs beside the rest, and where those of all rows begin."""
        inner = mixture.intermediate + -mixture.intermediate % GATES
        self._widths |= {
            "inner": max(self._widths["inner"], mixture.chosen * inner),
            "scores": mixture.count,
            **dict.fromkeys(("experts", "weights", "order"), mixture.chosen),
            "gathered": mixture.chosen * (hidden + hidden % 2),
        }
        self._starts = torch.zeros(mixture.count + 1, dtype=torch.int32)
        self._pass.pairs.starts = self._starts.data_ptr()

    def _make_room(self, rows: int) -> None:
        """Buffers for at least so many rows. Padding in them is never written, and stays zero."""
        if rows > self._rows:
            self._rows = -(-rows // 64) * 64
            for name, width in self._widths.items():
                self._buffers[name] = torch.zeros(self._rows, width, dtype=_TYPES.get(name, self._dtype))
                of = self._pass.pairs if name in _PAIRS else self._pass
                setattr(of, name, self._buffers[name].data_ptr())

    def start(self, ids: torch.Tensor, positions: torch.Tensor) -> "NativeLayers":
        """Begins a pass of ids and positions [M]."""
        rows = ids.shape[0]  # `len` of a tensor takes longer
        self._make_room(rows)
        ids = ids if ids.is_contiguous() else ids.contiguous()  # what asks torch for nothing keeps Python's lock
        self._positions = positions if positions.is_contiguous() else positions.contiguous()
        self._pass.rows, self._pass.threads = rows, team(rows * self._work)
        self._pass.positions = self._positions.data_ptr()
        self._qkv = None
        self._c_embed(self._shape_ref, self._pass_ref, ids.data_ptr(), self._embed.data_ptr())
        return self

    def queries(self, layer: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """q [M, heads, D], k and v [M, kv_heads, D]."""
        self._pass.cos, self._pass.sin = self._tables[layer]
        self._c_queries(self._shape_ref, self._refs[layer], self._pass_ref)
        if self._qkv is None:
            heads, kv_heads, dim = self._heads
            of = {name: buffer[: self._pass.rows] for name, buffer in self._buffers.items() if name in "qkv"}
            self._qkv = of["q"].view(-1, heads, dim), of["k"].view(-1, kv_heads, dim), of["v"].view(-1, kv_heads, dim)
        return self._qkv

    def through(self, attend: Attend) -> None:
        """All layers: one call, if their attention is native, too."""
        if not isinstance(attend, NativeAttend):
            for i in range(len(self._layers)):
                self.finish(i, attend(i, *self.queries(i)))
            return
        self._check(attend.out)
        self._c_layers(
            *(self._shape_ref, self._all_layers, len(self._layers), self._all_tables),
            *(self._pass_ref, attend.at, attend.out_at),
        )

    def finish(self, layer: int, mixed: torch.Tensor) -> None:
        """The rest of the layer after attention, `mixed` [M, heads, D]. Raises ValueError if it is not."""
        self._check(mixed)
        mixed = mixed.contiguous()
        self._c_rest(self._shape_ref, self._refs[layer], self._pass_ref, mixed.data_ptr())

    def _check(self, mixed: torch.Tensor) -> None:
        rows, (heads, _, dim) = self._pass.rows, self._heads
        if mixed.dtype is not self._dtype or mixed.shape != (rows, heads, dim):
            raise ValueError(f"attention gave {mixed.dtype} {list(mixed.shape)} for q {[rows, heads, dim]}")

    def logits(self, rows: torch.Tensor) -> torch.Tensor:
        """float32 [n, vocab] of rows [n]."""
        out = torch.empty(len(rows), self._head.shape[0], dtype=torch.float32)
        self._c_logits(*self._head_of(rows := rows.contiguous()), out.data_ptr())
        return out

    def likeliest(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of rows [n] the id of the largest logit, int64 [n], and that logit, float32 [n]."""
        return self._likeliest(rows, None)

    def likeliest_and_logits(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same, and the logits, float32 [n, vocab], which the next call overwrites."""
        if (count := rows.shape[0]) != self._written.shape[0]:
            if count > self._room.shape[0]:
                self._room = torch.empty(count, self._head.shape[0], dtype=torch.float32)
            self._written = self._room[:count]
        return *self._likeliest(rows, self._room.data_ptr()), self._written

    def _likeliest(self, rows: torch.Tensor, logits: int | None) -> tuple[torch.Tensor, torch.Tensor]:
        count = rows.shape[0]
        ids, top = torch.empty(count, dtype=torch.int64), torch.empty(count, dtype=torch.float32)
        if (room := count * self._pass.threads * _BEST) > self._best.shape[0]:
            self._best = torch.empty(room, dtype=torch.int32)
        head = self._head_of(rows := rows.contiguous())
        self._c_likeliest(*head, self._best.data_ptr(), top.data_ptr(), ids.data_ptr(), logits)
        return ids, top

    def _head_of(self, rows: torch.Tensor) -> tuple[object, ...]:
        """The arguments that all functions of the head begin with."""
        count = rows.shape[0]
        if count > self._last.shape[0]:
            self._last = torch.zeros(count, self._widths["normed"], dtype=self._dtype)
        head = byref(self._head.c)
        return self._shape_ref, self._pass_ref, self._norm, head, rows.data_ptr(), count, self._last.data_ptr()


def in_turns(x: torch.Tensor) -> torch.Tensor:
    """[2 * I, K], gate and up, to blocks of `GATES` rows of either in turns; I is padded by zeros to whole blocks."""
    spare = -(len(x) // 2) % GATES
    halves = [(pad(half, (0, 0, 0, spare)) if spare else half).view(-1, GATES, x.shape[1]) for half in x.chunk(2)]
    return torch.stack(halves, dim=1).flatten(0, 2)
