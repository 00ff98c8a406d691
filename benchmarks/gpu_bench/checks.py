"""Kernels against their twins on this device, and exact mode against itself: what the tests hold, without pytest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_bench import models
from gpu_bench.attention import Heads, spans_of
from lampc.backend.attention import TorchAttention
from lampc.backend.kernels.gated import gated, gated_torch
from lampc.backend.kernels.int8_gemv import int8_gemv, int8_gemv_torch, quantize
from lampc.backend.kernels.linear import agreeing, linear, linear_torch
from lampc.backend.kernels.norm import rms_norm, rms_norm_torch
from lampc.backend.kernels.paged import TritonAttention
from lampc.backend.kernels.rope_write import LayerCache, Rotation, rope_write, rope_write_torch
from lampc.backend.kernels.sampling import SamplingRows, SamplingSpace, sample, sample_torch
from lampc.backend.kv_cache import KVCache
from lampc.backend.load import load_engine
from lampc.backend.request import Request, Sampling
from lampc.backend.runner import record_steps
from lampc.backend.sampler import Draw

_FIREFLY = Path(__file__).resolve().parents[2] / "runtime" / "firefly"
_CLOSE = {torch.float32: 2e-5, torch.float16: 4e-3, torch.bfloat16: 4e-2}


def kernels(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """By kernel, whether it agrees with its twin."""
    torch.manual_seed(0)
    checks = {"norm": _norm, "gated": _gated, "rope_write": _rope, "int8_gemv": _int8, "sampling": _sampling}
    found = {name: check(device, dtype) for name, check in checks.items()}
    return found | _linear(device, torch.float16 if device.type == "cpu" else dtype) | _attention(device, dtype)


def _agree(ours: torch.Tensor, twin: torch.Tensor) -> bool:
    allowed = _CLOSE[twin.dtype]
    return bool(torch.allclose(ours.float(), twin.float(), atol=allowed, rtol=allowed))


def _noise(device: torch.device, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.randn(shape, device=device).to(dtype)


def _norm(device: torch.device, dtype: torch.dtype) -> bool:
    x, weight, residual = (_noise(device, dtype, *shape) for shape in ((5, 4096), (4096,), (5, 4096)))
    other = residual.clone()
    return _agree(rms_norm(x, weight, 1e-5, residual), rms_norm_torch(x, weight, 1e-5, other))


def _gated(device: torch.device, dtype: torch.dtype) -> bool:
    x = _noise(device, dtype, 5, 2 * 1536)
    return _agree(gated(x, "silu"), gated_torch(x, "silu"))


def _rope(device: torch.device, dtype: torch.dtype) -> bool:
    heads, kv_heads, dim = 8, 2, 128
    qkv = _noise(device, dtype, 4, (heads + 2 * kv_heads) * dim)
    rotation = Rotation(torch.rand(64, dim // 2, device=device), torch.rand(64, dim // 2, device=device))
    where, slots = torch.tensor([3, 9, 0, 63], device=device), torch.tensor([5, 1, 9, -1], device=device)
    found = []
    for write in (rope_write, rope_write_torch):
        data = torch.zeros(2, kv_heads, 18, dim, device=device, dtype=dtype)
        found.append((write(qkv, where, slots, rotation, LayerCache(data, None, 17), heads), data))
    return all(_agree(a, b) for a, b in zip(*found, strict=True))


def _int8(device: torch.device, dtype: torch.dtype) -> bool:
    x, weight = _noise(device, dtype, 3, 512), quantize(_noise(device, torch.float32, 96, 512) / 16)
    return _agree(int8_gemv(x, weight), int8_gemv_torch(x, weight))


def _linear(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Against torch's; rows alone against all together, and every tile against the first."""
    weight, bias = _noise(device, dtype, 160, 320) / 18, _noise(device, dtype, 160)
    x, tiles = _noise(device, dtype, 150, 320), agreeing(device, dtype)
    whole = linear(x, weight, bias, tiles[0])
    alone = torch.cat([linear(row.clone(), weight, bias, tiles[0]) for row in torch.split(x[:9], 1)])
    return {
        "linear": _agree(whole, linear_torch(x, weight, bias)),
        "linear, alone": torch.equal(whole[:9], alone),
        "linear, tiles": all(torch.equal(whole, linear(x, weight, bias, tile)) for tile in tiles),
    }


def _sampling(device: torch.device, dtype: torch.dtype) -> bool:
    kinds = [Sampling(temperature=0.7, top_p=0.8), Sampling(temperature=1.0, top_k=9), Sampling(temperature=1.3), None]
    draws = [None if kind is None else Draw(kind, i, 2 * i) for i, kind in enumerate(kinds)]
    logits = 4 * torch.randn(len(draws), 9000, device=device)
    rows = SamplingRows.of(draws, device)
    return torch.equal(sample(logits, rows, SamplingSpace(len(draws), 9000, device)), sample_torch(logits, rows))


def _attention(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Against torch's attention, decode and prefill; in exact mode also each span alone against all together."""
    heads = Heads(8, 2, 64)
    found: dict[str, Any] = {}
    for name, spans in (("decode", spans_of(300, 37, 5)), ("prefill", spans_of(70, 40, 2, 33))):
        cache = KVCache(1024, 1, heads.kv_heads, heads.dim, device, dtype)
        cache.data.normal_()
        cache.data[:, :, :, -2:] = 0
        rows = sum(span.count for span in spans)
        q, to = _noise(device, dtype, rows, heads.heads, heads.dim), np.full(rows, -1, np.int64)
        k, v = (_noise(device, dtype, rows, heads.kv_heads, heads.dim) for _ in range(2))
        twin = TorchAttention(cache, heads.heads, [None], exact=False).step(spans, to)(0, q, k, v)
        for mode in (True, False):
            ours = TritonAttention(cache, heads.heads, [None], mode)
            out = ours.step(spans, to)(0, q, k, v).clone()
            found[f"attention {name}, {'exact' if mode else 'fast'}"] = _agree(out, twin)
            if mode:
                alone = torch.cat([_one(ours, span, q, k, v) for span in spans])
                found[f"attention {name}, alone"] = torch.equal(out, alone)
    return found


def _one(attention: TritonAttention, span: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    mine = slice(span.first, span.first + span.count)
    moved = type(span)(0, span.start, span.count, span.slots)
    parts = (part[mine].contiguous() for part in (q, k, v))
    return attention.step([moved], np.full(span.count, -1, np.int64))(0, *parts).clone()


def same_bits(device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """Tokens and log-probabilities of requests together, one by one, with steps recorded and launched ahead or
    launched one by one."""
    stem = tuple(range(40))
    requests = [
        Request(
            (*stem, i), Sampling(max_tokens=5, temperature=0.5 * (i % 2), ignore_eos=True), key=i, logprobs=i % 3 == 0
        )
        for i in range(4)
    ]
    answers = []
    for together, recorded in ((True, True), (True, False), (False, False)):
        torch.manual_seed(1)  # the same weights
        made, _ = models.engine(models.TINY, device, dtype, True, 512)
        made._runner.graphs = record_steps(made._runner._attention) if recorded else None
        made._async = recorded  # and launched ahead, as they are in use
        _spoil(device)  # memory that a recorded step reads and does not keep would be this
        answers.append(_answers(made, requests, together))
        made.check()
        made.close()
    return {"recorded as launched": answers[0] == answers[1], "together as alone": answers[1] == answers[2]}


def firefly(device: torch.device, small: bool) -> dict[str, Any]:
    """The bundled model in float32, checkpoint, tokenizer and all: on this device as with torch on the CPU."""
    texts = ("text: the bill is wrong", "question: who is the oldest?", "The red fox", "1 + 2 =", "Dear Sir,", "name:")
    expected = _greedy(load_engine(_FIREFLY, backend="torch", device="cpu"), texts, small)
    found = _greedy(load_engine(_FIREFLY, backend="triton", device=device.type), texts, small)
    apart = [abs(a - b) for one, other in zip(expected, found, strict=True) for a, b in zip(one[1], other[1])]
    return {
        "tokens of torch on the CPU": [one[0] for one in expected] == [one[0] for one in found],
        "tokens": sum(len(one[0]) for one in found),
        "logprobs_apart": max(apart),
    }


def _greedy(made: Any, texts: tuple[str, ...], small: bool) -> list[tuple[list[int], list[float]]]:
    """Of each text its likeliest tokens, and their log-probabilities."""
    sampling = Sampling(max_tokens=4 if small else 48, ignore_eos=True)
    handles = [
        made.submit(Request(tuple(made.tokenizer.encode(text)), sampling, logprobs=True))
        for text in texts[: 2 if small else None]
    ]
    made.run()
    made.check()
    made.close()
    return [(list(h.completion.tokens), list(h.completion.logprobs)) for h in handles]


def _spoil(device: torch.device) -> None:
    """Leaves free memory of all small sizes full of numbers that are no index."""
    kept = [torch.full((1 << size,), -(1 << 40), device=device) for size in range(4, 16) for _ in range(32)]
    del kept


def _answers(made: Any, requests: list[Request], together: bool) -> list[Any]:
    handles = []
    for request in requests:
        handles.append(made.submit(request))
        if together:
            made.step()
            _spoil(made._runner._device)
        else:
            made.run()
            made.reset_cache()
    made.run()
    return [(h.completion.tokens, h.completion.logprobs, h.completion.error) for h in handles]
