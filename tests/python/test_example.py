"""Example, Prediction and Completions, held against DSPy's own classes over generated values and operations."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import dspy
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lampc

NAMES = st.sampled_from(["question", "answer", "score", "dspy_uuid", "a b", "_x"])
LEAVES = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | st.text("ab«", max_size=3)
VALUES = st.recursive(LEAVES, lambda v: st.lists(v, max_size=2) | st.dictionaries(NAMES, v, max_size=2), max_leaves=4)
STORES = st.dictionaries(NAMES, VALUES, max_size=5)
KEYS = st.lists(NAMES, max_size=3, unique=True)

READS: list[Any] = [
    lambda e: list(e.keys()), lambda e: list(e.values()), lambda e: list(e.items()), lambda e: e.keys(True),
    lambda e: e.values(include_dspy=True), lambda e: e.items(include_dspy=True), len, list, lambda e: e.toDict(),
    lambda e: e.get("answer"), lambda e: e.get("nothing", 7), lambda e: e.answer, lambda e: e["answer"],
    lambda e: "answer" in e, lambda e: e._input_keys, lambda e: bool(e), lambda e: e.nothing, lambda e: e["nothing"],
]  # fmt: skip


def both(action: Any, ours: Any, theirs: Any) -> tuple[Any, Any]:
    """What an action gives on either side: values, or the kind of exception."""
    out = []
    for side in (ours, theirs):
        try:
            out.append(action(side))
        except Exception as e:
            out.append(type(e))
    return out[0], out[1]


def agree(ours: Any, theirs: Any) -> None:
    for read in READS:
        a, b = both(read, ours, theirs)
        assert a == b, (ours, theirs)
        assert type(a) is type(b)


CHANGES: list[Any] = [
    lambda e, keys, store: e.with_inputs(*keys),
    lambda e, keys, store: e.inputs(),
    lambda e, keys, store: e.labels(),
    lambda e, keys, store: e.without(*keys),
    lambda e, keys, store: e.copy(**store),
    lambda e, keys, store: e.copy(),
    lambda e, keys, store: type(e)(e),
    lambda e, keys, store: type(e)(base=store, answer=3),
    lambda e, keys, store: e.__setitem__("answer", 5) or e,
    lambda e, keys, store: setattr(e, "answer", 6) or e,
    lambda e, keys, store: e.__delitem__("answer") or e,
    lambda e, keys, store: copy.deepcopy(e),
    lambda e, keys, store: pickle.loads(pickle.dumps(e)),
]


@settings(max_examples=200, deadline=None)
@given(STORES, st.lists(st.tuples(st.integers(0, len(CHANGES) - 1), KEYS, STORES), max_size=5))
def test_examples_behave_as_those_of_dspy(store: dict[str, Any], steps: list[tuple[int, list[str], Any]]) -> None:
    ours, theirs = lampc.Example(**store), dspy.Example(**store)
    agree(ours, theirs)
    for which, keys, other in steps:
        if not len(ours) and ours._store:
            return  # copies of DSPy's lose values under its own names where there are no others; ours keep them
        keys = [key for key in keys if not key.startswith("dspy_")]  # no name of an input
        before = repr(ours)
        a, b = both(lambda e: CHANGES[which](e, keys, other), ours, theirs)  # noqa: B023
        if isinstance(b, type):
            assert a is b
            continue
        if which < 8:
            assert repr(ours) == before  # a copy, never the same row changed
        ours, theirs = a, b
        agree(ours, theirs)
        assert repr(ours) == repr(theirs) or len(ours._input_keys or ()) > 1  # sets print in any order


@settings(max_examples=100, deadline=None)
@given(STORES, STORES, st.one_of(VALUES, st.integers(), st.floats(0.5, 2)))
def test_predictions_compare_and_add_as_those_of_dspy(one: Any, two: Any, number: Any) -> None:
    operations: list[Any] = [
        lambda p, q: p + q, lambda p, q: q + p, lambda p, q: p / q, lambda p, q: q / p, lambda p, q: p < q,
        lambda p, q: p <= q, lambda p, q: p > q, lambda p, q: p >= q, lambda p, q: p == q, lambda p, q: float(p),
        lambda p, q: sum([p, p]), lambda p, q: p.get_lm_usage(), lambda p, q: repr(p), lambda p, q: p.completions,
    ]  # fmt: skip
    for run in operations:
        pairs = [(lampc.Prediction(**one), lampc.Prediction(**two)), (dspy.Prediction(**one), dspy.Prediction(**two))]
        a, b = both(lambda pair: run(*pair), *pairs)  # noqa: B023
        assert a == b
        a, b = both(lambda p: run(p, number), pairs[0][0], pairs[1][0])  # noqa: B023
        assert a == b


@settings(max_examples=100, deadline=None)
@given(st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}), min_size=1, max_size=3), st.booleans())
def test_completions_behave_as_those_of_dspy(rows: list[dict[str, Any]], columns: bool) -> None:
    given_: Any = {n: [r[n] for r in rows] for n in ("a", "b")} if columns else rows
    ours, theirs = lampc.Prediction.from_completions(given_), dspy.Prediction.from_completions(given_)
    assert ours.toDict() == theirs.toDict()
    assert repr(ours) == repr(theirs)
    reads: list[Any] = [
        len, repr, lambda c: c.a, lambda c: c["b"], lambda c: c.z, lambda c: c["z"], lambda c: "a" in c,
        lambda c: list(c.items()), lambda c: c[0].toDict(), lambda c: c[len(rows) - 1].b, lambda c: c[len(rows)],
        lambda c: c[-1],
    ]  # fmt: skip
    for read in reads:
        a, b = both(read, ours.completions, theirs.completions)
        assert a == b


def test_ragged_completions_are_refused() -> None:
    with pytest.raises(ValueError, match="same fields; here are a: 2, b: 1"):
        lampc.Prediction.from_completions([{"a": 1}, {"a": 2, "b": 3}])
    with pytest.raises(ValueError, match="a list of records, or a dict of lists"):
        lampc.Prediction.from_completions({"a": 1})  # type: ignore[dict-item]


class Point(pydantic.BaseModel):
    x: int


def test_models_and_rows_inside_become_dicts() -> None:
    row = {"p": Point(x=1), "many": [Point(x=2), {"deep": Point(x=3)}]}
    inner = lampc.Example(**row)
    assert inner.toDict() == dspy.Example(**row).toDict()
    assert lampc.Example(one=inner).toDict()["one"]["p"] == {"x": 1}


def test_better_than_dspy() -> None:
    row = lampc.Example(question="q", context=["a"])
    assert hash(row) == hash(lampc.Example(context=["a"], question="q"))  # theirs cannot be hashed
    assert len({row, lampc.Example(question="q", context=["a"])}) == 1
    assert lampc.Prediction(row).question == "q"  # theirs gives an empty prediction
    with pytest.raises(AttributeError, match="`Example` has no `anwser`; there are question, context"):
        _ = row.anwser
    with pytest.raises(KeyError, match="there is no `x` to leave out; there are question, context"):
        row.without("x")
    with pytest.raises(ValueError, match="with_inputs"):
        row.inputs()


def test_usage_is_kept() -> None:
    made = lampc.Prediction(a=1)
    made.set_lm_usage({"main": {"prompt_tokens": 3}})
    assert made.get_lm_usage() == {"main": {"prompt_tokens": 3}}
    assert made.keys() == ["a"]
