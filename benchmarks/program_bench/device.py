"""Engines on one device: fresh queue, tree and books for each run, over one model, one cache and the steps recorded."""

from __future__ import annotations

from typing import Any

import torch
from gpu_bench import models

from lampc.backend import EngineInfo, Tokenizer
from lampc.backend.core import EngineCore
from lampc.backend.simulated import SimulatedEngine
from lampc.runtime.costs import StepCost
from lampc.runtime.pool import firefly_folder
from program_bench.desk import Rival

SHAPES = {"llama-8b": models.LLAMA_8B, "qwen3-0.6b": models.QWEN3_06B}
RUNNING, BATCH = 256, 2048
"""Requests that run at a time, and tokens of a step, at most."""


class Device:
    """A model of random weights on a device, in exact mode or not, with room for `kv_tokens`; on a CPU by torch."""

    def __init__(self, config: dict[str, Any], device: torch.device, dtype: torch.dtype, exact: bool, kv: int) -> None:
        self.kv_tokens, self.tokenizer = kv, Tokenizer.load(firefly_folder())
        made, self.weight_bytes = models.engine(config, device, dtype, exact, kv, by_triton=device.type == "cuda")
        self.runner = made._runner
        self._grammars: Any = None
        self.info = EngineInfo("programs", config["vocab_size"], 1 << 15, 6144, 16, exact, "programs")

    def engine(self, kv_tokens: int, way: Rival | None) -> EngineCore:
        """One that nobody has used. Steps are launched ahead."""
        assert kv_tokens <= self.kv_tokens
        options = self._options(kv_tokens, way)
        made = EngineCore(self.runner, self.tokenizer, self.info, async_scheduling=True, **options)
        self._grammars = made._grammars = (
            self._grammars or made._grammars
        )  # what they know of tokens belongs to a model
        return made

    def simulated(self, kv_tokens: int, way: Rival | None, cost: StepCost) -> SimulatedEngine:
        """One that computes nothing, and schedules as that does."""
        return SimulatedEngine(self.tokenizer, self.info, cost, **self._options(kv_tokens, way))

    def _options(self, kv_tokens: int, way: Rival | None) -> dict[str, Any]:
        return {
            "kv_tokens": kv_tokens,
            "max_batch_tokens": BATCH,
            "max_running": RUNNING,
            "prefix_cache": way is None or way.prefix_cache,
            "policy": "warm" if way is None else "priority",
            "branch_rows": 256,
        }

    @property
    def recorded(self) -> int:
        """How many steps were recorded so far."""
        graphs = self.runner.graphs
        return 0 if graphs is None else int(graphs.recorded)
