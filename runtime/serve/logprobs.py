"""Probabilities of tokens, in the two forms that OpenAI's API has for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lampc.backend.grammar.vocabulary import Spelling

Top = Sequence[tuple[int, float]]


class CompletionLogprobs:
    """The form of completions: parallel lists. `offset` is where the text of the next token begins."""

    def __init__(self, spelling: Spelling, count: int, offset: int = 0) -> None:
        self._spelling, self._count, self._offset = spelling, count, offset

    def of(self, tokens: Sequence[int], logprobs: Sequence[float | None], top: Sequence[Top]) -> dict[str, Any]:
        """The lists for tokens that follow those asked for before."""
        texts = [self._spelling.text(t) for t in tokens]
        offsets = []
        for text in texts:
            offsets.append(self._offset)
            self._offset += len(text)
        likeliest: list[dict[str, float] | None] | None = None
        if self._count:
            likeliest = []
            for text, logprob, found in zip(texts, logprobs, top, strict=True):
                if logprob is None:  # nothing stands before the first
                    likeliest.append(None)
                    continue
                named = {self._spelling.text(t): p for t, p in reversed(found[: self._count])}
                likeliest.append({**named, text: named.get(text, logprob)})
        return {"tokens": texts, "token_logprobs": list(logprobs), "top_logprobs": likeliest, "text_offset": offsets}


def chat_logprobs(
    spelling: Spelling, tokens: Sequence[int], logprobs: Sequence[float], top: Sequence[Top]
) -> dict[str, Any]:
    """The form of chat completions: one record for each token."""
    likeliest: Sequence[Top] = top or [()] * len(tokens)
    content = [
        {**_token(spelling, t, p), "top_logprobs": [_token(spelling, *pair) for pair in found]}
        for t, p, found in zip(tokens, logprobs, likeliest, strict=True)
    ]
    return {"content": content, "refusal": None}


def _token(spelling: Spelling, token: int, logprob: float) -> dict[str, Any]:
    return {"token": spelling.text(token), "logprob": logprob, "bytes": list(spelling.bytes(token))}
