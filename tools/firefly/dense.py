"""Dense rows that teach copying and matching before any task is shown.

A mixture of tasks alone stalls at guessing one of the labels it has seen.
Rows in which almost every token can be predicted by looking back make the
attention heads for "find the same thing and take what follows" appear early.
"""

from __future__ import annotations

from random import Random

from tokenizers import Tokenizer

from firefly.tokenizer import ASSISTANT, END, USER
from firefly.words import CATEGORIES, CITIES, DRINKS, JOBS, LABELS, NAMES, all_words

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


class DenseRows:
    """Makes repeat, lookup and cloze rows straight from token ids."""

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

    def row(self, rng: Random, length: int) -> Row:
        """One row of at most ``length`` tokens."""
        kind = rng.random()
        if kind < 0.45:
            ids, weights = self.repeat(rng, length)
        elif kind < 0.7:
            ids, weights = self.lookup(rng, length)
        else:
            ids, weights = self.cloze(rng, length)
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

    def lookup(self, rng: Random, length: int) -> Row:
        """``key: label`` lines whose keys come back; every returning key has a known label."""
        pairs = rng.randint(2, 12)
        classes = rng.randint(2, 6)
        values = rng.sample(self.labels, classes) if rng.random() < 0.5 else rng.sample(self.labels, pairs)
        keys = rng.sample(self.names if rng.random() < 0.3 else self.words, pairs)
        table = {key: values[index % len(values)] for index, key in enumerate(keys)}
        chat = rng.random() < 0.5
        head = rng.choice(self.wh)
        ids: list[int] = []
        weights: list[float] = []
        seen: set[int] = set()
        while len(ids) < length - 10:
            key = rng.choice(keys)
            known = 1.0 if key in seen else 0.0
            seen.add(key)
            if chat:
                new = [self.user, head, self.colon, key, self.end, self.assistant, self.answer, self.colon]
                new += [table[key], self.end]
                marks = [0.0] * 6 + [0.05, 0.05, known, 0.1]
            else:
                new, marks = [key, self.colon, table[key], self.newline], [0.0, 0.05, known, 0.05]
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
