"""Probabilities of tokens, in the two forms that OpenAI's API has for them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from lampc.backend.grammar.vocabulary import Spelling

Top = Sequence[tuple[int, float]]


class CompletionLogprobs:
    """The form of completions: parallel lists, of the likeliest `count` tokens each."""

    def __init__(self, spelling: Spelling, count: int) -> None:
        self._spelling, self._count = spelling, count
        self._offset = 0  # in characters: where the next token begins
        self._characters = codecs.getincrementaldecoder("utf-8")("replace")

    def of(
        self, tokens: Sequence[int], logprobs: Sequence[float | None], top: Sequence[Top], whole: str | None = None
    ) -> dict[str, Any]:
        """The lists for tokens that follow those asked for before. `whole`: the text that all offsets point into, where
        it is known; it may lack spaces and special tokens that the tokenizer puts in."""
        texts = [self._spelling.text(t) for t in tokens]
        offsets = []
        for token in tokens:
            spelled = self._spelling.bytes(token)
            if not 0x80 <= (spelled or b"a")[0] < 0xC0:  # what was begun before is no character
                self._pass(self._characters.decode(b"", final=True), whole)
            offsets.append(self._offset)
            self._pass(self._characters.decode(spelled), whole)
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

    def _pass(self, text: str, whole: str | None) -> None:
        """Go on to where the next token begins; tokens that are parts of one character all begin with it."""
        if whole is None:
            self._offset += len(text)
        elif text not in self._spelling.special or whole.startswith(text, self._offset):
            for character in text:
                found = whole[self._offset : self._offset + 1]
                self._offset += bool(found) and (found == character or character != " ")


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
