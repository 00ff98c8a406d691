"""Questions over given facts: one hop, two hops, with a reasoning field, many questions on one context.

Every context holds several facts of the relation that is asked for, so the
right answer needs the subject and not only the relation.
"""

# ruff: noqa: E501 (tables of wordings)
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from firefly.phrases import SAY
from firefly.prompts import Example, Value
from firefly.tasks import Task, plain
from firefly.words import (
    ANIMALS,
    CAPITALS,
    CITIES,
    CLOTHES,
    COLORS,
    COUNTRIES,
    DRINKS,
    FOODS,
    FRUITS,
    INSTRUMENTS,
    JOBS,
    NAMES,
    PLACES,
    SPORTS,
    TOOLS,
    VEHICLES,
)  # fmt: skip


@dataclass(frozen=True)
class Relation:
    """A statement about a subject, questions for its value, and the same through another person."""

    says: str
    asks: tuple[str, ...]
    values: list[str]
    back: tuple[str, ...] = ()
    things: bool = False


RELATIONS = [
    Relation("{n} likes {v}", ("what does {n} like ?", "what is it that {n} likes ?"), FRUITS + FOODS, ("who likes {v} ?",)),
    Relation("{n} drinks {v}", ("what does {n} drink ?", "which drink does {n} drink ?"), DRINKS, ("who drinks {v} ?",)),
    Relation("{n} lives in {v}", ("where does {n} live ?", "which city does {n} live in ?", "in which city does {n} live ?"),
             CITIES, ("who lives in {v} ?",)),
    Relation("{n} works as a {v}", ("what is the job of {n} ?", "what does {n} work as ?"), JOBS, ("who works as a {v} ?",)),
    Relation("{n} owns a {v}", ("what does {n} own ?", "which animal does {n} own ?"), ANIMALS, ("who owns a {v} ?",)),
    Relation("{n} plays {v}", ("what does {n} play ?",), SPORTS + INSTRUMENTS, ("who plays {v} ?",)),
    Relation("{n} was born in {v}", ("where was {n} born ?",), CITIES, ("who was born in {v} ?",)),
    Relation("{n} has a {v}", ("what does {n} have ?",), TOOLS + VEHICLES + CLOTHES, ("who has a {v} ?",)),
    Relation("the color of {n} is {v}", ("what is the color of {n} ?", "which color is the color of {n} ?"), COLORS),
    Relation("the {n} is in the {v}", ("where is the {n} ?",), PLACES, ("what is in the {v} ?",), True),
    Relation("the {n} is {v}", ("what color is the {n} ?", "which color is the {n} ?"), COLORS, ("what is {v} ?",), True),
]  # fmt: skip
KIN_RELATIONS = 3
"""How often, in whole relations, ``who is the friend of ann ?`` is asked among the rest."""
KIN = ["friend", "boss", "neighbor", "teacher", "brother", "sister", "manager", "cousin", "doctor"]
THINGS = TOOLS + VEHICLES + CLOTHES

Fact = tuple[str, tuple[str, ...], str]
"""The statement, wordings of the question, the answer."""


def facts(rng: Random, count: int, relation: Relation, back: bool = False) -> list[Fact]:
    """Facts of one relation about different subjects, with different values."""
    subjects = rng.sample(THINGS if relation.things else NAMES, count)
    values = rng.sample(relation.values, count)
    result: list[Fact] = []
    for n, v in zip(subjects, values, strict=True):
        if back and relation.back:
            result.append((relation.says.format(n=n, v=v), tuple(q.format(v=v) for q in relation.back), n))
        else:
            result.append((relation.says.format(n=n, v=v), tuple(q.format(n=n) for q in relation.asks), v))
    return result


def one_hop(rng: Random, low: int = 2, high: int = 6) -> tuple[list[str], list[tuple[str, str, str]]]:
    """A context and its questions as (question, reasoning, answer)."""
    count = rng.randint(low, high)
    main = max(2, count - rng.choice((0, 0, 1, 2)))
    relation, other = rng.sample(RELATIONS, 2)
    if rng.randrange(len(RELATIONS) + KIN_RELATIONS) < KIN_RELATIONS:
        kin = rng.choice(KIN)
        relation = Relation(f"the {kin} of {{n}} is {{v}}", (f"who is the {kin} of {{n}} ?",), NAMES)
    known = facts(rng, main, relation, rng.random() < 0.2)
    extra = facts(rng, count - main, other) if count > main else []
    context = [fact[0] for fact in known + extra]
    rng.shuffle(context)
    asked = [(rng.choice(questions), says, answer) for says, questions, answer in known]
    rng.shuffle(asked)
    return context, asked


def two_hop(rng: Random, low: int = 2, high: int = 3) -> tuple[list[str], list[tuple[str, str, str]]]:
    """Pairs of facts that must be chained; all pairs are of the same relations."""
    count = rng.randint(low, high)
    context: list[str] = []
    asked: list[tuple[str, str, str]] = []
    if rng.random() < 0.35:
        names, cities = rng.sample(NAMES, count), rng.sample(CITIES, count)
        where = {city: country for country, city in CAPITALS.items()}
        if rng.random() < 0.5:
            where = dict(zip(cities, rng.sample(COUNTRIES, count), strict=True))
        for name, city in zip(names, cities, strict=True):
            first, second = f"{name} lives in {city}", f"{city} is in {where[city]}"
            question = rng.choice(["which country does {n} live in ?", "in which country does {n} live ?"])
            context += [first, second]
            asked.append((question.format(n=name), f"{first} . {second}", where[city]))
    else:
        relation = rng.choice([r for r in RELATIONS if not r.things and r.says.startswith("{n}")])
        kin = rng.choice(KIN)
        people = rng.sample(NAMES, 2 * count)
        values = rng.sample(relation.values, count)
        for a, b, v in zip(people[:count], people[count:], values, strict=True):
            first, second = f"the {kin} of {a} is {b}", relation.says.format(n=b, v=v)
            context += [first, second]
            asked.append((rng.choice(relation.asks).format(n=f"the {kin} of {a}"), f"{first} . {second}", v))
    rng.shuffle(context)
    rng.shuffle(asked)
    return context, asked


def single(hops: int, reasoning: bool, listed: bool) -> Callable[[Random], Example]:
    """One context with one question."""

    def sample(rng: Random) -> Example:
        context, asked = one_hop(rng) if hops == 1 else two_hop(rng)
        question, thought, answer = asked[0]
        shown: Value = context if listed else " . ".join(context)
        outputs = (thought, answer) if reasoning else (answer,)
        return Example((shown, question), outputs)

    return sample


def questions(rng: Random, hops: int, reasoning: bool, listed: bool, low: int, high: int) -> list[Example]:
    """One context and every question on it; the context is given only once."""
    context, asked = one_hop(rng, low, high) if hops == 1 else two_hop(rng, low, high)
    shown: Value | None = context if listed else " . ".join(context)
    result: list[Example] = []
    for question, thought, answer in asked:
        outputs = (thought, answer) if reasoning else (answer,)
        result.append(Example((shown, question), outputs))
        shown = None
    return result


ASK = ("Answer the question (from|with|using) the (context|facts).", "Answer the question.",
       "Use the (facts|context) to answer the question.", f"Read the (facts|context) and {SAY.lower()} the answer.")  # fmt: skip
CONTEXT = ("context|facts|passages|documents|notes|text", "question|query")


def qa_task(name: str, hops: int, reasoning: bool, listed: bool, weight: float) -> Task:
    return Task(
        name, plain(single(hops, reasoning, listed)), ASK, inputs=CONTEXT,
        outputs=("reasoning|thought", "answer") if reasoning else ("answer|answer|response|result",),
        types=("str", "str") if reasoning else ("str",), in_types=("list" if listed else "str", "str"),
        hidden=False, weight=weight)  # fmt: skip


TASKS: list[Task] = [
    qa_task("qa.one", 1, False, True, 2.0),
    qa_task("qa.one_text", 1, False, False, 1.5),
    qa_task("qa.one_cot", 1, True, True, 1.0),
    qa_task("qa.two", 2, False, True, 2.0),
    qa_task("qa.two_cot", 2, True, True, 2.5),
]
