"""Operations on lists of words, single words and numbers."""

# ruff: noqa: E501 (tables of wordings)
from __future__ import annotations

from collections.abc import Callable
from random import Random

from firefly.phrases import OF, SAY, THE_LIST
from firefly.prompts import Example, Value
from firefly.tasks import Kit, Sampler, Task, plain
from firefly.words import CAPITALS, CATEGORIES, LABELS, NAMES, OPPOSITES, all_words, capitalisable

ONE = "(word|item|one)"
CONCRETE = [word for words in CATEGORIES.values() for word in words]
ANY = [word for word in all_words() if word.isalpha() and word.islower() and len(word) > 1]
SHORT = capitalisable()
SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]


def invented(rng: Random) -> str:
    """A word that is not in the vocabulary."""
    return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3)))


def some_words(rng: Random, low: int = 3, high: int = 6) -> list[str]:
    """Words of a list; mostly concrete ones, sometimes any word or invented ones."""
    count = rng.randint(low, high)
    pool = rng.random()
    if pool < 0.75:
        return rng.sample(CONCRETE, count)
    if pool < 0.95:
        return rng.sample(ANY, count)
    return [invented(rng) if rng.random() < 0.4 else rng.choice(ANY) for _ in range(count)]


def over_list(operation: Callable[[list[str]], str], low: int = 3) -> Sampler:
    """A sampler that applies ``operation`` to a fresh list."""

    def sample(rng: Random) -> Example:
        words = some_words(rng, low)
        return Example((" ".join(words),), (operation(words),))

    return sample


def upper_list(rng: Random) -> Example:
    words = rng.sample(SHORT, rng.randint(2, 5))
    return Example((" ".join(words),), (" ".join(words).upper(),))


def pick(kind: str) -> Sampler:
    """One member of ``kind`` among words of other kinds."""
    others = [word for name, words in CATEGORIES.items() if name != kind for word in words]
    others = [word for word in others if word not in CATEGORIES[kind]]

    def sample(rng: Random) -> Example:
        word = rng.choice(CATEGORIES[kind])
        words = [word, *rng.sample(others, rng.randint(2, 4))]
        rng.shuffle(words)
        return Example((" ".join(words),), (word,))

    return sample


def pair_of(pairs: list[tuple[str, str]]) -> Sampler:
    """A closed set of facts about single words."""

    def sample(rng: Random) -> Example:
        left, right = rng.choice(pairs)
        return Example((left,), (right,))

    return sample


def both_ways() -> list[tuple[str, str]]:
    pairs: dict[str, str] = {}
    for a, b in OPPOSITES:
        pairs.setdefault(a, b)
        pairs.setdefault(b, a)
    return list(pairs.items())


UNAMBIGUOUS = {
    word: kind
    for kind, words in CATEGORIES.items()
    for word in words
    if sum(word in other for other in CATEGORIES.values()) == 1
}


HELD_LABELS = LABELS[::7]
"""Never used as a label in training; evaluation uses only these."""
SEEN_LABELS = [word for word in LABELS if word not in HELD_LABELS]
FREE = [word for word in ANY if word not in HELD_LABELS]
HELD_KINDS = ["instrument", "furniture", "body"]
"""Categories that no training episode maps to labels."""
SEEN_KINDS = [kind for kind in CATEGORIES if kind not in HELD_KINDS]


def some_labels(rng: Random, count: int) -> list[str]:
    """Label words of a training episode."""
    return rng.sample(SEEN_LABELS if rng.random() < 0.6 else FREE, count)


def label_kit(rng: Random, kinds: list[str] | None = None, labels: list[str] | None = None) -> Kit:
    """Categories mapped to arbitrary labels."""
    kinds = kinds or rng.sample(SEEN_KINDS, rng.randint(2, 4))
    names = rng.sample(labels, len(kinds)) if labels else some_labels(rng, len(kinds))
    rule = dict(zip(kinds, names, strict=True))
    members = {kind: [word for word in CATEGORIES[kind] if word in UNAMBIGUOUS] for kind in kinds}

    def sample(rng: Random) -> Example:
        kind = rng.choice(kinds)
        return Example((rng.choice(members[kind]),), (rule[kind],))

    text = ", ".join(f"{kind} -> {label}" for kind, label in rule.items())
    return Kit(sample, tuple(names), {"map": text})


def table_kit(rng: Random, labels: list[str] | None = None) -> Kit:
    """Words mapped to labels one by one; only seen words can be answered."""
    keys = rng.sample(CONCRETE if rng.random() < 0.5 else NAMES, rng.randint(2, 5))
    names = rng.sample(labels, len(keys)) if labels else some_labels(rng, len(keys))
    rule = dict(zip(keys, names, strict=True))
    text = ", ".join(f"{key} -> {label}" for key, label in rule.items())
    return Kit(lambda r: (lambda k: Example((k,), (rule[k],)))(r.choice(keys)), tuple(names), {"map": text})


def numbers(operation: Callable[[int, int], Value], high: int = 20) -> Sampler:
    """Two numbers and what comes of them."""

    def sample(rng: Random) -> Example:
        a, b = rng.randint(0, high), rng.randint(0, high)
        return Example((f"{a} {b}",), (operation(a, b),))

    return sample


def one_number(step: int) -> Sampler:
    def sample(rng: Random) -> Example:
        a = rng.randint(1, 98)
        return Example((str(a),), (a + step,))

    return sample


def extreme(best: Callable[[list[int]], int]) -> Sampler:
    def sample(rng: Random) -> Example:
        values = rng.sample(range(100), rng.randint(2, 4))
        return Example((" ".join(map(str, values)),), (best(values),))

    return sample


def mode_sample(rng: Random) -> Example:
    """A list of labels in which one is more frequent than any other."""
    kinds = rng.sample(CONCRETE if rng.random() < 0.5 else LABELS, rng.randint(2, 3))
    top = rng.randint(2, 4)
    items = [kinds[0]] * top + [w for other in kinds[1:] for w in [other] * rng.randint(1, top - 1)]
    rng.shuffle(items)
    return Example((items,), (kinds[0],))


def count_of(rng: Random) -> Kit:
    kind = rng.choice(ANY)

    def sample(rng: Random) -> Example:
        items = [kind] * rng.randint(0, 5) + rng.sample(CONCRETE, rng.randint(1, 3))
        rng.shuffle(items)
        return Example((items,), (items.count(kind),))

    return Kit(sample, fill={"word": kind})


def loop_sample(rng: Random) -> Example:
    """One step of a loop: take the first word away; done when one word is left."""
    words = some_words(rng, 2, 5)
    return Example((" ".join(words),), (" ".join(words[1:]), len(words) == 2))


SEMI_ONE = (f"{SAY} (one|a) (word|item) {OF} the {THE_LIST}.", "Pick (one|a) (word|item).")
SEMI_ALL = ("Change the list.", "Rewrite the (list|words|text).", "Transform the (list|words|input).")
SEMI_LABEL = ("Label the (word|text|input).", "Classify the (word|text|input).", "Choose the (right|correct) label.")
SEMI_NUM = ("Compute the (number|result).", "Use the numbers.", "Calculate.", "Answer with a number.")


def position(word: str, index: int, low: int) -> Task:
    return Task(
        f"list.{word}", plain(over_list(lambda w: w[index], low)),
        (f"{SAY} the {word} {ONE} {OF} the {THE_LIST}.", f"{SAY} the {word} {ONE}.",
         f"{SAY} only the {word} {ONE} {OF} the {THE_LIST}.",
         f"Given (a list|words|some words), {SAY.lower()} the {word} {ONE}.",
         f"(What|Which {ONE}) is the {word} {ONE} {OF} the {THE_LIST}?",
         f"The answer is the {word} {ONE} {OF} the {THE_LIST}."), SEMI_ONE)  # fmt: skip


TASKS: list[Task] = [
    position("first", 0, 3), position("last", -1, 3), position("second", 1, 3), position("third", 2, 4),
    Task("list.copy", plain(over_list(" ".join)),
         (f"(Copy|Repeat) the {THE_LIST}.", f"{SAY} the same {THE_LIST} again.",
          f"{SAY} the {THE_LIST} without any change.", "(Repeat|Copy) all the words.",
          f"{SAY} the {THE_LIST} exactly as given."), SEMI_ALL),
    Task("list.reverse", plain(over_list(lambda w: " ".join(w[::-1]))),
         (f"Reverse the {THE_LIST}.", f"(Write|Say|Give|Print) the {THE_LIST} backwards.",
          f"{SAY} the words in (reverse|reversed|the opposite) order.", "Reverse the order of the words.",
          f"{SAY} the {THE_LIST} in reverse order."), SEMI_ALL, weight=1.3),
    Task("list.sort", plain(over_list(lambda w: " ".join(sorted(w)))),
         (f"Sort the {THE_LIST}.", "(Sort|Put|Order) the words (in|into) alphabetical order.",
          f"Sort the {THE_LIST} alphabetically.", f"{SAY} the words in alphabetical order.",
          "Order the words by (alphabet|letter)."), SEMI_ALL, weight=1.3),
    Task("list.drop_first", plain(over_list(lambda w: " ".join(w[1:]))),
         (f"(Drop|Remove|Delete|Skip) the first {ONE} (of|from) the {THE_LIST}.",
          f"(Drop|Remove|Delete|Skip) the first {ONE}.", f"{SAY} all words except the first.",
          f"{SAY} the {THE_LIST} without the first {ONE}."), SEMI_ALL, weight=1.3),
    Task("list.drop_last", plain(over_list(lambda w: " ".join(w[:-1]))),
         (f"(Drop|Remove|Delete|Skip) the last {ONE} (of|from) the {THE_LIST}.",
          f"(Drop|Remove|Delete|Skip) the last {ONE}.", f"{SAY} all words except the last.",
          f"{SAY} the {THE_LIST} without the last {ONE}."), SEMI_ALL, weight=1.3),
    Task("list.swap", plain(over_list(lambda w: " ".join([w[-1], *w[1:-1], w[0]]))),
         (f"(Swap|Exchange) the first and the last {ONE}.", "Swap the first and last (word|item).",
          f"(Swap|Exchange) the first {ONE} with the last {ONE}.",
          f"{SAY} the {THE_LIST} with the first and last {ONE} swapped."), SEMI_ALL, weight=1.3),
    Task("list.upper", plain(upper_list),
         (f"(Write|Print|Give|Say) the {THE_LIST} in (upper case|uppercase|capital letters).",
          "Use (upper case|uppercase|capital letters).", f"Change the {THE_LIST} to (uppercase|upper case).",
          "(Write|Put) all words in capital letters."), SEMI_ALL),
    Task("list.count", plain(lambda r: (lambda w: Example((" ".join(w),), (len(w),)))(some_words(r, 1, 8))),
         ("Count the (words|items).", f"How many (words|items) are in the {THE_LIST}?",
          f"{SAY} the number of (words|items).", f"Count the words in the {THE_LIST}.",
          f"{SAY} how many words there are."), SEMI_NUM, types=("int|str",)),
    Task("list.first_last", plain(over_list(lambda w: f"{w[0]} {w[-1]}")),
         (f"{SAY} the first and the last {ONE}.", f"{SAY} the first and last (word|item) {OF} the {THE_LIST}.",
          f"{SAY} only the first and the last {ONE}."), SEMI_ALL),
    Task("list.ends", plain(lambda r: (lambda w: Example((" ".join(w),), (w[0], w[-1])))(some_words(r))),
         (f"{SAY} the first and the last {ONE}.", f"{SAY} the first {ONE} and the last {ONE}.",
          f"{SAY} the first and last (word|item) {OF} the {THE_LIST}."), SEMI_ALL,
         outputs=("first|start|head|begin", "last|end|tail|final"), types=("str", "str"), hidden=False),
    *[Task(f"list.pick_{kind}", plain(pick(kind)),
           (f"{SAY} the {kind} {OF} the {THE_LIST}.", f"{SAY} the {kind}.", f"Which (word|item) is (a|an|the) {kind}?",
            f"{SAY} the (word|item) that is (a|an) {kind}.", f"Take the {kind} out of the {THE_LIST}.",
            f"Find the {kind} among the words and {SAY.lower()} it.", f"Which {kind} is in the {THE_LIST}?"),
           SEMI_ONE, weight=0.6)
      for kind in ("animal", "fruit", "color", "tool", "vehicle", "drink", "job", "food")],
    Task("word.category", plain(pair_of(list(UNAMBIGUOUS.items()))),
         (f"{SAY} the (category|kind|type|group) of the word.", "What (kind|type) of thing is (it|the word|this)?",
          "Classify the word by (category|kind|type).", "Which (category|group) does the word belong to?"),
         SEMI_LABEL, weight=2.0),
    Task("word.upper", plain(pair_of([(w, w.upper()) for w in SHORT])),
         ("Write the word in (upper case|uppercase|capital letters).", "Use (uppercase|upper case|capital letters)."),
         ("Change the word.", "Rewrite the word.")),
    Task("word.copy", plain(lambda r: (lambda w: Example((w,), (w,)))(invented(r) if r.random() < .25 else r.choice(ANY))),
         ("(Copy|Repeat) the (word|input|text).", f"{SAY} the same word again."), ("Rewrite the word.",)),
    Task("word.opposite", plain(pair_of(both_ways())),
         (f"{SAY} the opposite of the word.", "What is the opposite?", f"{SAY} the (opposite|antonym|contrary)."),
         ("Change the word.", f"{SAY} a related word."), hidden=False),
    Task("word.capital", plain(pair_of(list(CAPITALS.items()))),
         (f"{SAY} the capital of the country.", "What is the capital?", f"{SAY} the capital city."),
         (f"{SAY} a related word.", f"{SAY} a city."), hidden=False),
    Task("word.country", plain(pair_of([(b, a) for a, b in CAPITALS.items()])),
         (f"{SAY} the country of the city.", "Which country is the city in?", f"{SAY} the country of the capital."),
         (f"{SAY} a related word.",), hidden=False),
    Task("label.category", label_kit,
         ("(Label|Map|Classify) the word: {map}.", "Use this (map|rule): {map}.", "{map}",
          "Reply with a label: {map}."), SEMI_LABEL, types=("str|literal",), weight=6.0),
    Task("label.table", table_kit,
         ("(Label|Map|Translate) the word: {map}.", "Use this (map|rule|table): {map}.", "{map}"),
         SEMI_LABEL, types=("str|literal",), weight=4.0),
    Task("num.sum", plain(numbers(lambda a, b: a + b)),
         ("Add the (two |)numbers.", f"{SAY} the sum of the (two |)numbers.", "Compute the sum.", "What is the sum?"),
         SEMI_NUM, types=("int|str",)),
    Task("num.diff", plain(numbers(lambda a, b: abs(a - b))),
         ("Subtract the smaller (number|one) from the larger (number|one).", f"{SAY} the difference of the numbers.",
          "Compute the difference.", "What is the difference?"), SEMI_NUM, types=("int|str",)),
    Task("num.max", plain(extreme(max)),
         (f"{SAY} the (largest|biggest|greatest|maximum) number.", f"{SAY} the maximum.",
          "Which number is the (largest|biggest|greatest)?"), SEMI_NUM, types=("int|str",)),
    Task("num.min", plain(extreme(min)),
         (f"{SAY} the (smallest|least|minimum) number.", f"{SAY} the minimum.",
          "Which number is the (smallest|least)?"), SEMI_NUM, types=("int|str",)),
    Task("num.next", plain(one_number(1)),
         (f"{SAY} the (next|following) number.", "Add one to the number.", "Which number comes (next|after it)?"),
         SEMI_NUM, types=("int|str",)),
    Task("num.prev", plain(one_number(-1)),
         (f"{SAY} the (previous|preceding) number.", "Subtract one from the number.", "Which number comes before it?"),
         SEMI_NUM, types=("int|str",)),
    Task("items.mode", plain(mode_sample),
         (f"{SAY} the most (common|frequent) (item|word|label|value).", "Which (item|label|word) is the most common?",
          "Reduce the list to its most common (item|label)."), SEMI_ONE,
         inputs=("items|values|list|words|data",), in_types=("list",)),
    Task("items.count_of", count_of,
         ("Count how (many times|often) {word} is in the list.", "How many items are {word}?",
          "Count the {word} items.", "How many times is {word} in the list?"), SEMI_NUM,
         inputs=("items|values|list|words|data",), in_types=("list",), types=("int|str",)),
    Task("items.total", plain(lambda r: (lambda v: Example(([str(x) for x in v],), (len(v),)))(some_words(r, 1, 8))),
         ("Count the (items|values).", "How many items are in the list?", f"{SAY} the number of items."), SEMI_NUM,
         inputs=("items|values|list|words|data",), in_types=("list",), types=("int|str",)),
    Task("loop.rest", plain(loop_sample),
         (f"(Drop|Remove) the first {ONE} and say if one word is left.",
          "Take the first word away. It is done when one word is left."), SEMI_ALL,
         outputs=("rest|next|draft|text", "done|final|stop|end"), types=("str", "bool"), hidden=False),
]  # fmt: skip
