"""Mutated answers raise nothing but the parser's own error, in bounded time; what is written is read back."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from lampc.ir import freeze
from lampc.ir.adapters import ADAPTERS, ParseFailure, adapter
from lampc.ir.adapters.dialogue import Dialogue
from lampc.ir.adapters.values import unwritable
from lampc.ir.content import Demo, Signature
from tests.adapters.answers import ODD, mutated
from tests.adapters.cases import Case, make_case, value_inside
from tests.adapters.test_parsing import our_signature

LAYOUTS = [n for n in ADAPTERS if not n.startswith("two_step") and not n.endswith("_once")]
FEW, MANY = 3_000, 100_000


def written(signature: Signature, layout: str, values: dict[str, Any]) -> str:
    """The answer with these outputs."""
    how = adapter(layout)
    if isinstance(how, Dialogue):
        return how.answer(signature, values, None)
    return how.demo(signature, Demo(freeze(values)))[-1][1]


def plain_values(case: Case, rng: random.Random) -> dict[str, Any]:
    from lampc.frontend.python.values.plain import plain

    return {n: plain(value_inside(rng, a)) for n, a in [*case.inputs_of(), *case.outputs_of()]}


_signatures: dict[int, tuple[Case, Signature]] = {}


def fuzz(first: int, count: int) -> int:
    """Read `count` mutated answers; gives how many were read."""
    read = 0
    for seed in range(first, first + count):
        rng = random.Random(seed)
        spot = seed % 500
        if spot not in _signatures:
            case = make_case(spot)
            _signatures[spot] = case, our_signature(case)
        case, signature = _signatures[spot]
        layout = LAYOUTS[seed % len(LAYOUTS)]
        values = plain_values(case, rng)
        if rng.random() < 0.3:
            values = {n: rng.choice(ODD) for n in values}
        text = written(signature, layout, values)
        for _ in range(rng.randint(1, 3)):
            text = mutated(rng, text)
        started = time.perf_counter()
        failure: ParseFailure | None = None
        outputs: dict[str, Any] = {}
        try:
            outputs = adapter(layout).parse(signature, text)
        except ParseFailure as e:
            failure = e
        if failure is None:
            read += 1
            assert list(outputs) == [f.name for f in signature.outputs]
            assert all(unwritable(v, n) is None for n, v in outputs.items())
        else:
            assert failure.text == text
            assert str(failure)
        assert time.perf_counter() - started < 20, f"seed {seed} took too long"
    return read


def test_mutated_answers_raise_nothing_but_the_parsers_error() -> None:
    assert fuzz(0, FEW) > FEW * 0.3


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_mutated_answers_raise_nothing_but_the_parsers_error() -> None:
    assert fuzz(FEW, MANY) > MANY * 0.3


NASTY = [
    "[" * 50_000, "{" * 50_000, '{"a":' * 5_000, "(" * 20_000, "<a>" * 20_000, '"' * 30_000, "\\" * 30_000,
    "```" * 10_000, "[[ ## " * 10_000, "- " * 20_000, "1" * 50_000, "1," * 30_000, "a: " * 20_000, "\n" * 50_000,
    "**" * 20_000, "{}" * 20_000, "[]," * 20_000, "[[ ## x1 ## ]]" * 5_000, "&lt;" * 20_000, "yes no " * 10_000,
    "\x00\ufdd0\ufdd1", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "true" * 20_000, "'a', " * 10_000, "# " * 20_000,
    "/*" * 20_000, "\ud800",
]  # fmt: skip


def endure(layout: str, seeds: list[int], share: int) -> None:
    """Read nasty texts (a `share`-th of each); none takes long."""
    for seed in seeds:
        signature = our_signature(make_case(seed))
        for whole in NASTY:
            text = whole[: len(whole) // share] if len(whole) > 1000 else whole
            started = time.perf_counter()
            for shown in (text, f"[[ ## {signature.outputs[0].name} ## ]]\n{text}"):
                try:
                    adapter(layout).parse(signature, shown)
                except ParseFailure:
                    continue
            assert time.perf_counter() - started < 10, f"{text[:20]!r}"


@pytest.mark.parametrize("layout", ["chat", "json", "xml", "compact"])
def test_long_and_deep_answers_are_refused_in_bounded_time(layout: str) -> None:
    endure(layout, [3], 8)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_very_long_and_deep_answers_are_refused_in_bounded_time(layout: str) -> None:
    endure(layout, [3, 11, 28], 1)


def holds_text_of_marks(value: Any) -> bool:
    """Whether a text in the value looks like part of an answer, or has ends that layouts do not keep."""
    if isinstance(value, str):
        odd = ("[[ ##", "```", "<", "\u2028", "a: ")
        return value != value.strip() or value in ("", "None", "- item") or any(o in value for o in odd)
    if isinstance(value, dict):
        return any(holds_text_of_marks(v) for v in value.values())
    return isinstance(value, list) and any(map(holds_text_of_marks, value))


def round_trips(layout: str, seeds: range) -> int:
    """Write values and read them back; gives how many cases were fit for it."""
    count = 0
    for seed in seeds:
        case = make_case(seed)
        signature = our_signature(case)
        values = plain_values(case, random.Random(seed))
        outputs = {f.name: values[f.name] for f in signature.outputs}
        whole = all(f.shape is None or f.shape.form not in ("custom",) for f in signature.outputs)
        if layout == "xml":  # an empty list and None are one element there, also inside of a model
            whole &= not any(v in ([], None) for v in outputs.values()) and "Company" not in str(case.outputs_of())
        if layout == "compact":  # an item is a line there
            whole &= not any("\n" in str(v) for f in outputs.values() if isinstance(f, list) for v in f)
        if not whole or any(map(holds_text_of_marks, outputs.values())) or _ambiguous(case):
            continue
        count += 1
        text = written(signature, layout, values)
        found = adapter(layout).parse(signature, text)
        assert found == outputs, f"seed {seed}: {found} is not {outputs}, out of {text!r}"
    return count


def _ambiguous(case: Case) -> bool:
    """Types of which two values are written alike: `1` and `"1"`."""
    shown = [str(a) for _, a in case.outputs_of()]
    return any("Any" in s or "Union" in s or "|" in s or s in ("<class 'dict'>", "<class 'list'>") for s in shown)


@pytest.mark.parametrize("layout", ["chat", "json", "xml", "baml", "compact"])
def test_what_is_written_is_read_back(layout: str) -> None:
    assert round_trips(layout, range(300)) > 60


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["chat", "json", "xml", "baml", "compact"])
def test_what_is_written_is_read_back_over_thousands_of_signatures(layout: str) -> None:
    assert round_trips(layout, range(300, 5000)) > 900
