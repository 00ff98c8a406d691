"""Low-rank adapters that are served together (Hu et al., arXiv 2106.09685): which rows an adapter is for is said before
each pass. They come and go while their model stays.

A weight W [N, K] becomes W + scale * B A for those rows, with A [r, K] and B [N, r]; what is computed is W x, and then
scale * B (A x) on top. All products go through the rows' scheme: a row's bits do not depend on the others' adapters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lampc.backend.errors import CheckpointError, Unsupported
from lampc.backend.models.experts import Feed
from lampc.backend.models.fields import Fields
from lampc.backend.models.layers import Linear
from lampc.backend.models.rows import Rows
from lampc.backend.models.targets import Target
from lampc.backend.models.weights import Weights
from lampc.backend.tokenizer import read_json

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin a training (`init_lora_weights`) that leave the model's own weights as they are."""
_KNOWN = frozenset(
    """peft_type task_type bias lora_alpha use_rslora init_lora_weights r rank_pattern lora_dropout target_modules
    exclude_modules layers_pattern layers_to_transform inference_mode base_model_name_or_path revision auto_mapping
    peft_version megatron_core qalora_group_size eva_config ensure_weight_tying""".split()  # noqa: SIM905
)
"""Entries that are heeded, that say what the tensors say, or that were for the training alone."""


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
        settings = _config(folder / CONFIG)
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


def contents_of(folder: Path) -> str:
    """Names what the adapter in a folder adds: the same as `Adapters.contents` of it. Raises CheckpointError or
    Unsupported."""
    settings, file = _config(folder / CONFIG), Weights(folder, TENSORS)
    file.close()
    return f"{file.digest()} {settings}"


def base_of(folder: Path) -> str:
    """The model that an adapter's config names. Raises CheckpointError if it names none."""
    entry = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not isinstance(entry, str) or not entry:
        raise CheckpointError(
            f"{folder / CONFIG}: no 'base_model_name_or_path'; say there which model the adapter is for"
        )
    return entry


def _config(path: Path) -> tuple[float, bool]:
    """The factor alpha, and whether it is divided by the root of the rank."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the folder that PEFT saved an adapter to")
    fields = Fields(read_json(path), path)
    fields.only("peft_type", "LORA")
    fields.only("bias", "none")
    if fields.values.get("task_type") not in (None, "CAUSAL_LM"):
        raise Unsupported(f"{path}: task_type is {fields.values['task_type']!r}; supported here: CAUSAL_LM")
    if fields.values.get("init_lora_weights", True) not in _STARTS:
        raise Unsupported(
            f"{path}: init_lora_weights is {fields.values['init_lora_weights']!r}, which changes the model's own "
            "weights, too; save the adapter converted to one for the model as it was"
        )
    for name, value in fields.values.items():
        if value and name not in _KNOWN:
            raise Unsupported(f"{path}: {name} is {value!r:.80}; supported here: no such entry")
    return fields.number("lora_alpha", 8.0), fields.flag("use_rslora")
