"""From the architecture that `config.json` names to the class that computes it.

Plug-ins add architectures by an entry point in the group `lampc.models` (of encoders: `lampc.encoders`): its name is
the architecture, its value a class with the face of `Model` (`EncoderModel`) and a classmethod `load`. A plug-in goes
before what is built in.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lampc.backend.errors import BackendError, CheckpointError, UnknownArchitecture

if TYPE_CHECKING:
    import torch

    from lampc.backend.models.checkpoint import Checkpoint
    from lampc.backend.models.layers import Attend

MODELS, ENCODERS = "lampc.models", "lampc.encoders"
_BUILT_IN = {
    "Gemma2ForCausalLM": "lampc.backend.models.gemma2:Gemma2",
    "Gemma3ForCausalLM": "lampc.backend.models.gemma3:Gemma3",
    "GPT2LMHeadModel": "lampc.backend.models.gpt2:GPT2",
    "LlamaForCausalLM": "lampc.backend.models.llama:Llama",
    "MistralForCausalLM": "lampc.backend.models.mistral:Mistral",
    "MixtralForCausalLM": "lampc.backend.models.mixtral:Mixtral",
    "Olmo2ForCausalLM": "lampc.backend.models.olmo2:Olmo2",
    "Phi3ForCausalLM": "lampc.backend.models.phi3:Phi3",
    "Qwen2ForCausalLM": "lampc.backend.models.qwen2:Qwen2",
    "Qwen3ForCausalLM": "lampc.backend.models.qwen3:Qwen3",
    "Qwen3MoeForCausalLM": "lampc.backend.models.qwen3_moe:Qwen3Moe",
}
_TABLES = {
    MODELS: _BUILT_IN,
    ENCODERS: dict.fromkeys(("BertForMaskedLM", "BertModel"), "lampc.backend.models.bert:Bert"),
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

        Rows of many requests stand side by side, padding among them. `attend` stores K/V and attends, by the model's
        `scores` if it has some (`lampc.backend.scores.Scores`), else scaled by 1 / sqrt(head_dim); it is called once
        per layer, in their order.
        """
        ...


@runtime_checkable
class Greedy(Protocol):
    """What a model may offer beside `forward`: greedy steps then need no logits, which are large.

    Kernels find them without writing any; see `greedy` for when it is used.
    """

    def likeliest(
        self, ids: "torch.Tensor", positions: "torch.Tensor", attend: "Attend", rows: "torch.Tensor"
    ) -> "tuple[torch.Tensor, torch.Tensor]":
        """Of each row that `forward` would give the id of the largest logit, int64 [n], and that logit, float32 [n].

        The first of equals; NaN counts as the largest.
        """
        ...


def greedy(model: Model) -> Greedy | None:
    """The model, if it offers `likeliest` for its own `forward`: a subclass may have changed one of the two only."""
    for kind in type(model).__mro__:
        if "likeliest" in vars(kind):
            return model if isinstance(model, Greedy) else None
        if "forward" in vars(kind):
            return None
    return None


class ModelClass(Protocol):
    """What is registered."""

    def load(self, source: "Checkpoint") -> Model:
        """Builds the model. Raises CheckpointError, Unsupported or ValueError."""
        ...


class EncoderModel(Protocol):
    """What encoders need of a model; all tensors are on the CPU and of one dtype."""

    vocab_size: int
    hidden: int
    positions: int

    def forward(self, ids: "torch.Tensor", lengths: Sequence[int]) -> "torch.Tensor":
        """Last hidden states [M, hidden] of all M tokens `ids`, int64: texts of `lengths` one after the other, then
        padding.

        A text's states do not depend on the others, to the bit.
        """
        ...


class EncoderClass(Protocol):
    """What is registered of these."""

    def load(self, source: "Checkpoint") -> EncoderModel:
        """Builds the model. Raises CheckpointError, Unsupported or ValueError."""
        ...


def architectures(group: str = MODELS) -> list[str]:
    """Names that can be resolved now, sorted."""
    return sorted({*_TABLES[group], *(point.name for point in entry_points(group=group))})


def resolve(config: dict[str, Any], path: Path) -> ModelClass:
    """The class for a parsed config.json.

    Raises CheckpointError, UnknownArchitecture, or BackendError for a plug-in that cannot be used.
    """
    found: ModelClass = _resolve(config, path, MODELS)
    return found


def resolve_encoder(config: dict[str, Any], path: Path) -> EncoderClass:
    """The same for a model that makes vectors."""
    found: EncoderClass = _resolve(config, path, ENCODERS)
    return found


def _resolve(config: dict[str, Any], path: Path, group: str) -> Any:
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise CheckpointError(f"{path}: no 'architectures' entry; it must name the model's class")
    name = names[0]
    points = sorted({point.value for point in entry_points(group=group, name=name)})
    if len(points) > 1:
        raise BackendError(f"several plug-ins add {name!r}: {', '.join(points)}; uninstall all but one")
    if not points and name not in _TABLES[group]:
        other, use = (ENCODERS, "load_encoder") if group == MODELS else (MODELS, "load_engine")
        hint = f"; {use} loads it" if name in architectures(other) else ""
        raise UnknownArchitecture(name, architectures(group), group, hint)
    where = points[0] if points else _TABLES[group][name]
    module, _, attribute = where.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BackendError(f"the class {where} for {name!r} cannot be imported: {error}; mend its package") from error
    return found


def check_model(model: Model) -> None:
    """Raises BackendError if a loaded model lacks what runners need of it."""
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    needed = [*Model.__annotations__, "forward"]
    missing = [name for name in needed if not hasattr(model, name)]
    if missing:
        raise BackendError(f"{kind} has no {', '.join(missing)}; a model needs {', '.join(needed)}")
    if model.heads % model.kv_heads or len(model.windows) != model.layers:
        raise BackendError(
            f"{kind} has {model.heads} heads, {model.kv_heads} kv_heads, {model.layers} layers and "
            f"{len(model.windows)} windows; heads must be a multiple of kv_heads and each layer needs a window entry"
        )
