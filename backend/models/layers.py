"""Building blocks of decoder models: functions over rows, and the linear layer.

Each gives a row the same bits whatever rows surround it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional
from torch.nn.functional import pad

from lampc.backend.models.rows import Rows

Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(layer, q [M, heads, D], k [M, kv_heads, D], v [M, kv_heads, D]) -> [M, heads, D]: what runners lend to models."""


Activation = Literal["silu", "gelu_tanh"]

_GRAIN = 32768  # values that torch gives to a thread at least


class Linear:
    """x [M, K] to [M, N]: weight [N, K], bias [N]; the rows' scheme keeps results exact and packs the weight."""

    __slots__ = ("_product",)

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, rows: Rows, rounded: bool = True) -> None:
        self._product = rows.layer(weight, bias, rounded)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self._product(x)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x [..., H] divided by its root mean square, computed in float32, times weight [H] (or a shape that fits x).

    Zhang and Sennrich, arXiv 1910.07467.
    """
    if _GRAIN <= x.numel() == x.shape[-1]:  # torch sums a single wide row in a part for each thread, two row by row
        return rms_norm(torch.stack([x, x]), weight, eps)[0]
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if weight.dtype is not x.dtype:  # weights in float32 multiply before values are rounded
        return (wide * scale * weight).to(x.dtype)
    return (wide * scale).to(x.dtype) * weight


@dataclass(frozen=True, slots=True)
class Mlp:
    """A gated feed-forward part: x [M, hidden] to [M, 2 * I], gate and up side by side, and back."""

    gate_up: Callable[[torch.Tensor], torch.Tensor]
    down: Callable[[torch.Tensor], torch.Tensor]
    activation: Activation = "silu"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(gated(self.gate_up(x), self.activation))


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """x [M, H] less its mean, divided by its deviation, times weight [H], plus bias [H].

    Ba et al., arXiv 1607.06450.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of x [M, heads, D] with cos and sin [M, 1, D / 2]; the halves of D make the pairs."""
    half = x.shape[-1] // 2
    left, right = x[..., :half], x[..., half:]
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1)


def picked(x: torch.Tensor, wanted: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Rows `wanted` [n] of x [M, H], and as many more as the rows' scheme asks for."""
    index = torch.zeros(rows.padded(len(wanted)), dtype=torch.int64, device=x.device)
    index[: len(wanted)] = wanted
    return x[index]


_LANES = 64  # values that elementwise kernels take at once, at most
_SERIAL = 16384  # values that one thread takes in any case; above, gelu gives each thread its share


def elementwise(f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """f of x [...] value by value; each gets the same bits wherever it stands, with any number of threads.

    torch takes a tensor in one piece as vectors, and what is left at its end (at the end of each thread's share of
    it) by scalar code, which rounds functions like exp in other ways. Here everything is whole vectors. `f` may work
    in place; x is then lost.
    """
    if x.device.type != "cpu":
        return f(x.contiguous())
    flat = x.reshape(-1)
    whole = _whole(len(flat))
    if whole == len(flat):
        return f(flat).view(x.shape)
    rest = pad(flat[whole:], (0, -len(flat) % _LANES))
    parts = [f(flat[:whole]), *(f(part) for part in torch.split(rest, _SERIAL))]
    return torch.cat(parts)[: len(flat)].view(x.shape)


def _whole(count: int) -> int:
    """The most values, `count` or fewer, of which torch gives whole vectors to each thread."""
    count -= count % _LANES
    threads = torch.get_num_threads()
    while count > _SERIAL and (rest := count % (_LANES * math.lcm(threads, min(threads, -(-count // _GRAIN))))):
        count -= rest
    return count


def gated_silu(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up of [M, 2 * I], which holds both side by side (Shazeer, arXiv 2002.05202)."""
    return gated(gate_up, "silu")


def gated(gate_up: torch.Tensor, activation: Activation) -> torch.Tensor:
    """The same with another activation."""
    gate, up = gate_up.chunk(2, dim=-1)
    return (elementwise(functional.silu, gate) if activation == "silu" else gelu_tanh(gate)) * up


def row_sums(x: torch.Tensor) -> torch.Tensor:
    """Sums [M, 1] of rows of x [M, n], by halves: in the same order for any M, as torch's of few values need not be."""
    x = pad(x, (0, (1 << (x.shape[1] - 1).bit_length()) - x.shape[1]))
    while x.shape[1] > 1:
        left, right = x.chunk(2, dim=1)
        x = left + right
    return x


def scaled(x: torch.Tensor, by: float) -> torch.Tensor:
    """x [...] times a number that is rounded to its dtype."""
    return x if by == 1.0 else x * torch.tensor(by, dtype=x.dtype).item()


def soft_cap(x: torch.Tensor, cap: float) -> torch.Tensor:
    """cap * tanh(x / cap) of x [...]."""
    return elementwise(torch.tanh, x / cap) * cap


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    """GELU by its tanh approximation (Hendrycks and Gimpel, arXiv 1606.08415), which GPT-2 calls gelu_new."""
    return elementwise(lambda part: functional.gelu(part, approximate="tanh"), x)
