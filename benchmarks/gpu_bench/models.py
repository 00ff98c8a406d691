"""Whole engines with random weights that never touch a disk, and what a decode step of theirs takes."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from gpu_bench.timing import seconds
from lampc.backend.api import EngineInfo
from lampc.backend.engine import PagedEngine
from lampc.backend.kv_cache import bytes_per_token
from lampc.backend.models.checkpoint import Checkpoint
from lampc.backend.models.fields import Fields
from lampc.backend.models.registry import resolve
from lampc.backend.models.rows import Rows
from lampc.backend.request import Request, Sampling
from lampc.backend.runner import record_steps
from lampc.backend.tokenizer import ByteTokenizer

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
}
QWEN3_06B: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
}
TINY: dict[str, Any] = {
    **LLAMA_8B,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 512,
}


class RandomWeights:
    """Stands where `lampc.backend.models.weights.Weights` does, and makes up what it is asked for."""

    def __init__(self) -> None:
        self.values = 0

    def __contains__(self, name: str) -> bool:
        return False

    def get(self, name: str, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """Small noise; norms are ones."""
        made = torch.empty(shape, device=device, dtype=dtype)
        self.values += made.numel()
        return made.fill_(1.0) if len(shape) == 1 else made.normal_(std=0.02)

    def ignore(self, pattern: str) -> None:
        """There is nothing to ignore."""


class Unread(ByteTokenizer):
    """The text of random tokens is nothing to anybody."""

    def decode(self, ids: list[int] | tuple[int, ...], skip_special: bool = True) -> str:
        return ""


def engine(
    config: dict[str, Any],
    device: torch.device,
    dtype: torch.dtype,
    exact: bool,
    kv_tokens: int,
    host_kv_tokens: int = 0,
    by_triton: bool = True,
) -> Any:
    """An engine on Triton's kernels, or on torch alone, and the bytes of weights that a decode step reads."""
    path = Path("random")
    fields = Fields(config, path)
    rows = Rows(exact, triton=by_triton)
    weights: Any = RandomWeights()
    context = min(kv_tokens, config["max_position_embeddings"])
    with torch.inference_mode():
        model = resolve(config, path).load(Checkpoint(fields, weights, device, dtype, rows, context))
    embedding = 0 if config.get("tie_word_embeddings") else config["vocab_size"] * config["hidden_size"]
    info = EngineInfo(
        name="random",
        vocab_size=model.vocab_size,
        context_length=model.context_length,
        kv_bytes_per_token=0,
        block_size=16,
        exact=exact,
        digest="random",
    )
    made: Any = PagedEngine(
        model,
        Unread(),
        info,
        rows,
        device=device,
        dtype=dtype,
        kv_tokens=kv_tokens,
        host_kv_tokens=host_kv_tokens,
        max_batch_tokens=2048,
        max_running=256,
        async_scheduling=True,
    )
    # Without a GPU steps are not recorded; here they are computed over the memory of recorded ones all the same.
    if by_triton:
        made._runner.graphs = made._runner.graphs or record_steps(made._runner._attention)
    return made, (weights.values - embedding) * dtype.itemsize


def kv_bytes(config: dict[str, Any], dtype: torch.dtype) -> int:
    """Of one token."""
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return bytes_per_token(config["num_hidden_layers"], config["num_key_value_heads"], dim, dtype, int8=False)


def steps(made: Any, batch: int, context: int, count: int) -> dict[str, Any]:
    """Wall seconds of decode steps through the whole engine, launched ahead and one by one, and of the device alone
    replaying the last of them."""
    found = _decode(made, batch, context, count, ahead=True)
    if count >= 8:  # not where it only has to run
        found["seconds_one_by_one"] = _decode(made, batch, context, count, ahead=False)["seconds"]
    return found


def prompt(made: Any, length: int) -> float:
    """Wall seconds from a prompt of so many tokens, none of them cached, to the first token: the least of three."""
    found = []
    for i in range(4):
        made.reset_cache()
        ids = tuple((11 * j + i + 1) % made.info.vocab_size for j in range(length))
        begun = time.perf_counter()
        made.submit(Request(ids, Sampling(max_tokens=1, ignore_eos=True)))
        made.run()
        found.append(time.perf_counter() - begun)
    return min(found[1:])


def _decode(made: Any, batch: int, context: int, count: int, ahead: bool) -> dict[str, Any]:
    made._async = ahead
    vocab, drains = made.info.vocab_size, made.stats().drains
    for i in range(batch):
        ids = tuple((7 * i + 13 * j) % vocab for j in range(context))
        made.submit(Request(ids, Sampling(max_tokens=count + 16, ignore_eos=True)))
    while made.metrics().running < batch or made.metrics().prefilling:
        made.step()
    wall = []
    for _ in range(count):
        begun = time.perf_counter()
        made.step()  # ends with tokens on the host: this step's, or the one's before
        wall.append(time.perf_counter() - begun)
    graphs = made._runner.graphs
    with torch.inference_mode():
        device = seconds(graphs.last.replay, graphs.device, repeat=3)
    drains = made.stats().drains - drains
    made.run()
    made.reset_cache()
    took = median(wall[count // 4 :])
    return {"seconds": took, "device_seconds": device, "busy": min(1.0, device / took), "drains": drains}
