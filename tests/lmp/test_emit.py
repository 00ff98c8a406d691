"""From units back to source: what is emitted compiles to the same module and the same declarations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from lampc.frontend.lmp import NotSayable, compile_lmp, emit_lmp, format_lmp
from lampc.frontend.lmp.emit_text import type_text
from lampc.ir import (
    ANY,
    STR,
    UNKNOWN,
    Field,
    HostRef,
    Key,
    Module,
    Record,
    Region,
    Signature,
    Symbol,
    Unit,
    check,
    prog,
)
from lampc.ir.types import Type, spelled
from tests.content import types
from tests.lmp.samples import EVERYTHING, EXAMPLES

HERE = Path(__file__).parent


def declared(unit: Unit) -> list[Any]:
    """All declarations of a unit, without their places and the wording of expectations."""
    parts: list[Any] = [*unit.datasets.values(), *unit.metrics.values(), *unit.optimizes]
    tests = [replace(t, expects=tuple((s, "") for s, _ in t.expects)) for t in unit.tests]
    return [replace(p, loc=UNKNOWN) for p in (*parts, *tests)]


@pytest.mark.parametrize("text", [EVERYTHING, *(p.read_text(encoding="utf-8") for p in EXAMPLES)])
def test_round_trip(text: str) -> None:
    unit = compile_lmp(text)
    emitted = emit_lmp(unit)
    again = compile_lmp(emitted)
    assert again.module == unit.module
    assert declared(again) == declared(unit)
    assert again.entry == unit.entry
    assert format_lmp(emitted) == emitted
    assert emit_lmp(again) == emitted


def test_emitted_text(golden: Callable[[Path, str], None]) -> None:
    golden(HERE / "golden" / "everything.emitted.lmp", emit_lmp(compile_lmp(EVERYTHING)))


def unit_of(module: Module, entry: str = "main") -> Unit:
    check(module)
    return Unit(module, entry)


def program(body: Region, *definitions: Any, returns: Any = None) -> Unit:
    module = Module("main")
    for op in definitions:
        module.add(op)
    module.add(prog.Func.make(regions=[body], returns=returns or Record((("b", STR),)), symbol="main"))
    return unit_of(module)


def test_values_that_are_used_twice_or_out_of_order_get_names() -> None:
    body = Region([("a", STR)])
    first = body.append(prog.Apply.make(body.args[0], fn="lower")).result
    second = body.append(prog.Apply.make(body.args[0], fn="upper")).result
    joined = body.append(prog.Apply.make(second, first, fn="add")).result
    twice = body.append(prog.Apply.make(joined, joined, fn="add", hint="twice")).result
    body.append(prog.Return.make(body.append(prog.Pack.make(twice, names=("b",))).result))
    unit = program(body)
    text = emit_lmp(unit)
    assert "let _0 = lower(a);" in text
    assert "let twice = " in text
    assert compile_lmp(text).module == unit.module


def test_constants_that_the_compiler_would_fold_get_names() -> None:
    body = Region([("a", STR)])
    one = body.append(prog.Const.make(value="x", type=STR)).result
    two = body.append(prog.Const.make(value="y", type=STR)).result
    made = body.append(prog.Apply.make(one, two, fn="add")).result
    body.append(prog.Return.make(body.append(prog.Pack.make(made, names=("b",))).result))
    unit = program(body)
    assert compile_lmp(emit_lmp(unit)).module == unit.module


def test_signatures_without_a_proper_name() -> None:
    body = Region([("a", STR)])
    sig = Signature((Field("a", STR),), (Field("b", STR),), 'Say "b"\n  twice.', "a -> b")
    made = prog.DefPredictor.make(signature=sig, symbol="p")
    call = prog.Predict.make(body.args[0], predictor=Symbol("p"), signature=sig, key=Key(("p#0",)))
    out = body.append(call).result
    got = body.append(prog.FieldOf.make(out, field="b", hint="b")).result
    body.append(prog.Return.make(body.append(prog.Pack.make(got, names=("b",))).result))
    unit = program(body, made)
    text = emit_lmp(unit)
    assert '@name("a -> b")' in text
    assert compile_lmp(text).module == unit.module


def test_a_closure_cannot_be_said() -> None:
    body = Region([("a", STR)])
    made = body.append(prog.Py.make(body.args[0], ref=HostRef("m:f.<locals>.g"), returns=ANY)).result
    body.append(prog.Return.make(body.append(prog.Pack.make(made, names=("b",))).result))
    with pytest.raises(NotSayable, match="no other program can find"):
        emit_lmp(program(body))


def test_keys_that_source_does_not_give_cannot_be_said() -> None:
    unit = compile_lmp(EXAMPLES[0].read_text(encoding="utf-8"))
    for op in unit.module.walk():
        if isinstance(op, prog.Predict):
            op.key = Key(("Outer#0", "classify#0"))
    with pytest.raises(NotSayable, match="Outer#0"):
        emit_lmp(unit)


def test_names_that_are_words_of_the_language_cannot_be_said() -> None:
    body = Region([("match", STR)])
    body.append(prog.Return.make(body.append(prog.Pack.make(body.args[0], names=("b",))).result))
    with pytest.raises(NotSayable, match="match"):
        emit_lmp(program(body))


@given(types)
def test_messages_name_types_as_source_does(t: Type) -> None:
    with contextlib.suppress(NotSayable):
        assert spelled(t) == type_text(t)
