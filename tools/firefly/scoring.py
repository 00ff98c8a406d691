"""Is an answer what greedy decoding would write?  One forward pass tells.

If every token of the wanted answer is the most likely one given the tokens
before it, greedy decoding writes exactly this answer; otherwise it does not.
"""

from __future__ import annotations

import numpy as np
import torch
from tokenizers import Tokenizer

from firefly.batches import collate
from firefly.dense import Row
from firefly.episodes import text_of
from firefly.model import Firefly
from firefly.prompts import Message


class Scorer:
    """Scores the assistant turns of conversations."""

    def __init__(self, model: Firefly, tokenizer: Tokenizer, budget: int = 8192) -> None:
        self.model, self.tokenizer, self.budget = model.eval(), tokenizer, budget
        self.assistant: int = tokenizer.encode("<|assistant|>").ids[0]
        self.end: int = tokenizer.encode("<|end|>").ids[0]

    def turns(self, conversations: list[list[Message]]) -> list[list[bool]]:
        """For each conversation, whether each assistant message is written exactly."""
        encoded = [self.tokenizer.encode(text_of(c)).ids for c in conversations]
        order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
        results: list[list[bool]] = [[] for _ in encoded]
        chunk: list[int] = []
        for index in order:
            if chunk and (len(chunk) + 1) * len(encoded[index]) > self.budget:
                self._chunk(chunk, encoded, results)
                chunk = []
            chunk.append(index)
        if chunk:
            self._chunk(chunk, encoded, results)
        return results

    def last(self, conversations: list[list[Message]]) -> list[bool]:
        """Whether the last assistant message of each conversation is written exactly."""
        return [turns[-1] for turns in self.turns(conversations)]

    def _chunk(self, chunk: list[int], encoded: list[list[int]], results: list[list[bool]]) -> None:
        spans: list[tuple[int, int, int]] = []
        rows: list[list[Row]] = []
        for index in chunk:
            ids = encoded[index]
            weights = [0.0] * len(ids)
            starts = [at for at, token in enumerate(ids) if token == self.assistant]
            for start in starts:
                stop = ids.index(self.end, start)
                spans.append((index, start, stop))
                weights[start + 1 : stop + 1] = [1.0] * (stop - start)
            rows.append([(ids, weights)])
        batch = collate(rows, len(encoded[chunk[-1]]), "cpu")
        with torch.no_grad():
            hidden = self.model(batch.ids, batch.positions, batch.mask)
            picked = hidden.reshape(-1, hidden.shape[-1])[batch.where]
            right = ((picked @ self.model.embed.t()).argmax(-1) == batch.targets).numpy()
        at = 0
        for index, start, stop in spans:
            size = stop - start
            results[index].append(bool(np.all(right[at : at + size])))
            at += size
