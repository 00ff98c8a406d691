"""Sentences, tickets, records, small tables, and sums with a reasoning field."""

# ruff: noqa: E501 (tables of wordings)
from __future__ import annotations

from collections.abc import Callable
from random import Random

from firefly.phrases import OF, SAY
from firefly.prompts import Example, Value
from firefly.tasks import Kit, Task, plain
from firefly.tasks_lists import SEMI_LABEL, SEMI_NUM, some_labels
from firefly.words import (
    ADJECTIVES,
    ANIMALS,
    CITIES,
    COLORS,
    DRINKS,
    JOBS,
    NAMES,
    NEGATIVE,
    NEUTRAL,
    PETS,
    PLACES,
    POSITIVE,
    PROBLEMS,
    TOOLS,
    TOPIC_WORDS,
    VEHICLES,
)  # fmt: skip

SEMI_TEXT = (
    f"{SAY} (one|a) word {OF} the (text|sentence|message).",
    "Extract a word.",
    "Read the (text|sentence|message) and answer.",
)
SEMI_ROW = (f"{SAY} (one|a) value {OF} the (row|record|text).", "Read the (row|record|text) and answer.")
TEXT_IN = ("text|input|sentence|message|query|data|body|content",)
ROW_IN = ("row|record|text|input|data|entry",)

# ------------------------------------------------------------------ sentences


def scene(rng: Random) -> dict[str, str]:
    """A sentence that has an adjective, an animal, a tool or vehicle, and a place."""
    parts = {
        "adjective": rng.choice(ADJECTIVES), "animal": rng.choice(ANIMALS), "place": rng.choice(PLACES),
        "color": rng.choice(COLORS), "thing": rng.choice(TOOLS + VEHICLES), "name": rng.choice(NAMES),
    }  # fmt: skip
    parts["text"] = rng.choice(
        [
            "the {adjective} {animal} finds a {color} {thing} in the {place}",
            "{name} sees the {adjective} {animal} with the {color} {thing} near the {place}",
            "in the {place} the {adjective} {animal} hides the {color} {thing}",
            "{name} takes a {color} {thing} and the {adjective} {animal} to the {place}",
        ]
    ).format(**parts)
    return parts


def scene_part(part: str) -> Callable[[Random], Example]:
    def sample(rng: Random) -> Example:
        parts = scene(rng)
        while parts[part] not in parts["text"].split():
            parts = scene(rng)
        return Example((parts["text"],), (parts[part],))

    return sample


FEELINGS = {"positive": POSITIVE, "negative": NEGATIVE, "neutral": NEUTRAL}


def review(rng: Random, feeling: str) -> str:
    thing = rng.choice(PLACES + TOOLS + VEHICLES + ["movie", "book", "story", "meal", "service", "product"])
    return rng.choice(
        [
            "the {t} was {w}",
            "what a {w} {t}",
            "{n} says the {t} is {w}",
            "the {t} in {c} is very {w}",
            "i think the {t} was {w} today",
            "a {w} {t} as always",
            "my {t} is {w}",
        ]
    ).format(t=thing, w=rng.choice(FEELINGS[feeling]), n=rng.choice(NAMES), c=rng.choice(CITIES))


def about(rng: Random, topic: str) -> str:
    a, b = rng.sample(TOPIC_WORDS[topic], 2)
    return rng.choice(
        [
            "the {a} and the {b} are new",
            "{n} reads about the {a} and the {b}",
            "a {b} for the {a}",
            "the {a} was near the {b} in {c}",
            "{n} wants a {a} and a {b}",
            "they say the {b} needs a {a}",
        ]
    ).format(a=a, b=b, n=rng.choice(NAMES), c=rng.choice(CITIES))


def classes_kit(
    make: Callable[[Random, str], str], classes: list[str], low: int, high: int, renamed: bool
) -> Callable[[Random], Kit]:
    """Texts of a few classes, answered by the class name or by an arbitrary label for it."""

    def kit(rng: Random) -> Kit:
        used = rng.sample(classes, rng.randint(low, min(high, len(classes))))
        names = some_labels(rng, len(used)) if renamed else used
        rule = dict(zip(used, names, strict=True))

        def sample(rng: Random) -> Example:
            one = rng.choice(used)
            return Example((make(rng, one),), (rule[one],))

        text = ", ".join(f"{one} -> {label}" for one, label in rule.items())
        return Kit(sample, tuple(names), {"map": text, "classes": ", ".join(used)})

    return kit


# ------------------------------------------------------------------ tickets

FAULTS = ["is broken", "does not work", "is wrong", "is missing", "is late", "was lost", "failed", "is stuck"]
DEPARTMENTS = ["billing", "hardware", "network", "account", "delivery", "facilities"]


def ticket(rng: Random, team: str | None = None) -> dict[str, str]:
    """A short message to a help desk; everything in it can be asked for."""
    thing = rng.choice(PROBLEMS[team or rng.choice(DEPARTMENTS)])
    urgent = rng.random() < 0.5
    asked = rng.choice(["please help today", "it is urgent", "we need it now"] if urgent else
                       ["there is time", "help me some day", "it can wait"])  # fmt: skip
    name, city = rng.choice(NAMES), rng.choice(CITIES)
    text = rng.choice(
        [
            "hello , the {t} in {c} {f} , {a} , {n}",
            "{n} in {c} says the {t} {f} , {a}",
            "my {t} {f} here in {c} , {a} , thanks , {n}",
            "{a} , the {t} of {n} {f} in {c}",
        ]
    ).format(t=thing, f=rng.choice(FAULTS), a=asked, n=name, c=city)
    team_name = next(t for t, things in PROBLEMS.items() if thing in things)
    return {"text": text, "team": team_name, "thing": thing, "name": name, "city": city,
            "urgency": "urgent" if urgent else "normal", "rush": "true" if urgent else ""}  # fmt: skip


def ticket_part(part: str) -> Callable[[Random], Example]:
    def sample(rng: Random) -> Example:
        t = ticket(rng)
        return Example((t["text"],), (t[part],))

    return sample


def two_problems(which: int) -> Callable[[Random], Example]:
    """Two faults in one message; the answer is the team of the first, the last or the urgent one."""

    def sample(rng: Random) -> Example:
        teams = rng.sample(DEPARTMENTS[:4], 2)
        things = [rng.choice(PROBLEMS[team]) for team in teams]
        urgent = rng.randrange(2)
        words = ["urgent" if i == urgent else rng.choice(["small", "old", "normal"]) for i in range(2)]
        text = rng.choice(
            [
                "the {0} {2} and the {1} {3}",
                "{4} says the {0} {2} , the {1} {3}",
                "my {0} {2} , also the {1} {3}",
                "hello , the {0} {2} and then the {1} {3}",
            ]
        ).format(
            *things, f"{rng.choice(FAULTS)} ( {words[0]} )", f"{rng.choice(FAULTS)} ( {words[1]} )", rng.choice(NAMES)
        )
        return Example((text,), (teams[urgent if which == 2 else which],))

    return sample


KINDS = ("question", "order", "complaint")


def request(rng: Random) -> Example:
    """A customer message of one of three kinds."""
    kind, thing, city = rng.choice(KINDS), rng.choice(TOOLS + VEHICLES), rng.choice(CITIES)
    text = rng.choice(
        {
            "question": ["where is the {t} made", "how much is a {t}", "what color is the {t}", "do you have a {t} in {c}"],
            "order": ["please send a {t} to {c}", "i want to buy a {t}", "we take two {t} please", "send the {t} to {c}"],
            "complaint": ["the {t} is broken", "my {t} came late", "the {t} from {c} does not work", "the {t} is the wrong one"],
        }[kind]
    )  # fmt: skip
    return Example((text.format(t=thing, c=city),), (kind,))


# ------------------------------------------------------------------ records and tables

COLUMNS: dict[str, list[str]] = {"city": CITIES, "job": JOBS, "pet": PETS, "drink": DRINKS, "color": COLORS}


def record(rng: Random, need: tuple[str, ...] = ()) -> dict[str, str]:
    """A row with a name, an age and some other columns."""
    extra = [*need, *rng.sample(list(COLUMNS), rng.randint(1, 4))]
    row = {"name": rng.choice(NAMES), "age": str(rng.randint(5, 95))}
    row.update({column: rng.choice(COLUMNS[column]) for column in COLUMNS if column in extra})
    return row


def show(row: dict[str, str]) -> str:
    return ", ".join(f"{column} {value}" for column, value in row.items())


def column_task(column: str) -> Task:
    need = (column,) if column in COLUMNS else ()

    def sample(rng: Random) -> Example:
        row = record(rng, need)
        return Example((show(row),), (row[column],))

    return Task(
        f"row.{column}", plain(sample),
        (f"{SAY} the {column} {OF} the (row|record|text).", f"{SAY} the {column}.", f"What is the {column}?",
         f"(Extract|Get|Find) the {column} of the person.", f"(Extract|Return) only the {column}."), SEMI_ROW,
        inputs=ROW_IN, weight=0.7)  # fmt: skip


def condition(
    rng: Random, row: dict[str, str] | None = None
) -> tuple[str, Callable[[dict[str, str]], bool], tuple[str, ...]]:
    """A condition on a row: its words, its test, and the columns it needs."""
    if rng.random() < 0.5:
        limit, more = rng.randrange(15, 90, 5), rng.random() < 0.5
        words = f"the age is {rng.choice(['more', 'greater'] if more else ['less', 'smaller'])} than {limit}"
        return words, (lambda r: (int(r["age"]) > limit) == more), ()
    column = rng.choice(["city", "job", "pet", "drink"])
    value = rng.choice(COLUMNS[column])
    return f"the {column} is {value}", (lambda r: r[column] == value), (column,)


def balanced(
    rng: Random, need: tuple[str, ...], test: Callable[[dict[str, str]], bool], words: str
) -> tuple[dict[str, str], bool]:
    """A row that meets the condition in half of the cases."""
    want = rng.random() < 0.5
    row = record(rng, need)
    if need:
        row[need[0]] = words.split()[-1] if want else row[need[0]]
    else:
        while test(row) != want:
            row["age"] = str(rng.randint(5, 95))
    return row, test(row)


def filter_kit(rng: Random) -> Kit:
    """The condition stands in the instruction."""
    words, test, need = condition(rng)

    def sample(rng: Random) -> Example:
        row, keep = balanced(rng, need, test, words)
        return Example((show(row),), (keep,))

    return Kit(sample, fill={"condition": words})


def filter_given(rng: Random) -> Example:
    """The condition is an input."""
    words, test, need = condition(rng)
    row, keep = balanced(rng, need, test, words)
    return Example((show(row), words), (keep,))


def age_group(rng: Random) -> Example:
    row = record(rng)
    age = int(row["age"])
    return Example((show(row),), ("child" if age < 18 else "senior" if age >= 65 else "adult",))


# ------------------------------------------------------------------ reasoning

GOODS = ["apples", "pens", "books", "coins", "cards", "balls", "stamps", "eggs", "cookies"]


def story(rng: Random) -> tuple[str, str, int]:
    """Two steps of adding and taking away: story, reasoning, result."""
    name, thing = rng.choice(NAMES), rng.choice(GOODS)
    now = rng.randint(3, 20)
    text, thought = f"{name} has {now} {thing}", []
    for _ in range(2):
        more = now < 5 or rng.random() < 0.5
        by = rng.randint(1, 15) if more else rng.randint(1, now - 1)
        verb = rng.choice(["buys", "finds", "gets"] if more else ["loses", "sells", "eats"])
        text += f" , {verb} {by}"
        after = now + by if more else now - by
        thought.append(f"{now} {'plus' if more else 'minus'} {by} is {after}")
        now = after
    return text + f" . how many {thing} ?", " , ".join(thought), now


def told(reasoning: bool) -> Callable[[Random], Example]:
    def sample(rng: Random) -> Example:
        text, thought, result = story(rng)
        values: tuple[Value, ...] = (thought, result) if reasoning else (result,)
        return Example((text,), values)

    return sample


def part_task(name: str, sample: Callable[[Random], Example], what: str, weight: float = 1.0) -> Task:
    return Task(name, plain(sample),
                (f"{SAY} the {what} {OF} the (text|sentence|message).", f"{SAY} the {what}.", f"What is the {what}?",
                 f"(Extract|Find|Get) the {what}."), SEMI_TEXT, inputs=TEXT_IN, weight=weight)  # fmt: skip


CLASSIFY = "(Classify|Label|Decide|Determine) the "
TASKS: list[Task] = [
    *[part_task(f"sent.{part}", scene_part(part), part) for part in ("adjective", "animal", "place", "color")],
    Task("sent.sentiment", classes_kit(review, list(FEELINGS), 2, 3, False),
         (f"{CLASSIFY}(sentiment|feeling|tone|mood) of the (text|sentence|review).", "What is the sentiment?",
          "Is the text {classes}?", "Classify the (text|review) as {classes}.", f"{SAY} the sentiment of the text."),
         SEMI_LABEL, inputs=TEXT_IN, types=("str|literal",)),
    Task("sent.topic", classes_kit(about, list(TOPIC_WORDS), 3, 8, False),
         (f"{CLASSIFY}topic of the (text|sentence).", "What is the topic?", f"{SAY} the topic of the text.",
          "Classify the text by topic.", "Classify the text: {classes}."), SEMI_LABEL, inputs=TEXT_IN,
         types=("str|literal",)),
    Task("label.sentiment", classes_kit(review, list(FEELINGS), 2, 3, True),
         ("(Label|Map|Classify) the sentiment: {map}.", "{map}", "Use this (map|rule): {map}."), SEMI_LABEL,
         inputs=TEXT_IN, types=("str|literal",), weight=3.0),
    Task("label.topic", classes_kit(about, list(TOPIC_WORDS), 2, 4, True),
         ("(Label|Map|Classify) the topic: {map}.", "{map}", "Use this (map|rule): {map}."), SEMI_LABEL,
         inputs=TEXT_IN, types=("str|literal",), weight=3.0),
    Task("label.team", classes_kit(lambda r, t: ticket(r, t)["text"], DEPARTMENTS, 2, 4, True),
         ("(Label|Map|Classify) the team: {map}.", "{map}"), SEMI_LABEL, inputs=TEXT_IN, types=("str|literal",), weight=2.0),
    Task("ticket.team", classes_kit(lambda r, t: ticket(r, t)["text"], DEPARTMENTS, 4, 6, False),
         ("(Say|Decide|Choose) the team that should handle the message.", "Which team handles the (message|ticket|text)?",
          f"{SAY} the (team|department) for the message: {{classes}}.", "Classify the message by team: {classes}.",
          f"{SAY} the department of the problem."), SEMI_LABEL, inputs=TEXT_IN, types=("str|literal",), weight=1.5),
    Task("ticket.urgency", plain(ticket_part("urgency")),
         (f"{SAY} the urgency of the (message|text|ticket).", "Is the message urgent or normal?",
          f"{SAY} if it is urgent or normal."), SEMI_LABEL, inputs=TEXT_IN),
    Task("ticket.rush", plain(lambda r: (lambda t: Example((t["text"],), (bool(t["rush"]),)))(ticket(r))),
         ("Is the (message|text|ticket) urgent?", "(Say|Decide) if the message is urgent."), ("Check the message.",),
         inputs=TEXT_IN, outputs=("urgent|answer|valid|check|result|keep",), types=("bool",), hidden=False),
    part_task("ticket.thing", ticket_part("thing"), "(thing|object|product) that has the problem"),
    part_task("ticket.name", ticket_part("name"), "name"),
    part_task("ticket.city", ticket_part("city"), "city"),
    *[Task(f"ticket.{word}", plain(two_problems(index)),
           (f"{SAY} the team (of|for) the {word} problem.", f"Which team handles the {word} problem?",
            f"Classify the {word} problem of the message by team.", f"{SAY} the (team|department) that handles the {word} problem."),
           ("Say which team handles the message.", "Choose a team.", *SEMI_LABEL), inputs=TEXT_IN, weight=1.6)
      for index, word in enumerate(("first", "last", "urgent"))],
    Task("branch.kind", plain(request),
         ("Is the text a question, an order or a complaint?", f"{SAY} the kind of the (text|message|request).",
          "Classify the (text|message) as question, order or complaint.", "What kind of message is it?"), SEMI_LABEL,
         inputs=TEXT_IN, outputs=("kind|label|answer|category|type",), types=("literal",), weight=1.2),
    *[column_task(column) for column in ("name", "age", *COLUMNS)],
    Task("row.filter", filter_kit,
         ("(Keep|Select|Take) the row if {condition}.", "Is it true that {condition}?", "Keep the row when {condition}.",
          "True if {condition}."), ("Check the row.", "Decide if the row is kept."), inputs=ROW_IN,
         outputs=("keep|valid|answer|match|result|check",), types=("bool",), hidden=False, weight=2.5),
    Task("row.filter_given", plain(filter_given),
         ("(Keep the row if the|Check the|Does the row meet the|Is the) condition (is true|holds)(.|?)",
          f"{SAY} if the condition is true for the row."), ("Check the row.",),
         inputs=(ROW_IN[0], "condition|rule|query|claim|question"), outputs=("keep|valid|answer|match|result",),
         types=("bool",), hidden=False, weight=2.0),
    Task("row.group", plain(age_group),
         ("Say if the person is a child, an adult or a senior.", f"{SAY} the (age group|group by age).",
          "Label the row by age: child, adult or senior."), ("Label the row.", *SEMI_ROW), inputs=ROW_IN,
         types=("str",)),
    Task("cot.story", plain(told(True)),
         ("Think step by step and compute the (answer|result|number).", "Solve the problem step by step.",
          "Explain the steps and give the number.", "Answer the question."), SEMI_NUM,
         inputs=("question|problem|text|story|input",), outputs=("reasoning|thought|steps", "answer|result|number"),
         types=("str", "int|str"), hidden=False, weight=2.5),
    Task("cot.direct", plain(told(False)),
         ("(Compute|Give) the (answer|result|number).", "Solve the problem.", "Answer the question."), SEMI_NUM,
         inputs=("question|problem|text|story|input",), outputs=("answer|result|number",), types=("int|str",),
         hidden=False),
]  # fmt: skip
