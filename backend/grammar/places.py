"""The few ways on from a place in an answer that leaves little choice: a label, a truth value, one of several literals.

All texts that can follow are found, up to the end of the answer or to where many things can follow, and cut into tokens
as the tokenizer cuts them. Where they part, there are *places*: the same grammar some tokens further on, with what may
be drawn there. Whoever computes the tokens of all places beside the first one knows what is drawn at each of them, in
one step. A model may spell a text by other tokens, which lead to none of these places; then nothing is known of it.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from lampc.backend.errors import BackendError
from lampc.backend.grammar.matcher import Matcher, Words

MOST_TEXTS = 64
MOST_TOKENS = 24
"""Of all places together."""
_OPEN = 64
"""Where more tokens than this may follow, and none of them is the beginning of another, there is no closed set."""
_STEPS = 512
_MARK = 8
"""Bytes that must follow, which are taken for the end of a value."""
_KEPT = 512


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where an answer stands after `path`, the tokens behind the first place (drawn ones, and those forced after each).

    The last of them, from `begin` on, are behind the place `above` (-1: the first); `mask` is what may be drawn.
    """

    path: tuple[int, ...]
    begin: int
    above: int
    mask: Words

    @property
    def count(self) -> int:
        """Tokens that are behind the place above."""
        return len(self.path) - self.begin


class Places:
    """The places that follow some beginnings of answers; those of the last ones are kept."""

    def __init__(self) -> None:
        self._found: OrderedDict[object, tuple[Place, ...]] = OrderedDict()

    def after(self, grammar: str, matcher: Matcher, run: Sequence[int], stops: frozenset[int]) -> tuple[Place, ...]:
        """The places behind the one where `matcher` stands, in an answer whose last tokens are `run`: parents first,
        none if it leaves much choice. They are those of the first answer that ended like this, which may have begun
        otherwise: what a place says is only true where its mask is that of the answer itself."""
        key = grammar, tuple(run), stops
        found = self._found.pop(key, None)
        if found is None:
            try:
                found = _places(matcher.copy(), run, stops)
            except BackendError:  # too much work for the grammar: the answer itself may still be simple
                found = ()
        self._found[key] = found
        while len(self._found) > _KEPT:
            self._found.popitem(last=False)
        return found


def _places(matcher: Matcher, run: Sequence[int], stops: frozenset[int]) -> tuple[Place, ...]:
    texts = _texts(matcher) or _texts(matcher, 2) or _texts(matcher, 1) or []
    if len(texts) < 2:
        return ()
    vocabulary, known = matcher.vocabulary, tuple(run)
    written = vocabulary.spelled(known)
    cuts = [tuple(vocabulary.cut(written + text)) for text in texts]
    ways = sorted({cut[len(known) :] for cut in cuts if cut[: len(known)] == known})
    found: list[Place] = []
    left = MOST_TOKENS
    near: list[_Next] = []  # a heap: the nearest place first
    _go_on(near, matcher, ways, (), -1)
    while near:
        there, rest, path, begin, above = heappop(near).where
        if len(path) - begin > left:
            continue
        left -= len(path) - begin
        there.stop_at(stops)
        found.append(Place(path, begin, above, there.mask().copy()))
        _go_on(near, there, rest, path, len(found) - 1)
    return tuple(found)


@dataclass(frozen=True, slots=True, order=True)
class _Next:
    """A place that may be taken in: after how many tokens, which of those that are as near, and what is known of it."""

    tokens: int
    number: int
    where: "tuple[Matcher, list[tuple[int, ...]], tuple[int, ...], int, int]" = field(compare=False)


def _go_on(near: list[_Next], here: Matcher, ways: list[tuple[int, ...]], path: tuple[int, ...], above: int) -> None:
    """Adds the places that follow one, from which `ways` lead on."""
    for token in dict.fromkeys(way[0] for way in ways if way):
        there = here.copy()
        if not there.take(token):
            continue
        more = (token, *there.forced())
        rest = [way[len(more) :] for way in ways if way[: len(more)] == more]
        if not (there.ended or there.failure) and any(rest):
            end = (*path, *more)
            heappush(near, _Next(len(end), len(near), (there, rest, end, len(path), above)))


def _texts(matcher: Matcher, marks: int = MOST_TEXTS) -> list[bytes] | None:
    """What can follow, in bytes, as far as there is little choice, or up to so many marks (longer texts that must
    follow, such as the name of the next field); None if there are too many such texts.

    Each text begins with one token that may follow and is the beginning of no other one that may: so every text is
    found once, however it could be cut into tokens.
    """
    vocabulary = matcher.vocabulary
    found: list[bytes] = []
    todo = [(matcher.copy(), b"", marks)]
    for _ in range(_STEPS):
        if not todo:
            return found
        here, text, left = todo.pop()
        forced = vocabulary.spelled(here.forced())
        left -= bool(text) and len(forced) >= _MARK
        text += forced
        if here.failure:
            return None
        if here.ended or not left:
            found.append(text)
        else:
            allowed = _allowed(here.mask(), 8 * _OPEN + len(vocabulary.ends))
            tokens = [token for token in allowed if token not in vocabulary.ends]
            first = _shortest(tokens, vocabulary.spelled) if len(tokens) <= 8 * _OPEN else {}
            if len(tokens) < len(allowed) or not 0 < len(first) <= _OPEN:  # it may end here, or much may follow
                found.append(text)
            for token, spelled in first.items() if len(first) <= _OPEN else ():
                there = here.copy()
                if there.take(token):
                    todo.append((there, text + spelled, left))
        if len(found) + len(todo) > MOST_TEXTS:
            return None
    return None


def _allowed(mask: Words, most: int) -> list[int]:
    """The ids that a mask lets through, in order; none if they are more than `most`, which is found out first."""
    if int(np.bitwise_count(mask.view(np.uint32)).sum()) > most:
        return []
    words = np.flatnonzero(mask)
    at, bit = np.nonzero(np.unpackbits(mask[words].view(np.uint8), bitorder="little").reshape(-1, 32))
    ids: list[int] = (32 * words[at] + bit).tolist()
    return ids


def _shortest(tokens: Sequence[int], spelled: Callable[[Sequence[int]], bytes]) -> dict[int, bytes]:
    """Those tokens that begin with no other of them, with what they spell."""
    made: dict[int, bytes] = {}
    last: bytes | None = None
    for text, token in sorted((spelled((token,)), token) for token in tokens):
        if text and (last is None or not text.startswith(last)):
            made[token], last = text, text
    return made
