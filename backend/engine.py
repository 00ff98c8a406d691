"""The paged engine: `EngineCore` with a model behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lampc.backend.adapting import Adapting
from lampc.backend.api import EngineInfo
from lampc.backend.core import EngineCore
from lampc.backend.hooks import Hook
from lampc.backend.models.registry import Model
from lampc.backend.models.rows import Rows
from lampc.backend.runner import TorchRunner
from lampc.backend.speculation.options import Speculation
from lampc.backend.tokenizer import TextTokenizer


class PagedEngine(EngineCore, Adapting):
    """Continuous batching over a paged, prefix-shared KV cache of at least `kv_tokens` tokens; K/V of `host_kv_tokens`
    more waits in host memory."""

    def __init__(
        self,
        model: Model,
        tokenizer: TextTokenizer,
        info: EngineInfo,
        rows: Rows,
        *,
        device: torch.device,
        dtype: torch.dtype,
        int8: bool = False,
        kv_tokens: int,
        host_kv_tokens: int = 0,
        max_batch_tokens: int = 512,
        max_running: int = 64,
        max_waiting: int = 65536,
        prefix_cache: bool = True,
        chunk: int | None = None,
        policy: str = "priority",
        patience: int = 64,
        hooks: Sequence[Hook] = (),
        async_scheduling: bool = False,
        branch_rows: int = 16,
        speculative: Mapping[str, Any] | str | Speculation | None = None,
    ) -> None:
        slots = max(1, -(-kv_tokens // info.block_size)) * info.block_size
        runner = TorchRunner(model, rows, slots, device, dtype, int8)
        self.adapt(None, (info.digest,))
        size = info.block_size
        super().__init__(
            runner,
            tokenizer,
            info,
            kv_tokens=slots,
            host=runner.add_host_tier(-(-host_kv_tokens // size), size) if host_kv_tokens else None,
            max_batch_tokens=max_batch_tokens,
            max_running=max_running,
            max_waiting=max_waiting,
            prefix_cache=prefix_cache,
            chunk=chunk,
            policy=policy,
            patience=patience,
            hooks=hooks,
            async_scheduling=async_scheduling,
            branch_rows=branch_rows,
            speculative=speculative,
        )

    def _named(self) -> set[str | None]:
        return {job.request.adapter for job in self._jobs.values()}

    def _forget(self, name: str) -> None:
        with self._books:
            self._scheduler.lanes.settle()
            self._tree.drop_named(name)
