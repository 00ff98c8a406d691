"""From the architecture that `config.json` names to the class that computes it.

Plug-ins add architectures by an entry point in the group `lampc.models`: its name is the architecture, its
value a class with the face of `Model` and a classmethod `load`.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lampc.backend.errors import CheckpointError, UnknownArchitecture

if TYPE_CHECKING:
    import torch

    from lampc.backend.models.rows import Rows
    from lampc.backend.models.weights import Weights

    Attend = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    """(layer, q [M, heads, D], k [M, kv_heads, D], v [M, kv_heads, D]) -> [M, heads, D]."""

_BUILT_IN = {
    "LlamaForCausalLM": "lampc.backend.models.llama:Llama",
    "MistralForCausalLM": "lampc.backend.models.llama:Llama",
    "Qwen2ForCausalLM": "lampc.backend.models.llama:Llama",
}


class Model(Protocol):
    """What runners need of a model. All tensors are on one device and of one dtype.

    `windows` has an entry per layer: how many keys a query sees, itself included; None is all.
    """

    vocab_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context_length: int
    windows: tuple[int | None, ...]

    def forward(
        self, ids: "torch.Tensor", positions: "torch.Tensor", attend: "Attend", rows: "torch.Tensor"
    ) -> "torch.Tensor":
        """Logits [n, vocab] float32 of the rows `rows` [n], given all M tokens `ids` and `positions`, int64.

        In exact mode M is a multiple of the row tile. `attend` stores K/V and attends, once per layer.
        """
        ...


class ModelClass(Protocol):
    """What is registered."""

    def load(
        self,
        config: dict[str, Any],
        weights: "Weights",
        *,
        path: Path,
        device: "torch.device",
        dtype: "torch.dtype",
        rows: "Rows",
    ) -> Model:
        """Builds the model. Raises CheckpointError or Unsupported."""
        ...


def architectures() -> list[str]:
    """Names that can be resolved now, sorted."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group="lampc.models"))})


def resolve(config: dict[str, Any], path: Path) -> ModelClass:
    """The class for a parsed config.json. Raises CheckpointError or UnknownArchitecture."""
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise CheckpointError(f"{path}: no 'architectures' entry; it must name the model's class")
    name = names[0]
    for point in entry_points(group="lampc.models", name=name):
        plugin: ModelClass = point.load()
        return plugin
    if name not in _BUILT_IN:
        raise UnknownArchitecture(name, architectures())
    module, _, attribute = _BUILT_IN[name].partition(":")
    found: ModelClass = getattr(import_module(module), attribute)
    return found
