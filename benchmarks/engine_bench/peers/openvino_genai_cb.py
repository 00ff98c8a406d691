"""OpenVINO GenAI's ContinuousBatchingPipeline; `options["exported"]` is the folder that `export` made."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai
from _harness import Item, Spec, serve, warm_up


class ContinuousBatching:
    """Prefix caching on. Its cache cannot be emptied: for each measurement the pipeline is made anew."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._handles: dict[int, Any] = {}
        self.reset()

    def reset(self) -> None:
        spec = self._spec
        scheduler = genai.SchedulerConfig()
        scheduler.cache_size = spec.options.get("cache_gb", 2)
        scheduler.enable_prefix_caching = True
        scheduler.max_num_seqs = max(8, spec.requests)
        scheduler.max_num_batched_tokens = spec.options.get("max_batch_tokens", 512)
        hint = {"bfloat16": "bf16", "float32": "f32"}[spec.dtype]
        properties = {"INFERENCE_NUM_THREADS": spec.threads, "INFERENCE_PRECISION_HINT": hint}
        self._handles.clear()
        self._pipe: Any = None
        self._pipe = genai.ContinuousBatchingPipeline(spec.options["exported"], scheduler, "CPU", properties)
        warm_up(self, 1000)

    def generate(self, items: list[Item]) -> list[list[int]]:
        made = self._pipe.generate([_prompt(i) for i in items], [_config(i) for i in items])
        return [list(result.m_generation_ids[0]) for result in made]

    def submit(self, number: int, item: Item) -> None:
        self._handles[number] = self._pipe.add_request(number, _prompt(item), _config(item))

    def step(self) -> list[tuple[int, int, bool]]:
        self._pipe.step()
        moved = []
        for number, handle in list(self._handles.items()):
            fresh = 0
            while handle.can_read():
                fresh += sum(len(output.generated_ids) for output in handle.read().values())
            over = handle.get_status() != genai.GenerationStatus.RUNNING
            if fresh or over:
                moved.append((number, fresh, over))
            if over:
                del self._handles[number]
        return moved


def _prompt(item: Item) -> ov.Tensor:
    return ov.Tensor(np.array([item.prompt], dtype=np.int64))


def _config(item: Item) -> genai.GenerationConfig:
    return genai.GenerationConfig(max_new_tokens=item.out, ignore_eos=True, do_sample=False)


if __name__ == "__main__":
    serve(ContinuousBatching, "openvino-genai", "openvino", "optimum-intel")
