"""transformers' continuous batching: the manager behind `generate_batch`, which is made before time runs."""

from __future__ import annotations

from typing import Any

import torch
from _harness import Item, Spec, serve, warm_up
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching import ContinuousBatchingManager

PAGE = 256
_POLL_S = 0.02


class ContinuousBatching:
    """The KV cache holds all requests at once, and no more: by default it takes most of the machine's memory."""

    def __init__(self, spec: Spec) -> None:
        torch.set_num_threads(spec.threads)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            spec.folder, dtype=getattr(torch, spec.dtype), attn_implementation="sdpa", local_files_only=True
        ).eval()  # type: ignore[no-untyped-call]
        blocks = spec.requests * -(-spec.longest // PAGE) + 8
        self._config = ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=blocks, max_batch_tokens=spec.options.get("max_batch_tokens", 512)
        )
        self._manager: ContinuousBatchingManager | None = None
        self._seen: dict[int, int] = {}
        warm_up(self, self._model.config.vocab_size)

    def _start(self) -> ContinuousBatchingManager:
        if self._manager is None:
            self._manager = self._model.init_continuous_batching(
                generation_config=GenerationConfig(  # type: ignore[no-untyped-call]
                    max_new_tokens=64, do_sample=False, eos_token_id=-1, pad_token_id=0
                ),
                continuous_batching_config=self._config,
            )
            self._manager.start()
        return self._manager

    def prepare(self, items: list[Item]) -> None:
        """The cache is allocated, and the manager's thread runs, before the time does."""
        self._start()

    def generate(self, items: list[Item]) -> list[list[int]]:
        if len({i.out for i in items}) != 1:
            raise ValueError("its requests of a batch have one max_new_tokens")
        manager = self._start()
        names = manager.add_requests([i.prompt for i in items], max_new_tokens=items[0].out)
        made: dict[str, list[int]] = {}
        while len(made) < len(items):
            result = manager.get_result(timeout=1)
            if result is None and not manager.is_running():
                raise RuntimeError("its thread has ended")
            if result is not None and result.error is not None:
                raise RuntimeError(result.error)
            if result is not None and result.is_finished():
                made[result.request_id] = list(result.generated_tokens)
        return [made[name] for name in names]

    def reset(self) -> None:
        if self._manager is not None:
            self._manager.stop(block=True)
            self._manager.destroy()
            self._manager = None
        self._seen.clear()

    def submit(self, number: int, item: Item) -> None:
        self._seen[number] = 0
        self._start().add_request(
            item.prompt, request_id=str(number), max_new_tokens=item.out, streaming=True, eos_token_id=-1
        )

    def step(self) -> list[tuple[int, int, bool]]:
        assert self._manager is not None
        result = self._manager.get_result(timeout=_POLL_S)
        if result is None:
            if not self._manager.is_running():
                raise RuntimeError("its thread has ended")
            return []
        if result.error is not None:
            raise RuntimeError(result.error)
        number = int(result.request_id)
        fresh = len(result.generated_tokens) - self._seen[number]
        self._seen[number] += fresh
        return [(number, fresh, result.is_finished())]

    def close(self) -> None:
        self.reset()


if __name__ == "__main__":
    serve(ContinuousBatching, "torch", "transformers")
