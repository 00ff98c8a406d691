"""What is said about architectures, configs and arguments that cannot be used."""

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lampc.backend.errors import BackendError, CheckpointError, UnknownArchitecture, Unsupported
from lampc.backend.load import load_engine
from lampc.backend.models.fields import Fields
from lampc.backend.models.gemma2 import Gemma2
from lampc.backend.models.gemma3 import Gemma3
from lampc.backend.models.gpt2 import GPT2Config
from lampc.backend.models.llama import Llama
from lampc.backend.models.mistral import Mistral
from lampc.backend.models.mixtral import Mixtral
from lampc.backend.models.phi3 import Phi3
from lampc.backend.models.qwen2 import Qwen2
from lampc.backend.models.qwen3 import Qwen3
from lampc.backend.models.qwen3_moe import Qwen3Moe
from lampc.backend.models.registry import _BUILT_IN, ENCODERS, architectures, check_model, resolve, resolve_encoder
from tests.backend.checkpoints import llama_config, save_checkpoint

PATH = Path("config.json")
QWEN = {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1}
TYPES = ["full_attention", "sliding_attention"]


def rope(**entries: Any) -> dict[str, Any]:
    return {"rope_scaling": entries}


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 4.0}

WRONG: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (Llama, rope(rope_type="mrope"), Unsupported, "'mrope'.*default, linear, dynamic, yarn, llama3, longrope"),
    (Llama, {"rope_parameters": {"full_attention": {"rope_type": "default"}}}, Unsupported, "one for all layers"),
    (Llama, rope(type="linear", partial_rotary_factor=0.5), Unsupported, "partial_rotary_factor is 0.5"),
    (Llama, rope(rope_type="linear"), CheckpointError, "rope_scaling.factor is None; expected a positive number"),
    (Llama, rope(rope_type="linear", factor="2"), CheckpointError, "rope_scaling.factor is '2'"),
    (Llama, rope(**LLAMA3), CheckpointError, "high_freq_factor is 4.0; expected more than low_freq_factor"),
    (
        Llama,
        rope(rope_type="longrope", long_factor=[1.0], original_max_position_embeddings=8),
        CheckpointError,
        r"long_factor is \[1.0\]; expected a list of 4 numbers",
    ),
    (Llama, {"rope_scaling": "linear"}, CheckpointError, "rope_scaling is 'linear'; expected an object"),
    (Llama, {"hidden_act": "gelu"}, Unsupported, "hidden_act is 'gelu'; supported here: 'silu'"),
    (Llama, {"sliding_window": 16}, Unsupported, "sliding_window is 16"),
    (Llama, {"num_key_value_heads": 3}, CheckpointError, "multiple of kv heads"),
    (Llama, {"head_dim": 7}, CheckpointError, "head_dim even"),
    (Llama, {"hidden_size": 0}, CheckpointError, "hidden_size is 0; expected a positive integer"),
    (Llama, {"rms_norm_eps": -1}, CheckpointError, "rms_norm_eps is -1; expected a positive number"),
    (Llama, {"attention_bias": "no"}, CheckpointError, "attention_bias is 'no'; expected true or false"),
    (Mistral, {"sliding_window": -1}, CheckpointError, "sliding_window is -1"),
    (Mistral, {"layer_types": TYPES}, Unsupported, "layer_types"),
    (Qwen2, {"layer_types": TYPES}, CheckpointError, "use_sliding_window is None; expected true"),
    (Qwen2, QWEN | {"layer_types": ["chunked_attention"] * 2}, CheckpointError, "layer_types.*2 times"),
    (Qwen2, QWEN | {"layer_types": TYPES[:1]}, CheckpointError, "layer_types.*2 times"),
    (Qwen2, QWEN | {"sliding_window": None}, CheckpointError, "sliding_window is None"),
    (Qwen3, QWEN | {"max_window_layers": None}, CheckpointError, "max_window_layers is None"),
    (Gemma2, {"hidden_activation": "relu"}, Unsupported, "'relu'; supported here: 'gelu_pytorch_tanh'"),
    (Gemma2, {"use_bidirectional_attention": True}, Unsupported, "use_bidirectional_attention is True"),
    (Gemma2, {"layer_types": TYPES[:1]}, CheckpointError, "layer_types.*2 times"),
    (Gemma3, {"attn_logit_softcapping": 50.0}, Unsupported, "attn_logit_softcapping is 50.0"),
    (Gemma3, rope(rope_type="mrope"), Unsupported, "'mrope'"),
    (Phi3, {"partial_rotary_factor": 0.1}, CheckpointError, "partial_rotary_factor is 0.1; expected such that"),
    (Mixtral, {"num_local_experts": 4, "num_experts_per_tok": 5}, CheckpointError, "_per_tok is 5; expected at most 4"),
    (Qwen3Moe, {"moe_intermediate_size": None}, CheckpointError, "moe_intermediate_size is None; expected a positive"),
    (Qwen3Moe, {"moe_intermediate_size": 9, "mlp_only_layers": ["1"]}, CheckpointError, "expected a list of layers"),
]


@pytest.mark.parametrize(("model", "changes", "error", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_unusable_configs(model: Any, changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        model.read(Fields(llama_config(**changes), PATH), None)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"activation_function": "relu"}, Unsupported, "'relu'; supported here: 'gelu_new' or 'gelu_pytorch_tanh'"),
        ({"scale_attn_by_inverse_layer_idx": True}, Unsupported, "scale_attn_by_inverse_layer_idx"),
        ({"scale_attn_weights": False}, Unsupported, "scale_attn_weights"),
        ({"add_cross_attention": True}, Unsupported, "add_cross_attention"),
        ({"n_head": 5}, CheckpointError, "multiple of n_head"),
        ({"n_positions": None}, CheckpointError, "n_positions is None"),
    ],
)
def test_unusable_gpt2_configs(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    config = {"vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16, **changes}
    with pytest.raises(error, match=message):
        GPT2Config.read(Fields(config, PATH))


@pytest.mark.parametrize(
    ("model", "changes", "windows"),
    [
        (Llama, {}, (None, None)),
        (Mistral, {"sliding_window": 16}, (16, 16)),
        (Mistral, {"sliding_window": None}, (None, None)),
        (Mistral, {"max_position_embeddings": 8192}, (4096, 4096)),  # the format's default
        (Mistral, {"sliding_window": 256}, (None, None)),  # the whole context
        (Qwen2, {"sliding_window": 16, "max_window_layers": 0}, (None, None)),
        (Qwen2, QWEN, (None, 9)),
        (Qwen2, QWEN | {"max_window_layers": 2}, (None, None)),
        (Qwen2, QWEN | {"max_window_layers": 0}, (9, 9)),
        (Qwen3, QWEN | {"layer_types": TYPES[::-1]}, (9, None)),
    ],
)
def test_windows(model: Any, changes: dict[str, Any], windows: tuple[int | None, ...]) -> None:
    assert model.read(Fields(llama_config(**changes), PATH), None).windows == windows


def test_unknown_architecture(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "model", architectures=["MambaForCausalLM"])
    with pytest.raises(UnknownArchitecture, match=r"'MambaForCausalLM'.*LlamaForCausalLM"):
        load_engine(folder)
    with pytest.raises(CheckpointError, match="architectures"):
        resolve({}, folder)
    assert {"GPT2LMHeadModel", "LlamaForCausalLM", "Qwen3ForCausalLM"} <= {*architectures()}


@pytest.mark.parametrize("name", _BUILT_IN)
def test_an_architecture_is_one_short_file(name: str) -> None:
    model = resolve({"architectures": [name]}, PATH)
    file = Path(inspect.getfile(model))  # type: ignore[arg-type]
    assert file.parent.name == "models"
    assert file.name not in ("decoder.py", "layers.py"), "shared by several"
    assert len(file.read_text(encoding="utf-8").splitlines()) < 150


def test_so_is_an_encoder() -> None:
    (file,) = {inspect.getfile(resolve_encoder({"architectures": [n]}, PATH)) for n in architectures(ENCODERS)}  # type: ignore[arg-type]
    assert len(Path(file).read_text(encoding="utf-8").splitlines()) < 150


def test_quantised_checkpoints_are_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, quantization_config={"bits": 4})
    with pytest.raises(Unsupported, match="quantization_config"):
        load_engine(folder)


def test_models_that_lack_something(tmp_path: Path) -> None:
    class Lacking:
        vocab_size, layers, heads, kv_heads, head_dim, context_length = 9, 2, 4, 2, 8, 16

    with pytest.raises(BackendError, match=r"Lacking has no windows, forward; a model needs"):
        check_model(Lacking())  # type: ignore[arg-type]

    class Odd(Lacking):
        windows = (None,)

        def forward(self) -> torch.Tensor:
            return torch.zeros(1)

    with pytest.raises(BackendError, match="2 layers and 1 windows"):
        check_model(Odd())  # type: ignore[arg-type]


def test_arguments_of_load(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    with pytest.raises(ValueError, match="dtype is 'int3'"):
        load_engine(folder, dtype="int3")
    with pytest.raises(ValueError, match="kind is 'quick'"):
        load_engine(folder, kind="quick")  # type: ignore[arg-type]
