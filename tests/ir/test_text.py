"""The text form: what is printed parses back to the same, whatever it is; the printer never raises."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lampc.ir import (
    STR,
    CompileError,
    Field,
    Module,
    Obj,
    Region,
    Symbol,
    Value,
    digest,
    parse_module,
    print_module,
    print_op,
    verify,
)
from lampc.ir.content import Signature
from lampc.ir.prog import DefPredictor, DefTune
from lampc.ir.text.printer import Namer
from lampc.ir.types import ANY
from tests.content import attributes
from tests.strategies import LEVELS, broken_modules, modules

many = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("level", LEVELS)
def test_a_printed_module_parses_back_to_itself(level: str) -> None:
    @many
    @given(modules(level))
    def law(module: Module) -> None:
        assert [f.diagnostic().line() for f in verify(module)] == []
        text = print_module(module)
        again = parse_module(text)
        assert again == module
        assert print_module(again) == text
        assert verify(again) == []

    law()


@many
@given(modules("kv"))
def test_locations_survive_the_text_form(module: Module) -> None:
    text = print_module(module, locs=True)
    assert print_module(parse_module(text), locs=True) == text


@many
@given(modules("kv"))
def test_a_clone_is_equal_and_independent(module: Module) -> None:
    text = print_module(module)
    clone = module.clone()
    assert clone == module
    assert verify(clone) == []
    assert not {id(v) for op in module.walk() for v in op.operands} & {
        id(v) for op in clone.walk() for v in op.operands
    }
    for op in reversed(clone.body.ops):
        op.erase()
    assert print_module(module) == text
    assert verify(module) == []


@many
@given(attributes)
def test_every_attribute_parses_back_to_itself(value: Any) -> None:
    module = Module("m", {"value": value})
    again = parse_module(print_module(module))
    assert again == module
    assert digest(again.attrs["value"]) == digest(value)


def test_values_that_python_takes_for_equal_have_digests_of_their_own() -> None:
    values: list[Any] = [1, 1.0, True, "1", (1,), Obj({"1": 1}), Symbol("a"), "a", None, "none", STR, "str", 0.0, -0.0]
    assert len({digest(v) for v in values}) == len(values)
    assert digest(Field("a", STR)) == digest(Field("a", STR, "", "", 0)) != digest(Field("b", STR))


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(broken_modules())
def test_the_printer_draws_broken_modules(module: Module) -> None:
    text = print_module(module, locs=True)
    assert text.startswith("module @")
    for op in module.walk():
        assert op.op_name in print_op(op)
    for finding in verify(module):
        assert finding.diagnostic().line()


def test_the_verifier_finds_everything_that_is_wrong() -> None:
    module = parse_module(
        """module @m {
          prog.def_tune @t() {type = !int, default = 1} : ()
          prog.def_tune @t() {type = !int, default = 1, choices = [], odd = 1} : ()
          prog.return() : ()
          prog.func @f() {returns = !int} do (%a: str) {
            %0 = prog.apply(%a, %a) {fn = "no such"} : (int)
            %1 = prog.tune() {of = @nothing, type = !int} : (int)
            odd.op() : ()
            prog.return(%a) : ()
            %2 = prog.apply(%a) {fn = "len"} : (str)
          } : ()
        }"""
    )
    found = [f.message for f in verify(module)]
    for part in (
        "attribute `choices` is missing",
        "`@t` is defined twice",
        "attribute `odd` is not declared",
        "only definitions stand at the top",
        "no built-in function `no such`",
        "`@nothing` is not defined",
        "not registered",
        "a terminator stands last",
        "a function ends with `prog.return`",
        "result 0 is str, but int follows",
    ):
        assert any(part in message for message in found), (part, found)


def test_an_attribute_that_may_be_one_of_several_is_named() -> None:
    made = DefPredictor.make(symbol="p", signature=Signature((), ()), cascade="cheap")
    module = Module("m")
    module.add(made)
    assert [f.message for f in verify(module) if "cascade" in f.message] == [
        "attribute `cascade` is no lampc.ir.content.Cascade | None"
    ]


@given(st.lists(st.integers(0, 39)))
def test_the_place_of_an_op_is_found_wherever_was_looked_before(asked: list[int]) -> None:
    region = Region()
    ops = [region.append(DefTune.make(symbol=f"t{i}", type=STR, default="")) for i in range(40)]
    for i in asked:
        if ops[i].parent is region:
            assert region.index(ops[i]) == region.ops.index(ops[i])
        if i % 3 == 0 and ops[i].parent is region:
            region.remove(ops[i])
            with pytest.raises(ValueError, match="not in this region"):
                region.index(ops[i])
        elif i % 3 == 1 and ops[i].parent is region:
            made = DefTune.make(symbol="new", type=STR, default="")
            region.insert(region.index(ops[i]), made)
            assert region.ops[region.index(ops[i]) - 1] is made


@pytest.mark.parametrize(
    ("text", "code", "place", "message"),
    [
        ("module @m {", "L0901", "x.lir:1", "this is not IR text"),
        ("module @m {\n  prog.def_tune @t( : ()\n}", "L0901", "x.lir:2:21", "unexpected `:`"),
        ("module @m {\n  a.b(%x) : ()\n}", "L0902", "x.lir:2:7", "`%x` is not defined here"),
        ("module @m {\n  a.b() {x = #nope<>} : ()\n}", "L0902", "x.lir:2:15", "there is no attribute `#nope`"),
        ("module @m {\n  a.b() {x = #key<>} : ()\n}", "L0902", "x.lir:2:15", "missing 1 required"),
        ("module @m {\n  %x = a.b() : (strr)\n}", "L0902", "x.lir:2:17", "there is no type `strr`"),
        ("module @m {\n  %x, %y = a.b() : (str)\n}", "L0902", "x.lir:2:3", "2 results named, 1 types given"),
    ],
)
def test_text_that_is_no_module_says_where(text: str, code: str, place: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        parse_module(text, "x.lir")
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert found.line().startswith(place)
    assert message in found.message
    assert text.splitlines()[0] in str(caught.value) or "-->" in str(caught.value)


def test_comments_and_white_space_do_not_matter() -> None:
    module = Module("m")
    module.add(DefTune.make(type=ANY, default=1, choices=("; no comment", 2), symbol="t"))
    text = print_module(module)
    spread = "; a comment\n" + text.replace(", ", ' ,\n ; another, with " and }\n ')
    assert parse_module(spread) == module


def test_naming_thousands_of_values_alike_takes_no_time() -> None:
    namer, started = Namer(), time.process_time()
    values = [Value(STR, Region(), i, "r") for i in range(30_000)]
    assert [namer.name(v) for v in values] == ["r", *(f"r_{i}" for i in range(1, 30_000))]
    assert time.process_time() - started < 5
