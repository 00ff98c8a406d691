"""K/V to host memory and back: the same bits, streams that wait for each other, and how fast bytes cross."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import torch

from gpu_bench import models
from gpu_bench.timing import seconds
from lampc.backend.copies import Copies
from lampc.backend.kv_cache import KVCache
from lampc.backend.request import Request, Sampling
from lampc.backend.swap_rule import SwapRule
from lampc.backend.transfer import HostMemory, make_transfer

_SIZE = 16  # tokens of a block


def swap(device: torch.device, dtype: torch.dtype, small: bool) -> dict[str, Any]:
    """Verdicts, rates, and seconds to the first token of a prompt, computed and copied back."""
    blocks = 4 if small else 512
    layers, kv_heads, dim = (2, 2, 64) if small else (32, 8, 128)
    cache = KVCache(3 * blocks * _SIZE, layers, kv_heads, dim, device, dtype)
    return {**_bits(cache, blocks, 1 if small else 20), **_rates(cache, blocks), **_engine(device, dtype, small)}


def _copies(inward: bool, blocks: int, first: int) -> Copies:
    """Between host blocks from 0 on and slots from block `first` on."""
    made = Copies()
    for block in range(blocks):
        made.add(inward, block, 0, list(range((first + block) * _SIZE, (first + block + 1) * _SIZE)))
    return made


def _bits(cache: KVCache, blocks: int, rounds: int) -> dict[str, Any]:
    """Compute writes slots, they go out, it overwrites them at once; they come back elsewhere and are read at once.

    The host waits for nothing, so that only the streams' own order makes it right.
    """
    transfer = make_transfer(cache, blocks, _SIZE, triton=True)
    count, data = blocks * _SIZE, cache.data
    busy = torch.randn(512, 512, device=cache.device, dtype=torch.float32)
    wrong = torch.zeros((), dtype=torch.int64, device=cache.device)
    for step in range(rounds):
        for _ in range(8):  # something that takes a while
            busy = (busy @ busy).clamp_(-1.0, 1.0)
        noise = torch.randn(data[:, :, :, :count].shape, device=cache.device).to(data.dtype)
        data[:, :, :, :count] = noise
        transfer.run(_copies(False, blocks, 0))
        data[:, :, :, :count] = step
        transfer.run(_copies(True, blocks, blocks))
        wrong += (data[:, :, :, count : 2 * count] != noise).sum()
    return {"comes back with the same bits": not wrong.item()}


def _rates(cache: KVCache, blocks: int) -> dict[str, Any]:
    """Bytes per second out and in, and of a plain copy of a block from the same kind of host memory."""
    size = blocks * _SIZE * cache.key_bytes(cache.layers)
    transfer = make_transfer(cache, blocks, _SIZE, triton=True)
    out, back = (
        seconds(partial(transfer.run, _copies(inward, blocks, 0)), cache.device, repeat=3) for inward in (False, True)
    )
    block = HostMemory(cache, blocks, _SIZE).block(0)[0]
    here = torch.empty_like(block, device=cache.device)
    plain = seconds(lambda: here.copy_(block, non_blocking=True), cache.device)
    found = {"out_bytes_per_s": size / out, "in_bytes_per_s": size / back, "plain_bytes_per_s": block.nbytes / plain}
    return {**found, "share_of_plain": found["in_bytes_per_s"] / found["plain_bytes_per_s"]}


def _engine(device: torch.device, dtype: torch.dtype, small: bool) -> dict[str, Any]:
    """One long prompt, then others that take its place, then the same prompt again."""
    config, length = (models.TINY, 33) if small else (models.QWEN3_06B, 4097)
    made, _ = models.engine(config, device, dtype, True, length + 31, host_kv_tokens=2 * length)
    copy_s = made._tree.host.rule.copy_s
    made._tree.host.rule = SwapRule(0.0)  # copies, whatever is faster
    vocab = made.info.vocab_size
    prompts = [tuple((7 * i + 13 * j) % vocab for j in range(length)) for i in range(2)]
    answers, took = [], []
    for which in (0, 1, 0, 1, 0):
        handle = made.submit(Request(prompts[which], Sampling(max_tokens=2, ignore_eos=True)))
        begun = time.perf_counter()
        while not handle.sent:
            made.step()
        took.append(time.perf_counter() - begun)
        made.run()
        made.check()
        answers.append(handle.completion.tokens)
    stats = made.stats()
    made.close()
    return {
        "same tokens": answers[0] == answers[2] == answers[4] and answers[1] == answers[3],
        "swapped_in_tokens": stats.swapped_in_tokens,
        "prompt_tokens": length,
        "computed_s": took[1],
        "copied_back_s": took[4],
        "rule_copy_s_per_token": copy_s,
        "computed_s_per_token": took[1] / length,
    }
