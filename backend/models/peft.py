"""Folders of adapters as PEFT saves them: what their configuration says."""

from pathlib import Path

from lampc.backend.errors import CheckpointError, Unsupported
from lampc.backend.models.fields import Fields
from lampc.backend.models.weights import Weights
from lampc.backend.tokenizer import read_json

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_STARTS = (True, False, "gaussian", "eva", "orthogonal")
"""Ways to begin a training (`init_lora_weights`) that leave the model's own weights as they are."""
_KNOWN = frozenset(
    """peft_type task_type bias lora_alpha use_rslora init_lora_weights r rank_pattern lora_dropout target_modules
    exclude_modules layers_pattern layers_to_transform inference_mode base_model_name_or_path revision auto_mapping
    peft_version megatron_core qalora_group_size eva_config ensure_weight_tying""".split()  # noqa: SIM905
)
"""Entries that are heeded, that say what the tensors say, or that were for the training alone."""


def contents_of(folder: Path) -> str:
    """Names what the adapter in a folder adds: the same as `Adapters.contents` of it. Raises CheckpointError or
    Unsupported."""
    settings, file = settings_of(folder), Weights(folder, TENSORS)
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


def settings_of(folder: Path) -> tuple[float, bool]:
    """The factor alpha, and whether it is divided by the root of the rank. Raises CheckpointError or Unsupported."""
    path = folder / CONFIG
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
