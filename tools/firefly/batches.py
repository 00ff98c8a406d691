"""From rows and episodes to tensors: first-fit packing with a block mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor

from firefly.dense import LOOKING_BACK, DenseRows, Mix, Row

EpisodeMaker = Callable[[Random, int], Row]
"""Makes one episode of at most so many tokens."""


@dataclass(frozen=True)
class Stage:
    """What the training sees up to a point of its progress (0 to 1)."""

    until: float
    dense: float
    lengths: tuple[int, ...]
    focus: str = "full"
    mix: Mix = LOOKING_BACK


@dataclass
class Batch:
    """One step of training data."""

    ids: Tensor
    positions: Tensor
    mask: Tensor
    where: Tensor
    targets: Tensor
    weights: Tensor


def pack(rows: list[Row], count: int, length: int) -> list[list[Row]]:
    """First-fit of episodes into ``count`` rows; what does not fit is dropped."""
    space = [length] * count
    packed: list[list[Row]] = [[] for _ in range(count)]
    for row in rows:
        size = len(row[0])
        for index in range(count):
            if size <= space[index]:
                space[index] -= size
                packed[index].append(row)
                break
    return packed


def collate(packed: list[list[Row]], length: int, device: str) -> Batch:
    """Tensors of packed rows; an episode sees only itself and starts at position 0."""
    count = len(packed)
    ids = np.zeros((count, length), dtype=np.int64)
    positions = np.zeros((count, length), dtype=np.int64)
    segments = np.zeros((count, length), dtype=np.int64)
    weights = np.zeros((count, length), dtype=np.float32)
    for line, episodes in enumerate(packed):
        at = 0
        for number, (tokens, loss) in enumerate(episodes, start=1):
            size = len(tokens)
            ids[line, at : at + size] = tokens
            positions[line, at : at + size] = np.arange(size)
            segments[line, at : at + size] = number
            weights[line, at + 1 : at + size] = loss[1:]
            at += size
    flat = np.flatnonzero(weights.reshape(-1))
    allowed = segments[:, :, None] == segments[:, None, :]
    allowed &= np.tri(length, dtype=bool)[None]
    mask = np.where(allowed, np.float32(0), np.float32(-1e9))[:, None]
    return Batch(
        ids=torch.from_numpy(ids).to(device),
        positions=torch.from_numpy(positions).to(device),
        mask=torch.from_numpy(mask).to(device),
        where=torch.from_numpy(flat - 1).to(device),
        targets=torch.from_numpy(ids.reshape(-1)[flat]).to(device),
        weights=torch.from_numpy(weights.reshape(-1)[flat]).to(device),
    )


class Source:
    """Batches that depend only on the seed, the step and the stage."""

    def __init__(self, dense: DenseRows, episode: Callable[[str], EpisodeMaker], tokens: int, seed: int):
        self.dense, self.episode, self.tokens, self.seed = dense, episode, tokens, seed

    def batch(self, step: int, stage: Stage, device: str) -> Batch:
        """The batch of one step."""
        rng = Random(f"{self.seed}/{step}")
        length = rng.choice(stage.lengths)
        count = max(1, self.tokens // length)
        dense_rows = sum(rng.random() < stage.dense for _ in range(count))
        packed = [[self.dense.row(rng, length, stage.mix)] for _ in range(dense_rows)]
        left = (count - dense_rows) * length
        make = self.episode(stage.focus)
        rows: list[Row] = []
        while left > 0:
            row = make(rng, length)
            left -= len(row[0])
            rows.append(row)
        packed += pack(rows, count - dense_rows, length)
        return collate(packed, length, device)
