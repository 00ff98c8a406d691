"""Signatures: both forms, types, editing, errors."""

from __future__ import annotations

import dataclasses
import datetime  # noqa: F401 - found by the texts of signatures
import enum
import subprocess
import sys
import time
from typing import Any, ClassVar, Literal, Optional, TypedDict

import pytest

import lampc
from lampc.ir import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    STR,
    Choice,
    CompileError,
    Field,
    ListOf,
    MapOf,
    Maybe,
    Record,
    Shape,
)


class Mood(enum.Enum):
    GOOD = "good"
    BAD = "bad"


@dataclasses.dataclass
class Passage:
    title: str
    lines: list[int]


class Pair(TypedDict):
    left: str
    right: Passage


class QA(lampc.Signature):
    """Answer the question.

    Be brief.
    """

    question: str = lampc.InputField(desc="what is asked")
    passages: list[Passage] = lampc.InputField()
    answer: Literal["yes", "no"] = lampc.OutputField(desc="${answer}", max_tokens=4)


@dataclasses.dataclass
class Person:
    name: str
    boss: Person | None = None


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


MOOD = Choice(("good", "bad"), f"{__name__}:Mood")
PASSAGE = Record((("title", STR), ("lines", ListOf(INT))), f"{__name__}:Passage")


def types(text: str, **custom: Any) -> dict[str, Any]:
    return {n: f.type for n, f in lampc.make_signature(text, custom_types=custom).fields.items()}


def test_string_form() -> None:
    found = types("q, ctx: list[str] -> answer: Literal['a','b'], score: float, n: int | None, ok: bool")
    assert found == {
        "q": STR, "ctx": ListOf(STR), "answer": Choice(("a", "b")), "score": FLOAT, "n": Maybe(INT), "ok": BOOL,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        ("Optional[list[str]]", Maybe(ListOf(STR))),
        ("List[int]", ListOf(INT)),
        ("dict[str, int]", MapOf(INT)),
        ("dict[int, str]", MapOf(STR, INT)),
        ("dict", MapOf(ANY)),
        ("tuple[int, int]", ListOf(INT)),
        ("typing.Any", ANY),
        ("Mood", MOOD),
        ("Level", INT),
        ("Literal[1, 2]", INT),
        ("Literal['a'] | Literal['b']", Choice(("a", "b"))),
        ("Literal['x', 1]", ANY),
        ("Literal['x', None]", Maybe(Choice(("x",)))),
        ("Passage", PASSAGE),
        ("Pair", Record((("left", STR), ("right", PASSAGE)))),
        ("Person", Record((("name", STR), ("boss", ANY)), f"{__name__}:Person")),
        ("int | str", ANY),
        ("bytes", STR),
        ("datetime.datetime", STR),
    ],
)
def test_types(annotation: str, wanted: Any) -> None:
    assert types(f"q -> x: {annotation}")["x"] == wanted


def test_custom_types_and_callers_names() -> None:
    Local = Literal["here"]
    assert types("q -> x: Local")["x"] == Choice(("here",))
    assert types("q -> x: T", T=int)["x"] == INT
    assert Local is not None


def test_class_form() -> None:
    s = QA.ir()
    assert s.name == "QA"
    assert s.instruction == "Answer the question.\n\nBe brief."
    assert s.inputs[0] == Field("question", STR, "what is asked")
    assert s.inputs[1] == Field("passages", ListOf(PASSAGE), shape=Shape("list[Passage]"))
    assert s.outputs == (Field("answer", Choice(("yes", "no")), max_tokens=4),)
    assert list(QA.input_fields) == ["question", "passages"]
    assert QA.output_fields["answer"].json_schema_extra["__dspy_field_type"] == "output"


def test_inheritance_and_default_instruction() -> None:
    class More(QA):
        reason: str = lampc.OutputField(ge=1, max_length=20)

    assert list(More.fields) == ["question", "passages", "answer", "reason"]
    assert More.instructions == QA.instructions
    assert More.ir().outputs[1].constraints == "greater than or equal to: 1, maximum length: 20"
    assert lampc.Signature("a, b -> c").instructions == "Given the fields `a`, `b`, produce the fields `c`."


def test_editing_gives_new_signatures() -> None:
    first = lampc.Signature("a, b -> c", "Do it.")
    assert first.with_instructions("Else.").instructions == "Else."
    assert first.append_instructions("And more.").instructions == "Do it.\n\nAnd more."
    assert list(first.prepend("z", lampc.OutputField(), int).output_fields) == ["z", "c"]
    assert list(first.append("z", lampc.InputField()).input_fields) == ["a", "b", "z"]
    assert list(first.insert(1, "z", lampc.InputField()).fields) == ["a", "z", "b", "c"]
    assert list(first.delete("a").fields) == ["b", "c"]
    assert first.with_updated_fields("b", int, desc="number").ir().inputs[1] == Field("b", INT, "number")
    assert list(first.fields) == ["a", "b", "c"]
    assert first.instructions == "Do it."
    assert first.equals(lampc.Signature("a, b -> c", "Do it."))
    assert first.equals(lampc.Signature("b, a -> c", "Do it."))
    assert not first.equals(lampc.Signature("a, b -> d", "Do it."))
    assert not first.equals("a, b -> c")
    with pytest.raises(ValueError, match="no place"):
        first.insert(5, "z", lampc.InputField())


def test_editing_is_cheap() -> None:
    first = lampc.Signature("a, b -> c")
    started = time.perf_counter()
    for _ in range(200):
        first.with_instructions("x")
    assert time.perf_counter() - started < 0.2


def test_state() -> None:
    state = QA.with_instructions("New.").dump_state()
    assert state["fields"][0] == {"prefix": "Question:", "description": "what is asked"}
    assert QA.load_state(state).instructions == "New."
    with pytest.raises(ValueError, match="has 3 fields, `StringSignature` has 2"):
        lampc.Signature("a -> b").load_state(state)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("a b -> c", "L0701", "the inputs of signature"),
        ("a, b", "L0701", "exactly one `->`"),
        ("a -> b -> c", "L0701", "exactly one `->`"),
        ("a, a -> c", "L0701", "two fields called `a`"),
        ("a -> a", "L0701", "two fields called `a`"),
        ("a=1 -> b", "L0701", "nothing else"),
        ("a ->", "L0701", "no outputs"),
        ("a: Foo -> b", "L0702", "name 'Foo' is not defined"),
        ("a: bytearray -> b", "L0702", "`bytearray` is not a type"),
        ("a: list[Foo] -> b", "L0702", "name 'Foo' is not defined"),
        ("a: (lambda: 1) -> b", "L0702", "is no type"),
        ("a: open('x') -> b", "L0702", "is no type"),
        ("a: enum.Nothing -> b", "L0702", "`enum` has no `Nothing`"),
        ("a: nowhere.Nothing -> b", "L0702", "no module or name `nowhere`"),
    ],
)
def test_errors(text: str, code: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        lampc.Signature(text)
    (found,) = caught.value.diagnostics
    assert isinstance(caught.value, ValueError)
    assert found.code == code
    assert message in found.message
    assert found.primary is not None
    assert found.primary.span.path == __file__


def test_class_form_errors() -> None:
    with pytest.raises(TypeError, match="neither input nor output"):

        class Bad(lampc.Signature):
            question: str

    with pytest.raises(CompileError, match="`threshold` of signature `Odd` is no field"):

        class Odd(lampc.Signature):
            question: str = lampc.InputField()
            threshold = 3

    class Fine(lampc.Signature):
        question: str = lampc.InputField()
        _note = "kept"
        limit: ClassVar[int] = 3

        @classmethod
        def short(cls) -> str:
            return cls.signature

    assert Fine.short() == "question -> "
    assert list(Fine.fields) == ["question"]
    with pytest.raises(AttributeError, match="signatures never change: write"):
        QA.instructions = "New."
    with pytest.raises(TypeError, match="no option `dsc`"):
        lampc.InputField(dsc="x")
    with pytest.raises(TypeError, match="has no instances"):
        QA()
    with pytest.raises(TypeError, match="a signature is a class or a text"):
        lampc.Predict(3)


def test_unused_imports_of_annotations_work() -> None:
    class Late(lampc.Signature):
        a: Optional[Mood] = lampc.InputField()  # noqa: UP045 - the old form must work
        b: Any = lampc.OutputField()

    assert Late.ir().inputs[0].type == Maybe(MOOD)


def test_simple_signatures_load_neither_pydantic_nor_the_parser_of_ir() -> None:
    program = """
import sys, lampc
p = lampc.Predict("q, c: list[str] -> a: Literal['x', 'y'], n: Optional[int], d: dict[str, float]")
p.signature.ir(), p.signature.lift(p.signature.lower({"q": "x", "c": ["y"]}))
print([m for m in ("pydantic", "lark", "torch", "numpy", "dspy") if m in sys.modules])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "[]"
