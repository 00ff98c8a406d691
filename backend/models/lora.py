"""Low-rank adapters that are served together (Hu et al., arXiv 2106.09685): which rows an adapter is for is said before
each pass. They come and go while their model stays.

A weight W [N, K] becomes W + scale * B A for those rows, with A [r, K] and B [N, r]; what is computed is W x, and then
scale * B (A x) on top. All products go through the rows' scheme: a row's bits do not depend on the others' adapters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lampc.backend.models.experts import Feed
from lampc.backend.models.layers import Linear
from lampc.backend.models.peft import TENSORS, settings_of
from lampc.backend.models.rows import Rows
from lampc.backend.models.targets import Target
from lampc.backend.models.weights import Weights

PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class _Delta:
    """What one adapter adds to outputs `first` .. `first` + `size` - 1; the scale is in `up`."""

    down: Linear
    up: Linear
    first: int
    size: int


@dataclass(frozen=True, slots=True)
class _Adapted:
    """A product of rows [M, `width`], and what adapters add to it."""

    targets: Sequence[Target]
    width: int
    deltas: dict[str, list[_Delta]] = field(default_factory=dict)


class Adapters:
    """Adapters of one model by name."""

    def __init__(self, device: torch.device, dtype: torch.dtype, rows: Rows) -> None:
        self._device, self._dtype, self._rows = device, dtype, rows
        self._products: list[_Adapted] = []
        self._contents: dict[str, str] = {}
        self._places: dict[str, torch.Tensor] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._contents)

    def names(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted(self._contents))

    def contents(self, name: str) -> str:
        """Names what an adapter adds, whatever it is called."""
        return self._contents[name]

    def add(self, name: str, folder: Path) -> None:
        """Reads an adapter from a folder as PEFT saves it. Raises CheckpointError or Unsupported, and then nothing has
        changed."""
        settings = settings_of(folder)
        file = Weights(folder, TENSORS)
        rows = self._rows.apart()  # its memory goes with it
        found = [self._deltas(file, settings, product, rows) for product in self._products]
        file.check_all_read()
        self._contents[name] = f"{file.digest()} {settings}"
        file.close()
        for product, deltas in zip(self._products, found, strict=True):
            if deltas:
                product.deltas[name] = deltas

    def drop(self, name: str) -> None:
        """Forgets an adapter, which no row of a pass may be for any more."""
        del self._contents[name]
        self._places.pop(name, None)
        for product in self._products:
            product.deltas.pop(name, None)

    def use(self, places: Mapping[str, Sequence[int]]) -> None:
        """The rows of the next pass that each adapter is for; others go without."""
        self._places = {
            name: torch.tensor(rows, dtype=torch.int64, device=self._device) for name, rows in places.items() if rows
        }

    def rows(self) -> torch.Tensor | None:
        """The rows of the next pass that an adapter is for, int64 and in order; None if there are none."""
        return torch.cat(list(self._places.values())).sort()[0] if self._places else None

    def within(self, rows: torch.Tensor) -> None:
        """The next pass is of these rows alone, which are in order, and of all that an adapter is for."""
        self._places = {name: torch.searchsorted(rows, places) for name, places in self._places.items()}

    def around(self, product: Feed, targets: Sequence[Target], width: int) -> Feed:
        """A product of rows [M, width], with what adapters add to it."""
        place = _Adapted(targets, width)
        self._products.append(place)

        def adapted(x: torch.Tensor) -> torch.Tensor:
            y = product(x)
            for name, rows in self._places.items():
                for d in place.deltas.get(name, ()):
                    some = slice(d.first, d.first + d.size)
                    y[rows, some] = y[rows, some] + d.up(d.down(x[rows]))
            return y

        return adapted

    def _deltas(self, file: Weights, settings: tuple[float, bool], product: _Adapted, rows: Rows) -> list[_Delta]:
        (alpha, root), width, found = settings, product.width, []
        for target, first, size, order in product.targets:
            at = f"{PREFIX}{target}.lora_"
            if f"{at}A.weight" not in file:
                continue
            rank = file.shape(f"{at}A.weight")[0]
            a = file.get(f"{at}A.weight", (rank, width), self._device, self._dtype)
            b = file.get(f"{at}B.weight", (size, rank), self._device, torch.float32)
            b = (b * (alpha / (rank**0.5 if root else rank))).to(self._dtype)
            up = Linear(b if order is None else b[order], None, rows, rounded=False)
            found.append(_Delta(Linear(a, None, rows, rounded=False), up, first, size))
        return found
