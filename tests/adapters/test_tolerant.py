# ruff: noqa: UP045 - both spellings of optional types are read
"""Slips that are understood, each as a case; and what stays unread, since it could mean several things."""

from __future__ import annotations

import enum
from typing import Any, Literal, Optional

import pydantic
import pytest

import lampc
from lampc.ir.adapters import ParseFailure, adapter


class Mood(enum.Enum):
    GOOD = "good"
    NOT_GOOD = "not good"


class Person(pydantic.BaseModel):
    full_name: str
    age: int
    tags: list[str] = []


class Named(pydantic.BaseModel):
    name: str


class Adult(pydantic.BaseModel):
    age: int

    @pydantic.field_validator("age")
    @classmethod
    def grown(cls, age: int) -> int:
        if age < 18:
            raise ValueError("too young")
        return age


def read(layout: str, annotation: Any, text: str, **options: Any) -> Any:
    """The output `x` of an answer."""
    fields = {"q": (str, lampc.InputField()), "x": (annotation, lampc.OutputField(**options))}
    return adapter(layout).parse(lampc.Signature(fields, "Do it.").ir(), text)["x"]


BO = {"full_name": "Bo", "age": 7, "tags": []}
ADA = {"full_name": "Ada", "age": 36, "tags": []}


@pytest.mark.parametrize(
    ("annotation", "said", "value"),
    [
        (int, "3,000", 3000),
        (int, "about 7 apples", 7),
        (int, "**42**", 42),
        (float, "$3.50", 3.5),
        (float, "```\n0.25\n```", 0.25),
        (bool, "Yes.", True),
        (bool, "No, it does not.", False),
        (Literal["yes", "no"], "YES", "yes"),
        (Literal["yes", "no"], "The answer is no.", "no"),
        (Literal["in stock", "sold out"], "In_Stock", "in stock"),
        (Literal[1, 2, 3], "'2'", 2),
        (Mood, "Good", "good"),
        (Mood, "It is not good.", "not good"),
        (list[str], "- a\n- b", ["a", "b"]),
        (list[str], "a\nb", ["a", "b"]),
        (list[str], "just one", ["just one"]),
        (list[int], "1. 4\n2. 5", [4, 5]),
        (list[int], '{"items": ["1", 2.0]}', [1, 2]),
        (list[int], "7", [7]),
        (Optional[int], "N/A", None),
        (Optional[str], "None", None),
        (dict[str, int], '{"a": "1,000"', {"a": 1000}),
        (Person, '```json\n{"Full Name": "Ada", "age": "36"}\n```', ADA),
        (Person, '[{"full_name": "Ada", "age": 36}]', ADA),
        (Person, '{"person": {"full_name": "Ada", "age": 36}}', ADA),
        (Person, "Here it is: {full_name: 'Ada', age: 36,} Hope it helps!", ADA),
        (Person, '{"full_name": "Ada", "age": 36', ADA),
        (list[Person], '{"full_name": "Ada", "age": 36}', [ADA]),
        (list[Person], '{"full_name": "Ada", "age": 36}\n{"full_name": "Bo", "age": 7}', [ADA, BO]),
        (list[str], "[1, 2]", ["1", "2"]),
        (list[str], '"a"', ["a"]),
        (list[str], '"a", "b, c"', ["a", "b, c"]),
        (list[str], '{"items": ["a"]}', ["a"]),
        (list[str], "These:\n\n- a\n- b, c\n\nThat is all.", ["a", "b, c"]),
        (list[int], "1\n2", [1, 2]),
        (int, "7\n\nSince 3 and 4 are 7.", 7),
        (bool, "True, since it is not empty", True),
        (Literal["yes", "no"], "No, it does not.", "no"),
        (Literal["low", "high"], "high\n(nothing was denied)", "high"),
        (Literal["gpt-4", "gpt-5"], "GPT 4", "gpt-4"),
        (Literal[-1, 0, 1], "The answer is -1.", -1),
    ],
)
def test_a_value_is_read_as_it_is_meant(annotation: Any, said: str, value: Any) -> None:
    texts = {"chat": f"[[ ## x ## ]]\n{said}\n\n[[ ## completed ## ]]", "xml": f"<x>\n{said}\n</x>"}
    if annotation == list[str]:  # in XML DSPy reads any text as a list of one
        del texts["xml"]
    for layout, text in texts.items():
        got = read(layout, annotation, text)
        assert got == value
        assert type(got) is type(value)


@pytest.mark.parametrize("layout", ["chat", "json", "xml", "baml", "compact"])
@pytest.mark.parametrize(
    "text",
    [
        "[[ ## x ## ]]\n7\n\n[[ ## completed ## ]]",
        "[[ ## x ## ]\n7",
        "[[## X ##]]\n7\n[[ ## completed ## ]]",
        "[## x ##] 7",
        "[[ ## x ## ]] 7 [[ ## completed ## ]]\nI hope this helps!",
        "**x**: 7",
        "### x: 7",
        '{"x": 7}',
        "{'x': '7'}",
        '```json\n{"x": 7}\n```',
        'Sure! {"x": 7} Anything else?',
        '{"x": 7',
        '{"reasoning": "since", "x": 7}',
        "<x>7</x>",
        "<x>\n7",
        "Here you are: <x>7</x> & more",
        "x: 7",
        "7",
        "x = 7",
    ],
)
def test_the_form_may_be_slightly_off(layout: str, text: str) -> None:
    assert read(layout, int, text) == 7


@pytest.mark.parametrize(
    ("annotation", "said", "why"),
    [
        (int, "seven", "whole number"),
        (int, "between 3 and 5", "whole number"),
        (int, "3.5", "whole number"),
        (bool, "yes and no", "true or false"),
        (Literal["yes", "no"], "yes or no", "expected one of: yes, no"),
        (Person, '{"age": 36}', "full_name"),
        (list[int], '["a"]', "item 0"),
        (Adult, '{"age": 7}', "too young"),
        (float, "1e999", "number"),
        (list[str], "a, b, c", "list"),
        (list[str], "salt and pepper", "list"),
        (list[str], "- a\n  and more of a\n- b", "list"),
        (list[str], "Here they are:\na\nb", "list"),
        (list[int], "[1, null]", "item 1"),
        (int, "[1, null]", "whole number"),
        (int, "7\n8", "whole number"),
        (int, "3 million", "whole number"),
        (int, "3k", "whole number"),
        (int, "more than 3", "whole number"),
        (int, "minus 3", "whole number"),
        (int, "seven or 8", "whole number"),
        (float, "50%", "number"),
        (bool, "isn't true", "true or false"),
        (bool, "There is no doubt.", "true or false"),
        (Literal["1", "2", "10"], "1.0", "expected one of"),
        (Literal["1", "2", "10"], "1 0", "expected one of"),
        (Literal[0, 1], "-1", "expected one of"),
        (Literal["4", "5"], "4 out of 5 or so", "expected one of"),
        (Literal["5", "8"], "5 out of 10", "expected one of"),
        (Literal["positive", "negative"], "not positive", "expected one of"),
        (Literal["positive", "negative"], "neither positive", "expected one of"),
        (Literal["positive", "negative"], "It is not: positive", "expected one of"),
        (Literal["positive", "negative"], "isn't negative", "expected one of"),
        (Literal["positive", "not positive"], "non-positive", "expected one of"),
        (Literal["positive", "mixed"], "positive or neutral", "expected one of"),
        (Adult, "age", "object"),
        (Named, "It is Ada.", "object"),
    ],
)
def test_what_may_mean_several_things_is_refused_with_the_reason(annotation: Any, said: str, why: str) -> None:
    with pytest.raises(ParseFailure, match=f"output `x`.*{why}") as caught:
        read("chat", annotation, f"[[ ## x ## ]]\n{said}")
    assert caught.value.text.endswith(said)


def test_limits_hold_unless_dspys_behaviour_is_asked_for() -> None:
    text = "[[ ## x ## ]]\n12\n\n[[ ## completed ## ]]"
    with pytest.raises(ParseFailure, match="at most 10"):
        read("chat", int, text, le=10)
    assert read("chat_dspy", int, text, le=10) == 12


def test_two_outputs_are_told_apart_by_their_heads() -> None:
    signature = lampc.Signature("q -> reasoning, answer_text: str, n: int").ir()
    wanted = {"reasoning": "so: it is", "answer_text": "red", "n": 3}
    for text in (
        "[[ ## reasoning ## ]]\nso: it is\n[[ ## answer-text ## ]]\nred\n[[ ## n ## ]] 3",
        "**Reasoning:** so: it is\n**Answer Text:** red\n**N:** 3",
        "Reasoning: so: it is\nAnswer text: red\nn: 3",
        '{"Reasoning": "so: it is", "answerText": "red", "n": "3"}',
    ):
        assert adapter("chat").parse(signature, text) == wanted
