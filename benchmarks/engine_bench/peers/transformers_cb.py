"""transformers' continuous batching: `generate_batch`, and its manager for requests that arrive one by one."""

from __future__ import annotations

import torch
from _harness import Item, Spec, serve
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

PAGE = 256
_POLL_S = 0.02


class ContinuousBatching:
    """The KV cache holds all requests at once, and no more: by default it takes most of the machine's memory."""

    def __init__(self, spec: Spec) -> None:
        torch.set_num_threads(spec.threads)
        self._model = AutoModelForCausalLM.from_pretrained(
            spec.folder, dtype=getattr(torch, spec.dtype), attn_implementation="sdpa", local_files_only=True
        ).eval()
        blocks = spec.requests * -(-spec.longest // PAGE) + 8
        self._config = ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=blocks, max_batch_tokens=spec.options.get("max_batch_tokens", 512)
        )
        self._manager = None
        self._seen: dict[int, int] = {}

    def _generation(self, out: int) -> GenerationConfig:
        return GenerationConfig(max_new_tokens=out, do_sample=False, eos_token_id=-1, pad_token_id=0)

    def generate(self, items: list[Item]) -> list[list[int]]:
        if len({i.out for i in items}) != 1:
            raise ValueError("generate_batch has one max_new_tokens for all")
        made = self._model.generate_batch(
            [i.prompt for i in items],
            generation_config=self._generation(items[0].out),
            continuous_batching_config=self._config,
        )
        out = [list(result.generated_tokens) for result in made.values()]
        if len(out) != len(items) or any(len(ids) != items[0].out for ids in out):
            raise RuntimeError(f"{len(items)} requests, but outputs of {[len(ids) for ids in out]} ids")
        return out

    def reset(self) -> None:
        if self._manager is not None:
            self._manager.stop(block=True)
            self._manager = None
        self._seen.clear()

    def submit(self, number: int, item: Item) -> None:
        if self._manager is None:
            self._manager = self._model.init_continuous_batching(
                generation_config=self._generation(64), continuous_batching_config=self._config
            )
            self._manager.start()
        self._seen[number] = 0
        self._manager.add_request(
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
