"""The start of the weights: a circuit that looks back, so that copying need not be found by chance.

An induction head needs two layers to agree: one head writes what the previous token was, a later one looks for the
place whose previous token is the current one and takes what stands there (Olsson et al., 2022, "In-context Learning
and Induction Heads").  Until both exist neither earns anything, and with 2,880 words a small training does not find
them.  Here the first two layers start with a soft form of both, as small random codes; training sharpens, moves or
removes it like any other weight.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firefly.model import Firefly, Shape

CONSTANT_SHARE = 0.06
"""Share of an embedding's energy in dimension 0, which is the same for all words: what positions are told by."""
SHARPNESS = 6.0
"""Scale of the score by which the previous token beats its neighbours."""
MATCH = 2.5
"""Scale of the matching of two codes."""
SLOWEST = 0.02
"""Radians a position: faster pairs of a rotated head cannot compare contents over a distance."""


def wire(model: Firefly, seed: int = 5) -> None:
    """Write the circuit into the first key-value head of layers 0 and 1, in place."""
    with torch.no_grad():
        _wire(model, torch.Generator().manual_seed(seed))


def _wire(model: Firefly, generator: torch.Generator) -> None:
    shape = model.shape
    dim, queries = shape.head_dim, shape.heads // shape.kv_heads
    loud = float(model.embed.std()) * math.sqrt(shape.hidden)
    model.embed[:, 0] = loud * math.sqrt(CONSTANT_SHARE / (1 - CONSTANT_SHARE))
    read, frame, value = (_orthogonal(dim, shape.hidden, generator) for _ in range(3))
    read[:, 0] = 0

    back, match = model.blocks[0], model.blocks[1]
    query, key = _previous(shape)
    back.k_proj.weight[:dim] = key
    back.v_proj.weight[:dim] = read
    match.k_proj.weight[:dim] = MATCH * _slow(frame, shape)
    match.v_proj.weight[:dim] = value
    for head in range(queries):
        rows = slice(head * dim, (head + 1) * dim)
        back.q_proj.weight[rows] = query
        back.o_proj.weight[:, rows] = frame.T * 2 * loud / math.sqrt(shape.hidden) / queries
        match.q_proj.weight[rows] = MATCH * _slow(read, shape)
        match.o_proj.weight[:, rows] = value.T * 0.3 * loud / queries


def _previous(shape: Shape) -> tuple[Tensor, Tensor]:
    """Query and key rows (head_dim, hidden) whose rotated product is largest one position back."""
    half = shape.head_dim // 2
    angle = _angles(shape)
    gain = math.sqrt(SHARPNESS * math.sqrt(shape.head_dim) / (CONSTANT_SHARE * shape.hidden))
    query, key = torch.zeros(2, shape.head_dim, shape.hidden)
    key[:half, 0] = gain
    query[:half, 0], query[half:, 0] = gain * angle.cos(), -gain * angle.sin()
    return query, key


def _slow(code: Tensor, shape: Shape) -> Tensor:
    """The code in the dimensions of a head that hardly turn, the others empty."""
    pairs = [index for index, angle in enumerate(_angles(shape)) if angle < SLOWEST]
    dims = pairs + [index + shape.head_dim // 2 for index in pairs]
    result = torch.zeros_like(code)
    result[dims] = code[: len(dims)]
    return result


def _angles(shape: Shape) -> Tensor:
    """Radians a position of each rotated pair, (head_dim / 2,)."""
    return shape.theta ** (-torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)


def _orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Orthonormal rows."""
    columns_first, _ = torch.linalg.qr(torch.randn(columns, rows, generator=generator))
    return columns_first.T.contiguous()
