"""Answers read as DSPy reads them, and then more; slips of all kinds raise nothing but `ParseFailure`."""

from __future__ import annotations

import json
import random
import warnings
from typing import Any

import pytest

import lampc
from lampc.ir.adapters import ParseFailure, adapter
from lampc.ir.content import Signature
from tests.adapters.answers import ODD, mutated
from tests.adapters.cases import Case, make_case, value

dspy = pytest.importorskip("dspy")
LAYOUTS = ("chat", "json", "xml")
FEW, MANY = 150, 4000


def their_signature(case: Case) -> Any:
    return dspy.Signature(
        {n: (a, (dspy.OutputField if out else dspy.InputField)()) for n, a, _, out in case.fields}, case.instruction
    )


def our_signature(case: Case) -> Signature:
    made = lampc.Signature(
        {n: (a, (lampc.OutputField if out else lampc.InputField)()) for n, a, _, out in case.fields}, case.instruction
    )
    signature: Signature = made.ir()
    return signature


def written(case: Case, layout: str, rng: random.Random) -> str:
    """An answer as DSPy would show it in a demo: right values, or odd ones."""
    outputs: dict[str, Any] = {}
    for name, annotation in case.outputs_of():
        outputs[name] = rng.choice(ODD) if rng.random() < 0.4 else value(rng, annotation)
        if rng.random() < 0.05:
            del outputs[name]
    made = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter, "xml": dspy.XMLAdapter}[layout]()
    try:
        text: str = made.format_assistant_message_content(their_signature(case), outputs)
    except TypeError:  # a list of numbers under a text
        return ""
    return text


def theirs(case: Case, layout: str, text: str) -> dict[str, Any] | None:
    """What DSPy reads, as JSON; None if it refuses."""
    from dspy.adapters.utils import serialize_for_json

    made = {"chat": dspy.ChatAdapter, "json": dspy.JSONAdapter, "xml": dspy.XMLAdapter}[layout]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = made.parse(their_signature(case), text)
        except Exception:
            return None
        return {k: serialize_for_json(v) for k, v in found.items()}


def same(a: Any, b: Any) -> bool:
    """Equal as JSON; sets have no order."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and (all(map(same, a, b)) or sorted(map(json.dumps, a)) == sorted(map(json.dumps, b)))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return type(a) is type(b) and a == b


def writable(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, UnicodeEncodeError):
        return False
    return True


def compare(layout: str, seed: int) -> str:
    """Hold one answer against DSPy: whether it accepts it, we do, or neither does."""
    case = make_case(seed)
    rng = random.Random(~seed)
    text = written(case, layout, rng)
    if rng.random() < 0.6:
        text = mutated(rng, text)
    expected = theirs(case, layout, text) if text.strip() else None  # DSPy's calls refuse an empty answer too
    signature = our_signature(case)
    found: dict[str, Any] = {}
    for name in (layout + "_dspy", layout):
        try:
            found[name] = adapter(name).parse(signature, text)
        except ParseFailure:
            continue
    strict = found.get(layout + "_dspy")
    if expected is not None and writable(expected):
        assert strict is not None, f"{layout} {seed}: DSPy reads {expected} out of {text!r}"
        assert same(strict, expected), f"{layout} {seed}: {strict} is not {expected}, out of {text!r}"
        relaxed = {k: None if v is None else expected[k] for k, v in found[layout].items()}
        assert same(found[layout], relaxed), f"{layout} {seed}: {found[layout]} is not {expected}"
        return "both"
    assert strict is None or expected is not None, f"{layout} {seed}: DSPy reads nothing out of {text!r}, we {strict}"
    return "ours" if layout in found else "none"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_dspy_reads_is_read_alike(layout: str) -> None:
    kinds = [compare(layout, seed) for seed in range(FEW)]
    assert kinds.count("both") > FEW * 0.25
    assert kinds.count("ours") > FEW * 0.1


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_dspy_reads_is_read_alike_over_thousands_of_answers(layout: str) -> None:
    kinds = [compare(layout, seed) for seed in range(FEW, FEW + MANY)]
    assert kinds.count("both") > MANY * 0.25
