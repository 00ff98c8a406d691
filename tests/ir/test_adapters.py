"""Adapters: what one writes as an answer it reads back as the same values; odd answers are read or refused clearly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lampc.ir import STR, Choice, Field, ListOf, MapOf, Maybe, Record, Signature, Type, freeze
from lampc.ir.adapters import ADAPTERS, ParseFailure, adapter
from lampc.ir.adapters.values import Uncastable, cast
from lampc.ir.content import Demo
from lampc.ir.types import ANY, BOOL, FLOAT, INT
from tests.content import FIELD_TYPES, signatures

plain_texts = st.from_regex(r"[a-z]{2,6}( [a-z]{2,6}){0,2}", fullmatch=True).filter(lambda t: t not in ("none", "null"))


def answers(t: Type) -> st.SearchStrategy[Any]:
    """Values that a model could mean: texts of words, since a text may hold what looks like a marker."""
    match t:
        case ListOf(item):
            return st.lists(answers(item), min_size=1, max_size=3)
        case Maybe(item):
            return st.one_of(st.none(), answers(item))
        case Record(parts):
            return st.fixed_dictionaries({n: answers(x) for n, x in parts})
        case MapOf(item, key):
            keys = plain_texts if key == STR else answers(key).map(str)
            return st.dictionaries(keys, answers(item), max_size=3)
        case Choice(options):
            return st.sampled_from(options)
    kinds = {"int": st.integers(), "float": st.floats(-9, 9), "bool": st.booleans()}
    return kinds.get(str(t), plain_texts)


READABLE = [n for n, a in ADAPTERS.items() if not a.strict and n not in ("two_step", "raw")]
"""Those that read on where DSPy refuses: it reads the text that it writes for None as a text."""


@pytest.mark.parametrize("layout", READABLE)
def test_an_adapter_reads_what_it_writes(layout: str) -> None:
    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def law(data: st.DataObject) -> None:
        signature = data.draw(signatures(FIELD_TYPES))
        outputs = {f.name: data.draw(answers(f.type)) for f in signature.outputs}
        every = {f.name: data.draw(answers(f.type)) for f in signature.inputs} | outputs
        (_, user), (role, said) = adapter(layout).demo(signature, Demo(freeze(every)))
        assert role == "assistant"
        assert user
        assert adapter(layout).parse(signature, said) == outputs

    law()


@pytest.mark.parametrize(
    ("text", "wanted", "value"),
    [
        (" yes. ", Choice(("yes", "no")), "yes"),
        ("NO", Choice(("yes", "no")), "no"),
        ("True", BOOL, True),
        ("no.", BOOL, False),
        ("3,000", INT, 3000),
        ("`7`", INT, 7),
        ("12345678901234567891", INT, 12345678901234567891),
        ("-1.5e1", FLOAT, -15.0),
        ('["a", "b"]', ListOf(STR), ["a", "b"]),
        ("['a', 'it\\'s']", ListOf(STR), ["a", "it's"]),
        ('```json\n["a"]\n```', ListOf(STR), ["a"]),
        ("- a\n- b", ListOf(STR), ["a", "b"]),
        ("1. 4\n2) 5", ListOf(INT), [4, 5]),
        ("- 1", ListOf(STR), ["1"]),
        ("{'a': None, 'b': (1, 2)}", Record(()), {"a": None, "b": [1, 2]}),
        ('{"a": true, "a": false}', Record(()), {"a": False}),
        ("n/a", Maybe(INT), None),
        ("plain words", ANY, "plain words"),
        ('"\\d"', ANY, "\\d"),
        ("NaN", ANY, "NaN"),
        ("[[" * 1000, ANY, "[[" * 1000),
    ],
)
def test_answers_are_read_as_they_are_meant(text: str, wanted: Type, value: Any) -> None:
    got = cast(text, wanted)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "wanted", "why"),
    [
        ("maybe", BOOL, "neither true nor false"),
        ("seven", INT, "not a number"),
        ("7.5", INT, "not a whole number"),
        ("1e999", INT, "too large a number"),
        ("9" * 5000, INT, "too large a number"),
        ("perhaps", Choice(("yes", "no")), "none of yes, no"),
        ("a, b", ListOf(INT), "not JSON for list[int]"),
        ('["a"]', ListOf(INT), "item 0: expected int, got 'a'"),
        ("{1, 2}", Record(()), "not JSON"),
        ("[NaN]", ListOf(FLOAT), "not JSON"),
        ("[1e999]", ListOf(FLOAT), "not JSON"),
        ('["\\ud800"]', ListOf(STR), "not JSON"),
        ("[" * 100_000, ListOf(STR), "not JSON"),
        ('{"a": ' * 5000, Record(()), "not JSON"),
        ("[" + "9" * 5000 + "]", ListOf(INT), "not JSON"),
        pytest.param("1" * 200_000 + "x", INT, "not a number", id="digits"),
        pytest.param("x" + "\n" * 200_000 + "x", ListOf(STR), "not JSON", id="lines"),
    ],
)
def test_answers_that_cannot_be_read_say_why(text: str, wanted: Type, why: str) -> None:
    with pytest.raises(Uncastable, match=why.replace("[", "\\[").replace("]", "\\]")):
        cast(text, wanted)


@pytest.mark.parametrize("layout", READABLE)
def test_a_missing_output_is_named_and_what_was_read_is_kept(layout: str) -> None:
    signature = Signature((Field("q", STR),), (Field("a", STR), Field("b", INT), Field("c", Maybe(STR))))
    (_, (_, said)) = adapter(layout).demo(signature, Demo(freeze({"q": "x", "a": "red", "b": 1, "c": None})))
    assert adapter(layout).parse(signature, said) == {"a": "red", "b": 1, "c": None}
    cut = said[: said.rindex("\n", 0, said.index("b"))].rstrip()
    with pytest.raises(ParseFailure, match="output `b` is missing") as caught:
        adapter(layout).parse(signature, cut)
    assert caught.value.partial == {"a": "red"}
    assert caught.value.text == cut
    with pytest.raises(ParseFailure):
        adapter(layout).parse(signature, "")
