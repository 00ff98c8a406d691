# ruff: noqa: UP007, UP045 - both spellings of unions are to be read
"""Random calls, made twice: for DSPy and for lampc. One seed gives one case, so a failure can be looked at alone."""

from __future__ import annotations

import random
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, Union

from tests.adapters.models import Address, Color, Company, Level, Node, Person, Point, Row

SIMPLE: list[Any] = [str, str, str, int, float, bool, list[str], list[int], Literal["yes", "no"], Optional[str]]
RICH: list[Any] = [
    Any, dict, list, dict[str, Any], dict[str, int], dict[str, list[str]], list[float], list[list[str]],
    list[dict[str, Any]], tuple[int, str], tuple[int, ...], set[int],
    Optional[int], Optional[list[str]], Optional[bool], list[Optional[int]], Union[int, str], Union[str, int, None],
    Union[float, list[int]], int | None, str | float,
    Literal["it's", 'a "b"', "c;d", "both '\""], Literal[1, 2, 3], Literal["a", 1, True], Optional[Literal["x", "y"]],
    list[Literal["a", "b"]],
    Color, Level, Optional[Color], list[Color],
    Person, Address, Company, Optional[Person], list[Person], list[Company], dict[str, Person], Union[Person, Address],
    Point, list[Point], Row, list[Row],
]  # fmt: skip
RECURSIVE: list[Any] = [Node, list[Node]]
"""DSPy's compact adapter refuses them."""
NAMES = ["question", "text", "context", "notes", "n_best", "answer", "label", "score", "ok", "rows", "why", "x1"]
TEXTS = ["red", "a b", "two\nlines", "", " spaced ", "«ö»", "[[ ## x ## ]]", '{"a": 1}', "None", "1", "tab\there"]
TEXTS += ["a & b < c", "<b>x</b>", "it's", '"quoted"', "- item", "«x»\n«y»", "end\n\n", "\u2028sep", "\\n"]
INSTRUCTIONS = [
    "Do it.", "First line.\n\n    Indented.\nLast.", "", "Ends with space ", "Ünïcode “quotes”.\n", "    Two\n    in.",
    "{braces} %s", "Tab\there",
]  # fmt: skip
DESCS = ["", "", "what it is", "two\nlines", "${NAME}", "{braces}"]
LIMITS: list[dict[str, Any]] = [{"min_length": 1}, {"max_length": 9, "min_length": 2}]
BOUNDS: list[dict[str, Any]] = [{"ge": 0}, {"gt": -5, "lt": 10}, {"le": 3, "multiple_of": 2}]


@dataclass
class Case:
    """Fields as (name, annotation, options, output), an instruction, and Python values for both sides."""

    fields: list[tuple[str, Any, dict[str, Any], bool]]
    instruction: str
    demos: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] | None = None

    def inputs_of(self) -> list[tuple[str, Any]]:
        return [(n, a) for n, a, _, output in self.fields if not output]

    def outputs_of(self) -> list[tuple[str, Any]]:
        return [(n, a) for n, a, _, output in self.fields if output]


def make_case(seed: int, *, recursive: bool = True) -> Case:
    """The case of a seed."""
    rng = random.Random(seed)
    names = rng.sample(NAMES, rng.randint(2, 6))
    split = rng.randint(1, len(names) - 1)
    pool = [*SIMPLE, *RICH, *(RECURSIVE if recursive else [])]
    fields: list[tuple[str, Any, dict[str, Any], bool]] = []
    for i, name in enumerate(names):
        annotation = rng.choice(rng.choice([SIMPLE, pool]))
        options: dict[str, Any] = {}
        desc = rng.choice(DESCS).replace("NAME", name)
        if desc:
            options["desc"] = desc
        if rng.random() < 0.2 and annotation in (str, int, float):
            options |= rng.choice(LIMITS if annotation is str else BOUNDS)
        fields.append((name, annotation, options, i >= split))
    case = Case(fields, rng.choice(INSTRUCTIONS))
    for _ in range(rng.choice([0, 0, 1, 2, 3])):
        share = rng.choice([1.0, 1.0, 0.6])
        case.demos.append({n: _maybe_none(rng, a) for n, a, *_ in fields if rng.random() < share})
    whole = rng.random() < 0.9
    case.inputs = {n: value(rng, a) for n, a in case.inputs_of() if whole or rng.random() < 0.7}
    if rng.random() < 0.25:
        shown = [0.5, 1.0, 1.0]
        case.history = [
            {n: value(rng, a) for n, a, *_ in fields if rng.random() < rng.choice(shown)}
            for _ in range(rng.randint(0, 3))
        ]
    return case


def _maybe_none(rng: random.Random, annotation: Any) -> Any:
    return None if rng.random() < 0.05 else value(rng, annotation)


def value(rng: random.Random, annotation: Any) -> Any:
    """A Python value of an annotation; now and then a list where a text is declared."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is str:
        if rng.random() < 0.1:
            return [rng.choice(TEXTS) for _ in range(rng.randint(0, 3))]
        return rng.choice(TEXTS)
    if origin is Literal:
        return rng.choice(args)
    if origin in (Union, type(int | None)):
        return value_inside(rng, rng.choice(args))
    if origin is list:
        return [value_inside(rng, args[0]) for _ in range(rng.randint(0, 3))]
    if origin is set:
        return {rng.randint(0, 9) for _ in range(3)}
    if origin is tuple:
        return (1, 2, 3) if args[1] is Ellipsis else (rng.randint(0, 9), rng.choice(TEXTS))
    if origin is dict:
        return {rng.choice(["a", "b c", "d-e", "1"]): value_inside(rng, args[1]) for _ in range(rng.randint(0, 2))}
    if annotation in (Color, Level):
        return rng.choice(list(annotation))
    made = {
        type(None): lambda: None,
        int: lambda: rng.randint(-9, 9),
        float: lambda: rng.choice([0.5, 1.0, -2.25, 1e20, 3]),
        bool: lambda: rng.random() < 0.5,
        Any: lambda: rng.choice([1, "word", [1, "two"], {"k": None}, True]),
        dict: lambda: {"k": rng.choice([1, "ö", [2.5], None, {"d": True}])},
        list: lambda: [rng.choice([1, "ö", None])],
        Person: lambda: Person(name=rng.choice(TEXTS), age=rng.randint(0, 99)),
        Address: lambda: Address(street=rng.choice(TEXTS), zip=rng.choice([None, "1 & 2"])),
        Company: lambda: Company(
            title="t", staff=[Person(name="n", age=1)] * rng.randint(0, 2), colors=[Color.RED], scores={"a b": 1.5},
            seat=rng.choice([None, Address(street="s")]),
        ),
        Node: lambda: Node(label="l", children=[Node(label="<c>")] * rng.randint(0, 2)),
        Point: lambda: Point(rng.randint(0, 9)),
        Row: lambda: {"id": rng.randint(0, 9), "tags": [rng.choice(TEXTS)]},
    }  # fmt: skip
    return made[annotation]()


def value_inside(rng: random.Random, annotation: Any) -> Any:
    """As `value`, but of the right type: it stands within another value."""
    return rng.choice(TEXTS) if annotation is str else value(rng, annotation)
