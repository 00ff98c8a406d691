"""Instructions out of edits of the present one: sentences dropped, swapped, moved, shortened. Needs no model that can
write."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lampc.passes.optimize.proposers.protocol import Drafted, Wish, dealt
from lampc.passes.optimize.protocol import OptimizeError, Problem

KINDS = ("drop", "swap", "shorten", "reorder")
_SENTENCE = re.compile(r"(?<=[.!?:;])\s+|\n+")
_CLAUSE = re.compile(r"\s*(?:[,;:]|\s[-\u2013]\s|\b(?:and|but|so that|because|which)\b)\s*")


@dataclass(frozen=True)
class Edits:
    """Edits of the best instruction that was tried, else of the present one, in an order drawn with `seed`.

    One edit makes one text; when those are used up, edits of these follow. `kinds` are of `drop` (leave a sentence
    out), `swap` (two neighbours), `shorten` (end a sentence where a clause ends) and `reorder` (move a sentence to the
    front or the back).
    """

    name: ClassVar[str] = "edits"
    kinds: tuple[str, ...] = KINDS
    seed: int = 0

    def begin(self, problem: Problem, wishes: Sequence[Wish]) -> Drafted:
        for kind in self.kinds:
            if kind not in KINDS:
                raise OptimizeError(f"{self.name}: there is no edit `{kind}`; known: {', '.join(KINDS)}")
        wanted: dict[str, list[Wish]] = {}
        for wish in wishes:
            wanted.setdefault(wish.predictor.symbol, []).append(wish)
        return dealt(wishes, {name: self._texts(group) for name, group in wanted.items()})

    def files(self, problem: Problem) -> object:
        return None

    def calls(self, problem: Problem, wishes: int) -> int:
        return 0

    def _texts(self, wishes: Sequence[Wish]) -> list[str]:
        """As many new texts as there are wishes, or all that there are."""
        wish = wishes[0]
        start = wish.attempts[-1][0] if wish.attempts else wish.instruction
        rng = random.Random(f"{self.seed} {start}")
        seen, made, last = {start, *wish.known()}, list[str](), [start]
        while last and len(made) < len(wishes):
            found = dict.fromkeys(text for old in last for text in edits(old, self.kinds))
            last = [text for text in found if text not in seen]
            rng.shuffle(last)
            seen.update(last)
            made += last
        return made


def edits(text: str, kinds: Sequence[str] = KINDS) -> Iterator[str]:
    """Every text that one edit makes out of `text`, which is never among them; some may be equal."""
    parts = sentences(text)
    n = len(parts)
    made: list[list[str]] = []
    if "drop" in kinds and n > 1:
        made += [parts[:i] + parts[i + 1 :] for i in range(n)]
    if "swap" in kinds:
        made += [[*parts[:i], parts[i + 1], parts[i], *parts[i + 2 :]] for i in range(n - 1)]
    if "shorten" in kinds:
        made += [[*parts[:i], short, *parts[i + 1 :]] for i in range(n) for short in _shortened(parts[i])]
    if "reorder" in kinds:
        made += [[parts[i], *parts[:i], *parts[i + 1 :]] for i in range(2, n)]
        made += [[*parts[:i], *parts[i + 1 :], parts[i]] for i in range(n - 2)]
    yield from (t for t in (" ".join(m) for m in made) if t != text)


def sentences(text: str) -> list[str]:
    """The sentences of a text, without the space around them."""
    return [s.strip() for s in _SENTENCE.split(text.strip()) if s.strip()]


def _shortened(sentence: str) -> list[str]:
    """The sentence up to each end of a clause, with its own end."""
    end = sentence[-1] if sentence[-1] in ".!?:;" else ""
    body = sentence[: len(sentence) - len(end)]
    starts = [body[: m.start()].rstrip() for m in _CLAUSE.finditer(body)]
    return [s + end for s in starts if len(s.split()) > 1]
