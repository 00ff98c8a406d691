"""transformers' `generate`: one padded batch, dynamic cache, SDPA."""

from __future__ import annotations

from typing import Any

import torch
from _harness import Item, Spec, serve, warm_up
from transformers import AutoModelForCausalLM

PAD = 0


class Generate:
    """Prompts are padded on the left to the longest; all get the longest output."""

    def __init__(self, spec: Spec) -> None:
        torch.set_num_threads(spec.threads)
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            spec.folder, dtype=getattr(torch, spec.dtype), attn_implementation="sdpa", local_files_only=True
        ).eval()  # type: ignore[no-untyped-call]
        warm_up(self, self._model.config.vocab_size)

    @torch.inference_mode()
    def generate(self, items: list[Item]) -> list[list[int]]:
        longest, out = max(len(i.prompt) for i in items), max(i.out for i in items)
        ids = torch.tensor([[PAD] * (longest - len(i.prompt)) + i.prompt for i in items])
        mask = torch.tensor([[0] * (longest - len(i.prompt)) + [1] * len(i.prompt) for i in items])
        made = self._model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=out,
            min_new_tokens=out,
            eos_token_id=None,
            pad_token_id=PAD,
        )
        return [row[longest : longest + i.out].tolist() for row, i in zip(made, items)]

    @torch.inference_mode()
    def score(self, items: list[Item], ids: list[list[int]]) -> dict[str, Any]:
        """ln p of given ids after each prompt, one request after the other."""
        out = []
        for item, wanted in zip(items, ids):
            whole = torch.tensor([item.prompt + wanted])
            logits = self._model(whole, use_cache=False, logits_to_keep=len(wanted) + 1).logits[0, :-1].float()
            picked = torch.log_softmax(logits, -1).gather(1, torch.tensor(wanted)[:, None])
            out.append(picked[:, 0].tolist())
        return {"logprobs": out}


if __name__ == "__main__":
    serve(Generate, "torch", "transformers")
