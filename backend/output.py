"""What a request has generated so far: stopping ids, stop strings, the running text."""

from array import array
from collections.abc import Sequence
from numbers import Integral

import numpy as np

from lampc.backend.request import Sampling
from lampc.backend.tokenizer import TextTokenizer


class TextStream:
    """Text of a growing token sequence, decoded piece by piece; an unfinished character is held back."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._anchor = 0  # decoding starts here, so that joints of pieces come out right
        self._read = 0
        self.text = ""

    @property
    def pending(self) -> bool:
        """Whether the last tokens are part of a character that is not whole yet."""
        return self._read < len(self._ids)

    def push(self, token: int) -> None:
        """Adds a token to the text."""
        self._ids.append(token)
        before = self._tokenizer.decode(self._ids[self._anchor : self._read])
        after = self._tokenizer.decode(self._ids[self._anchor :])
        # A character has four bytes at most: what is no text after so many more tokens never will be.
        if not after.endswith("\ufffd") or len(self._ids) - self._read >= _PATIENCE:
            piece = after[len(before) :]
            self.text += piece
            # What has no text, as special tokens, is no joint: who strips a text's first space would strip one here.
            if piece or len(self._ids) - self._anchor >= _PATIENCE:
                self._anchor = self._read
            self._read = len(self._ids)


_PATIENCE = 32


class TextPieces:
    """Text to show while it is generated: whole characters only, and nothing a stop string could take back.

    The pieces, joined, are the completion's text.
    """

    def __init__(self, sampling: Sampling, tokenizer: TextTokenizer) -> None:
        self._stream = TextStream(tokenizer)
        self._stop = sampling.stop
        self._reach = max((len(s) for s in sampling.stop), default=0)
        self._free = sampling.min_tokens - 1  # tokens still to come that no stop string can cut
        self._shown = 0

    def push(self, token: int) -> str:
        """Takes a token of the output; gives text that is now sure, maybe none."""
        known = len(self._stream.text)
        self._stream.push(token)
        if not self._stop:
            return self._show(len(self._stream.text))
        self._free -= 1
        hit = find_stop(self._stream.text, known, self._stop) if self._free < 0 else None
        return self._show(self._sure() if hit is None else hit[0])

    @property
    def held(self) -> bool:
        """Whether tokens that were pushed have text that is not sure yet."""
        return self._shown < len(self._stream.text) or self._stream.pending

    def end(self, text: str) -> str:
        """What is left, once the completion's `text` is known."""
        # Decoded whole, bytes that are no text may come out as fewer or more characters than piece by piece.
        shown = self._stream.text[: self._shown]
        return text[self._shown :] if text.startswith(shown) else ""

    def _show(self, end: int) -> str:
        piece = self._stream.text[self._shown : end]
        self._shown = max(self._shown, end)
        return piece

    def _sure(self) -> int:
        """Where the longest end of the text begins that could be the beginning of a stop string."""
        text = self._stream.text
        for at in range(max(self._shown, len(text) - self._reach), len(text)):
            tail = text[at:]
            if any(s.startswith(tail) for s in self._stop):
                return at
        return len(text)


class Output:
    """Takes tokens until a reason to stop shows. `room` bounds the number of tokens (the context's end)."""

    def __init__(self, sampling: Sampling, tokenizer: TextTokenizer, room: int) -> None:
        self._sampling = sampling
        self._tokenizer = tokenizer
        self._limit = min(sampling.max_tokens, room)
        eos = frozenset() if sampling.ignore_eos else tokenizer.eos_ids
        self._stop_ids = eos | frozenset(sampling.stop_ids)
        self._stream = TextStream(tokenizer) if sampling.stop else None
        self._ends: list[int] = []  # where each token's text ends; one more if its character is not whole
        self._cut = -1
        self.tokens: list[int] = []
        self.done = False
        self.reason: str | int | None = None
        self.bounded = False  # a grammar may end it
        self._whole = False

    @property
    def limit(self) -> int:
        """The most tokens there can be."""
        return self._limit

    @property
    def stop_ids(self) -> frozenset[int]:
        """Ids that end it, or would if there were enough tokens."""
        return self._stop_ids

    @property
    def quiet(self) -> bool:
        """Whether the text is of no matter to where it ends."""
        return self._stream is None

    @property
    def certain(self) -> bool:
        """Whether there will be exactly `limit` tokens, whatever they are."""
        if self.bounded:
            return False
        return not (self._stop_ids or self._stream) or self._sampling.min_tokens >= self._limit

    @property
    def stopped(self) -> bool:
        """Done because of a stopping id or string, or a grammar's end, rather than at the limit."""
        return self.reason is not None or self._whole

    @property
    def banned(self) -> frozenset[int]:
        """Ids that must not be drawn now."""
        return self.banned_at(len(self.tokens))

    def banned_at(self, index: int) -> frozenset[int]:
        """Ids that must not be drawn as token `index` of the output."""
        return self._stop_ids if index < self._sampling.min_tokens else frozenset()

    def push(self, token: int, forced: bool = False) -> bool:
        """Takes a token; True if it belongs to the output (a stopping id does not, unless a grammar forced it)."""
        if not forced and token in self._stop_ids and len(self.tokens) >= self._sampling.min_tokens:
            self.done, self.reason = True, token
            return False
        self.tokens.append(token)
        if self._stream is not None:
            self._find_stop(token)
        if len(self.tokens) >= self._limit:
            self.done = True
        return True

    def end(self) -> None:
        """Its grammar lets nothing follow."""
        self.done = self._whole = True

    def _find_stop(self, token: int) -> None:
        assert self._stream is not None
        stream = self._stream
        known = len(stream.text)
        stream.push(token)
        self._ends.append(len(stream.text) + stream.pending)
        if len(self.tokens) < self._sampling.min_tokens:
            return
        hit = find_stop(stream.text, known, self._sampling.stop)
        if hit is not None:
            self._cut, self.reason = hit
            self.done = True

    def result(self) -> tuple[tuple[int, ...], str]:
        """The tokens and the text to report."""
        if self._cut < 0:
            return tuple(self.tokens), self._tokenizer.decode(self.tokens)
        assert self._stream is not None
        kept = sum(end <= self._cut for end in self._ends)
        return tuple(self.tokens[:kept]), self._stream.text[: self._cut]


def find_stop(text: str, known: int, stop: Sequence[str]) -> tuple[int, str] | None:
    """The earliest stop string (of these the longest) that ends after `known` characters, and where it begins."""
    hits = [(at, s) for s in stop if (at := text.find(s, max(0, known - len(s) + 1))) >= 0]
    return min(hits, key=lambda hit: (hit[0], -len(hit[1])), default=None)


def check_ids(ids: Sequence[int], vocab_size: int, what: str) -> None:
    """Raises ValueError if an id is not a whole number or not in the vocabulary."""
    try:  # a sum is an int only if all are: prompts are long, and nearly all are right
        if not ids or (type(sum(ids)) is int and np.frombuffer(array("I", ids), np.uint32).max() < vocab_size):
            return
    except (TypeError, OverflowError):
        pass
    if not all(isinstance(token, Integral) for token in ids):
        raise ValueError(f"{what} is {ids!r:.80}; give whole numbers, the ids of tokens")
    for i, token in enumerate(ids):
        if not 0 <= token < vocab_size:
            raise ValueError(f"{what}[{i}] is {token}; the vocabulary has ids 0 to {vocab_size - 1}")
