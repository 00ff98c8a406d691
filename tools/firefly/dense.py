"""Dense rows that teach copying and matching before any task is shown.

A mixture of tasks alone stalls at guessing one of the labels it has seen.
Rows in which almost every token can be predicted by looking back make the
attention heads for "find the same thing and take what follows" appear early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from tokenizers import Tokenizer

from firefly.tasks_lists import HELD_LABELS, SEEN_KINDS
from firefly.tokenizer import ASSISTANT, END, USER
from firefly.words import (
    CATEGORIES,
    CITIES,
    DRINKS,
    JOBS,
    LABELS,
    NAMES,
    NEGATIVE,
    POSITIVE,
    PROBLEMS,
    TOPIC_WORDS,
    all_words,
)

Row = tuple[list[int], list[float]]
"""Token ids and, for each, the weight of the loss for predicting it."""

DENSE_WEIGHT = 0.4
"""Dense rows have several times the supervised tokens of a task row; this keeps them in proportion."""

RELATIONS: list[tuple[str, list[str]]] = [
    ("likes", CATEGORIES["fruit"] + CATEGORIES["food"]),
    ("drinks", DRINKS),
    ("lives in", CITIES),
    ("owns a", CATEGORIES["animal"]),
    ("works as a", JOBS),
    ("plays", CATEGORIES["sport"] + CATEGORIES["instrument"]),
    ("wears a", CATEGORIES["clothes"]),
    ("holds the", CATEGORIES["tool"]),
    ("is in", CITIES),
    ("sees the", CATEGORIES["vehicle"]),
]


@dataclass(frozen=True)
class Mix:
    """Shares of the kinds of rows; of lookups, the share written as turns and the weight of a label that is known."""

    repeat: float
    lookup: float
    cloze: float
    kinds: float = 0.0
    turns: float = 0.5
    sure: float = 1.0


LOOKING_BACK = Mix(0.45, 0.25, 0.30)
"""While looking back is learnt."""
LOOKING_ALIKE = Mix(0.15, 0.15, 0.25, 0.45)
"""Once it is: most rows ask for what followed something of the same kind."""
ACROSS_TURNS = Mix(0.08, 0.32, 0.15, 0.45, turns=0.85, sure=2.5)
"""The same from turn to turn, where key and label stand further apart."""


class DenseRows:
    """Makes repeat, lookup, cloze and kinds rows straight from token ids."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        def one(word: str) -> int:
            ids: list[int] = tokenizer.encode(word).ids
            return ids[0]

        self.words = [one(word) for word in all_words()]
        self.names = [one(word) for word in NAMES]
        self.labels = [one(word) for word in LABELS] + self.words[:800]
        self.numbers = [one(str(number)) for number in range(200)]
        self.syllables = [tokenizer.encode(f"a\n{c}{v}").ids[-1] for c in "bdfgklmnprstvz" for v in "aeiou"]
        self.letters = [tokenizer.encode(f"{x}").ids[-1] for x in "bcdfgk"]
        self.relations = [
            ([one(word) for word in text.split()], [one(value) for value in values]) for text, values in RELATIONS
        ]
        self.newline, self.colon = one("\n"), tokenizer.encode("a:").ids[1]
        self.user, self.assistant, self.end = one(USER), one(ASSISTANT), one(END)
        self.answer, self.question = one("answer"), one("question")
        self.wh = [one(word) for word in ("what", "who", "which", "text", "input", "word", "name")]
        groups = {kind: CATEGORIES[kind] for kind in SEEN_KINDS} | TOPIC_WORDS | PROBLEMS
        groups |= {"positive": POSITIVE, "negative": NEGATIVE}
        self.kinds_of_words = [(one(kind), [one(word) for word in group]) for kind, group in groups.items()]
        self.arrow, self.comma = tokenizer.encode("a -> b").ids[1], tokenizer.encode("a, b").ids[1]
        held = {one(word) for word in HELD_LABELS}
        self.kind_labels = [label for label in self.labels if label not in held]

    def row(self, rng: Random, length: int, mix: Mix = LOOKING_BACK) -> Row:
        """One row of at most ``length`` tokens."""
        kind = rng.random()
        if kind < mix.repeat:
            ids, weights = self.repeat(rng, length)
        elif kind < mix.repeat + mix.lookup:
            ids, weights = self.lookup(rng, length, mix)
        elif kind < mix.repeat + mix.lookup + mix.cloze:
            ids, weights = self.cloze(rng, length)
        else:
            ids, weights = self.kinds(rng, length, mix)
        return ids[:length], [DENSE_WEIGHT * weight for weight in weights[:length]]

    def segment(self, rng: Random, size: int) -> list[int]:
        """Random tokens: mostly words, some numbers and spelled-out strings."""
        ids: list[int] = []
        spelled = rng.choice((0.0, 0.1, 0.5))
        while len(ids) < size:
            if rng.random() < spelled:
                ids += rng.choices(self.syllables, k=rng.randint(2, 3))
            elif rng.random() < 0.08:
                ids.append(rng.choice(self.numbers))
            else:
                ids.append(rng.choice(self.words))
        return ids

    def repeat(self, rng: Random, length: int) -> Row:
        """A segment, then pieces of it again; a piece is predictable after its first token."""
        short = rng.random() < 0.6
        segment = self.segment(rng, rng.randint(4, 12) if short else rng.randint(6, min(60, length // 2)))
        ids, weights = list(segment), [0.0] * len(segment)
        while len(ids) < length - 4:
            start = 0 if rng.random() < 0.3 else rng.randrange(len(segment) - 3)
            piece = segment[start : start + rng.randint(3, len(segment))]
            ids += piece
            weights += [0.0, *([1.0] * (len(piece) - 1))]
        return ids, weights

    def lookup(self, rng: Random, length: int, mix: Mix = LOOKING_BACK) -> Row:
        """``key: label`` lines whose keys come back; every returning key has a known label."""
        pairs = rng.randint(2, 12)
        classes = rng.randint(2, 6)
        values = rng.sample(self.labels, classes) if rng.random() < 0.5 else rng.sample(self.labels, pairs)
        keys = rng.sample(self.names if rng.random() < 0.3 else self.words, pairs)
        table = {key: values[index % len(values)] for index, key in enumerate(keys)}
        return self.asked(rng, length, mix, lambda: (key := rng.choice(keys), key, table[key]))

    def kinds(self, rng: Random, length: int, mix: Mix = LOOKING_ALIKE) -> Row:
        """Words of a kind have one label, which is known once the kind was seen, or if the row begins with the map."""
        groups = rng.sample(self.kinds_of_words, rng.randint(2, 5))
        values = rng.sample(self.kind_labels, len(groups))
        stated: list[int] = []
        if rng.random() < 0.35:
            for (kind, _), label in zip(groups, values, strict=True):
                stated += [kind, self.arrow, label, self.comma]
            stated[-1] = self.newline

        def draw() -> tuple[int, int, int]:
            at = rng.randrange(len(groups))
            return at, rng.choice(groups[at][1]), values[at]

        ids, weights = self.asked(rng, length - len(stated), mix, draw, range(len(groups)) if stated else ())
        return stated + ids, [0.0] * len(stated) + weights

    def asked(
        self, rng: Random, length: int, mix: Mix, draw: Callable[[], tuple[int, int, int]], known: Iterable[int] = ()
    ) -> Row:
        """Lines or turns of a key and its label; ``draw`` gives what must have been seen, the key and the label."""
        chat = rng.random() < mix.turns
        head = rng.choice(self.wh)
        ids: list[int] = []
        weights: list[float] = []
        seen = set(known)
        while len(ids) < length - 10:
            group, key, label = draw()
            sure = mix.sure if group in seen else 0.0
            seen.add(group)
            if chat:
                new = [self.user, head, self.colon, key, self.end, self.assistant, self.answer, self.colon]
                new += [label, self.end]
                marks = [0.0] * 6 + [0.05, 0.05, sure, 0.1]
            else:
                new, marks = [key, self.colon, label, self.newline], [0.0, 0.05, sure, 0.05]
            ids += new
            weights += marks
        return ids, weights

    def cloze(self, rng: Random, length: int) -> Row:
        """Facts of one or two relations, stated again in other orders, then asked by name only."""
        count = rng.randint(2, 8)
        picked = rng.sample(self.relations, rng.choice((1, 1, 2)))
        names = rng.sample(self.names, count)
        facts = [(name, relation, rng.choice(values)) for name in names for relation, values in picked]
        ids: list[int] = []
        weights: list[float] = []
        first = True
        asked = rng.random() < 0.5
        while len(ids) < length - 8:
            for name, relation, value in rng.sample(facts, len(facts)):
                if not first and asked:
                    ids += [self.user, *relation, name, self.end, self.assistant]
                    ids += [self.answer, self.colon, value, self.end]
                    weights += [0.0] * (len(relation) + 4) + [0.05, 0.05, 1.0, 0.1]
                else:
                    ids += [name, *relation, value, self.newline]
                    weights += [0.0] * (len(relation) + 1) + [0.0 if first else 1.0, 0.05]
            first = False
        return ids, weights
