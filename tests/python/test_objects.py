"""Objects of the user's classes: as outputs of calls, inside of graphs, in batches and in metrics."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import pydantic
import pytest

import lampc
from lampc.frontend.lmp.emit import emit_lmp
from lampc.frontend.python.values.plain import plain
from lampc.frontend.python.values.reading import read
from lampc.ir import INT, CompileError, Record, hostvalues, parse_module
from lampc.ir.hostvalues import lifted, settled
from lampc.ir.prog import Func
from lampc.runtime.objects import with_objects


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclasses.dataclass
class Passage:
    title: str
    lines: list[int]
    mood: Mood = Mood.GOOD


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int = pydantic.Field(ge=0)

    @pydantic.field_validator("name")
    @classmethod
    def capital(cls, name: str) -> str:
        if not name[:1].isupper():
            raise ValueError("names have a capital")
        return name

    def greeting(self) -> str:
        return f"Hello {self.name}"


class Pair(TypedDict):
    left: str
    right: Passage


class Point(NamedTuple):
    x: int
    y: int = 0


@pytest.mark.parametrize(
    ("annotation", "json_value", "value"),
    [
        (str, "x", "x"),
        (list[str], ["x"], ["x"]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (Mood, "good", Mood.GOOD),
        (Mood, "GOOD", Mood.GOOD),
        (Level, 2, Level.HIGH),
        (list[Mood], ["bad"], [Mood.BAD]),
        (Literal["a", "b"], "a", "a"),
        (Passage, {"title": "t", "lines": [1]}, Passage("t", [1])),
        (list[Passage], [{"title": "t", "lines": [1], "mood": "bad"}], [Passage("t", [1], Mood.BAD)]),
        (dict[str, Passage], {"p": {"title": "t", "lines": []}}, {"p": Passage("t", [])}),
        (Passage | None, None, None),
        (Pair, {"left": "l", "right": {"title": "t", "lines": []}}, {"left": "l", "right": Passage("t", [])}),
        (Point, [1, 2], Point(1, 2)),
        (Person, {"name": "Ada", "age": 3}, Person(name="Ada", age=3)),
        (list[Person] | None, [{"name": "Ada", "age": 3}], [Person(name="Ada", age=3)]),
        (Person | Passage, {"title": "t", "lines": []}, Passage("t", [])),
        (set[int], [1, 2], {1, 2}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (datetime.date, "2024-01-02", datetime.date(2024, 1, 2)),
        (Decimal, "1.50", Decimal("1.50")),
        (UUID, "12345678-1234-5678-1234-567812345678", UUID("12345678-1234-5678-1234-567812345678")),
        (bytes, "abc", b"abc"),
        (int | str, "x", "x"),
    ],
)
def test_json_becomes_objects_and_objects_json(annotation: Any, json_value: Any, value: Any) -> None:
    reading = read(annotation, {})
    found = reading.lift(json_value)
    assert found == value
    assert type(found) is type(value)
    again = reading.lift(plain(found))
    assert again == value
    assert json.loads(json.dumps(plain(found))) == plain(found)


@pytest.mark.parametrize(
    ("annotation", "json_value", "message"),
    [
        (Mood, "sad", "'sad' is none of good, bad"),
        (Person, {"name": "Ada"}, "age: Field required"),
        (Person, {"name": "ada", "age": 1}, "name: Value error, names have a capital"),
        (list[Passage], [{"title": "t"}], r"0.lines: Field required"),
        (Person, {"name": "Ada", "age": -1}, "age: Input should be greater than or equal to 0"),
    ],
)
def test_what_is_no_object_is_said_with_its_place(annotation: Any, json_value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(annotation, {}).lift(json_value)


def test_types_lift_and_settle_what_their_classes_say() -> None:
    made = read(list[Person], {}).type
    assert lifted([{"name": "Ada", "age": 3}], made) == [Person(name="Ada", age=3)]
    assert settled([{"name": "Ada", "age": "3"}], made) == [{"name": "Ada", "age": 3}]
    with pytest.raises(ValueError, match="names have a capital"):
        settled([{"name": "ada", "age": 3}], made)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({Mood.GOOD: 1, 2: "b", True: 3}, {"good": 1, "2": "b", "true": 3}),
        ((1, {2.5}), [1, [2.5]]),
        (lampc.Example(a=Passage("t", [])), {"a": {"title": "t", "lines": [], "mood": "good"}}),
        (Path("/a/b"), "/a/b"),
        (datetime.timedelta(hours=1), "PT1H"),
        (float("inf"), float("inf")),
        (1 + 2j, "1+2j"),
    ],
)
def test_plain_values(value: Any, wanted: Any) -> None:
    assert plain(value) == wanted


def test_what_has_no_json_is_its_text() -> None:
    class Odd:
        def __str__(self) -> str:
            return "odd"

    assert plain({"a": [Odd()]}) == {"a": ["odd"]}


class Extract(lampc.Signature):
    """Who is it?"""

    text: str = lampc.InputField()
    person: Person = lampc.OutputField()
    passages: list[Passage] = lampc.OutputField()
    mood: Mood = lampc.OutputField()


ANSWER = {"person": {"name": "Ada", "age": 36}, "passages": [{"title": "t", "lines": [1]}], "mood": "bad"}
TEXT = "\n".join(f"[[ ## {k} ## ]]\n{json.dumps(v) if k != 'mood' else v}" for k, v in ANSWER.items())


def greet(person: Person, passages: list[Passage]) -> str:
    return f"{person.greeting()} {passages[0].mood.name} {type(passages[0]).__name__}"


class Greeter(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.extract = lampc.Predict(Extract)

    def forward(self, text: str) -> lampc.Prediction:
        found = self.extract(text=text)
        said = greet(found.person, found.passages)
        return lampc.Prediction(said=said, person=found.person, shown=f"{found.mood}")


def scripted(messages: Any, **options: Any) -> str:
    return TEXT


def test_outputs_are_objects() -> None:
    with lampc.context(lm=scripted, layout="chat"):
        found = lampc.Predict(Extract)(text="x")
    assert found.person == Person(name="Ada", age=36)
    assert found.passages == [Passage("t", [1])]
    assert found.mood is Mood.BAD


def test_graphs_hand_objects_to_python_and_give_them_back() -> None:
    assert lampc.trace(Greeter()).dynamic is None
    with lampc.context(lm=scripted, layout="chat"):
        direct = Greeter()(text="x")
        (batched,) = Greeter().batch([{"text": "x"}])
    for found in (direct, batched):
        assert found.said == "Hello Ada GOOD Passage"
        assert found.person == Person(name="Ada", age=36)
        assert found.shown == "Mood.BAD"


def test_metrics_see_objects() -> None:
    seen = []

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        seen.append(prediction.person.greeting())
        return True

    with lampc.context(lm=scripted, layout="chat"):
        lampc.Evaluate(devset=[lampc.Example(text="x").with_inputs("text")], metric=metric)(Greeter())
    assert seen == ["Hello Ada"]


class Tags(pydantic.BaseModel):
    """A class that takes more than its schema tells of, under another name than its field has."""

    tags: list[str] = pydantic.Field(alias="Tags")

    @pydantic.field_validator("tags", mode="before")
    @classmethod
    def parts(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("chat", '[[ ## found ## ]]\n{"Tags": "a,b"}'),
        ("json", '{"found": {"Tags": "a,b"}}'),
        ("xml", '<found>\n{"Tags": "a,b"}\n</found>'),
        ("compact", 'found: {"Tags": "a,b"}'),
        ("chat", '[[ ## found ## ]]\n{"tags": ["a", "b"]}'),
    ],
)
def test_classes_read_what_the_model_wrote(layout: str, text: str) -> None:
    predict = lampc.Predict(lampc.Signature("q -> found: Tags"), layout=layout)
    with lampc.context(lm=lambda messages, **_: text):
        assert predict(q="x").found == Tags(Tags=["a", "b"])


class Dated(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.when = lampc.Predict("text -> day: datetime.date")

    def forward(self, text: str) -> lampc.Prediction:
        return lampc.Prediction(year=self.when(text=text).day.year)


def test_objects_that_no_graph_holds_make_a_program_dynamic() -> None:
    unit = lampc.trace(Dated())
    assert unit.dynamic is not None
    assert "output `day`" in unit.dynamic.message
    with lampc.context(lm=lambda messages, **_: "[[ ## day ## ]]\n2024-05-06", layout="chat"):
        (found,) = Dated().batch([{"text": "x"}])
    assert found.year == 2024


def test_classes_of_a_saved_program_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made = parse_module(str(lampc.trace(Greeter()).module)).lookup("Greeter")
    assert isinstance(made, Func)
    person = next(t for n, t in made.returns.fields if n == "person")  # type: ignore[attr-defined]
    monkeypatch.setattr(hostvalues, "_LIVE", {})
    assert with_objects({"name": "Ada", "age": 3}, person) == Person(name="Ada", age=3)
    lost = Record((("a", INT),), "nowhere:Lost")
    assert with_objects({"a": 1}, lost) == {"a": 1}


def test_the_language_has_no_words_for_classes() -> None:
    with pytest.raises(CompileError, match="cannot say the type `Person` of field `person`"):
        emit_lmp(lampc.trace(Greeter()))


class Loose(lampc.Module):
    """Runs as plain Python: what it gives has no declared type."""

    def __init__(self) -> None:
        super().__init__()
        self.extract = lampc.Predict(Extract)

    def forward(self, text: str) -> Any:
        try:
            found = self.extract(text=text)
            return lampc.Prediction(person=found.person, moods=[found.mood], text=found.person.greeting())
        finally:
            pass


@pytest.mark.parametrize("program", [Greeter, Loose])
def test_optimizers_metrics_see_objects_and_demos_hold_them(program: Any, tmp_path: Path) -> None:
    seen = []

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        seen.append(prediction.person.greeting())
        if trace:
            seen.append(trace[0][2].passages[0].mood)
        return True

    rows = [lampc.Example(text="x").with_inputs("text")]
    with lampc.context(lm=scripted, layout="chat"):
        tuned = lampc.BootstrapFewShot(metric=metric, max_bootstrapped_demos=1, max_labeled_demos=0).compile(
            program(), trainset=rows
        )
    assert set(seen) == {"Hello Ada", Mood.GOOD}
    (demo,) = tuned.extract.demos
    assert demo.person == Person(name="Ada", age=36)
    tuned.extract.demos = [lampc.Example(text="x", person=Person(name="Ada", age=36), passages=[], mood=Mood.BAD)]
    tuned.save(tmp_path / "state.json")
    loaded = program()
    loaded.load(tmp_path / "state.json")
    assert loaded.extract.demos[0].toDict() == {"text": "x", **ANSWER, "passages": []}
