"""Three tasks that firefly can follow with the right words or demos, and not without; one has two predictors.

A task says its program once, for a library that is `dspy` or `lampc`: both have the same names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal


def words(text: str) -> list[str]:
    return text.split()


Kind = Literal["foo", "bar", "baz"]
Team = Literal["billing", "hardware", "network", "account", "delivery", "facilities"]
THINGS = {
    "billing": words("invoice payment refund charge receipt bill fee discount"),
    "hardware": words("printer keyboard screen laptop monitor cable battery camera"),
    "network": words("wifi router internet website server modem connection signal"),
    "account": words("password login username profile email code badge pin"),
    "delivery": words("parcel package box courier shipment letter crate pallet"),
    "facilities": words("door window heater elevator toilet light roof sink"),
}
LABELLED = {
    "foo": words(
        "cat dog cow pig horse sheep goat duck hen fox wolf bear lion tiger mouse rat rabbit deer frog snake owl eagle "
        "crow swan whale shark seal otter zebra camel"
    ),
    "bar": words(
        "hammer saw drill wrench axe knife shovel rake ladder screwdriver pliers chisel clamp brush bucket rope nail "
        "needle scissors ruler broom mop spade crowbar tongs"
    ),
    "baz": words(
        "apple pear plum peach grape lemon lime cherry banana mango melon fig kiwi papaya berry apricot coconut "
        "pineapple raisin quince olive guava"
    ),
}
"""Animals, tools and fruits, under labels that mean nothing by themselves."""
NAMES = words("gina oscar vera clara bob cora dora fred sam dina ann eva iris karen lucy rita uma will")
CITIES = words("vienna prague lima madrid berlin sofia hanoi copenhagen")
COLORS = words("red blue green yellow black white")
ADJECTIVES = words("small big old young happy sad")
TOOLS = words("hammer bucket broom screwdriver")
PLACES = words("park garden kitchen forest")
PETS = words("dog cat snake horse")
FAULTS = ["is broken", "does not work", "is wrong", "is missing", "is late", "was lost"]
Rows = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Task:
    """`rows(rng, n)` are the rows that seeds deal out, `program(d)` the program as found, `answer` the output that is
    scored. `pools` are the proposer's instructions, by predictor: some right, some half right, some wrong."""

    name: str
    inputs: tuple[str, ...]
    answer: str
    make: Callable[[], tuple[Rows, Rows]]
    program: Callable[[Any], Any]
    pools: dict[str, tuple[str, ...]]

    def rows(self, d: Any, seed: int, train: int, val: int, test: int) -> tuple[list[Any], list[Any], list[Any]]:
        """Examples of library `d`: the seed deals out train and val, the test rows are always the same."""
        pool, unseen = self.make()
        pool = list(pool)
        Random(seed).shuffle(pool)

        def made(rows: Rows) -> list[Any]:
            return [d.Example(**r).with_inputs(*self.inputs) for r in rows]

        return made(pool[:train]), made(pool[train : train + val]), made(unseen[:test])

    def metric(self, d: Any) -> Any:
        """Exact match, as a number."""

        def exact(example: Any, prediction: Any, trace: Any = None) -> float:
            return float(getattr(example, self.answer) == getattr(prediction, self.answer, None))

        return exact

    def metric_with_feedback(self, d: Any) -> Any:
        """The same with words about it, for an optimizer that reads them."""
        exact = self.metric(d)

        def judged(
            example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None
        ) -> Any:
            score = exact(example, prediction)
            right = getattr(example, self.answer)
            said = "That is right." if score else f"The right {self.answer} is {right}."
            return d.Prediction(score=score, feedback=said)

        return judged


def _scenes() -> tuple[Rows, Rows]:
    def row(rng: Random) -> dict[str, str]:
        color = rng.choice(COLORS)
        text = rng.choice([
            "the {a} {b} finds a {c} {t} in the {p}",
            "{n} sees the {a} {b} with the {c} {t} near the {p}",
            "in the {p} the {a} {b} hides the {c} {t}",
            "{n} takes a {c} {t} and the {a} {b} to the {p}",
        ]).format(
            a=rng.choice(ADJECTIVES), b=rng.choice(PETS), c=color, t=rng.choice(TOOLS), p=rng.choice(PLACES),
            n=rng.choice(NAMES),
        )  # fmt: skip
        return {"text": text, "word": color}

    return _drawn(row, 30)


def _words() -> tuple[Rows, Rows]:
    rows = [{"word": word, "label": label} for label, found in LABELLED.items() for word in found]
    Random(31).shuffle(rows)
    return rows[:46], rows[46:]


def _helpdesk() -> tuple[Rows, Rows]:
    def row(rng: Random) -> dict[str, str]:
        team = rng.choice(sorted(THINGS))
        thing, name, city = rng.choice(THINGS[team]), rng.choice(NAMES), rng.choice(CITIES)
        text = rng.choice([
            "hello , the {t} in {c} {f} , there is time , {n}",
            "{n} in {c} says the {t} {f} , please help today",
            "my {t} {f} here in {c} , we need it now , thanks , {n}",
        ]).format(t=thing, f=rng.choice(FAULTS), c=city, n=name)  # fmt: skip
        return {"text": text, "thing": thing, "team": team}

    return _drawn(row, 32)


def _drawn(row: Callable[[Random], dict[str, str]], seed: int) -> tuple[Rows, Rows]:
    """120 rows to deal out and 100 others."""
    rng, seen = Random(seed), dict[str, dict[str, str]]()
    while len(seen) < 220:
        made = row(rng)
        seen.setdefault(next(iter(made.values())), made)
    rows = list(seen.values())
    return rows[:120], rows[120:]


def _looker(d: Any) -> Any:
    class Look(d.Signature):  # type: ignore[misc]
        """Complete the task."""

        text: str = d.InputField()
        word: str = d.OutputField()

    class Looker(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.look = d.Predict(Look)

        def forward(self, text: str) -> Any:
            return self.look(text=text)

    return Looker()


def _labeller(d: Any) -> Any:
    class Label(d.Signature):  # type: ignore[misc]
        """Label the word."""

        word: str = d.InputField()
        label: Kind = d.OutputField()

    class Labeller(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.name = d.Predict(Label)

        def forward(self, word: str) -> Any:
            return self.name(word=word)

    return Labeller()


def _desk(d: Any) -> Any:
    class Find(d.Signature):  # type: ignore[misc]
        """Complete the task."""

        text: str = d.InputField()
        thing: str = d.OutputField()

    class Route(d.Signature):  # type: ignore[misc]
        """Choose a team."""

        thing: str = d.InputField()
        team: Team = d.OutputField()

    class Desk(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.find = d.Predict(Find)
            self.route = d.Predict(Route)

        def forward(self, text: str) -> Any:
            thing = self.find(text=text).thing
            return d.Prediction(team=self.route(thing=thing).team, thing=thing)

    return Desk()


TASKS = {
    t.name: t
    for t in (
        Task(
            "scenes",
            ("text",),
            "word",
            _scenes,
            _looker,
            {
                "look": (
                    "Say the place.",
                    "Say one word.",
                    "What is the animal?",
                    "Say the color of the thing.",
                    "Copy the text.",
                    "Say the adjective.",
                )
            },
        ),
        Task(
            "words",
            ("word",),
            "label",
            _words,
            _labeller,
            {
                "name": (
                    "Choose the right label.",
                    "Label the word: animal -> foo, tool -> baz, fruit -> bar.",
                    "Copy the word.",
                    "Label the word: animal -> foo, tool -> bar, fruit -> baz.",
                    "Say the category of the word.",
                    "Label the word: animal -> foo.",
                )
            },
        ),
        Task(
            "helpdesk",
            ("text",),
            "team",
            _helpdesk,
            _desk,
            {
                "find": (
                    "Say the name.",
                    "Say the city in the message.",
                    "Say the thing that has the problem.",
                    "What is it about?",
                    "Copy the text.",
                    "Say one word.",
                ),
                "route": (
                    "Classify the message.",
                    "Say the team.",
                    "Which team handles the message?",
                    "Say the name.",
                    "Give an answer.",
                    "Choose one.",
                ),
            },
        ),
    )
}
