"""Liveness: where each context is last needed, through branches, loops and maps."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from lampc.ir import Module, Op, Value, parse_module
from lampc.ir.core import ancestors, walk_values
from lampc.ir.prog import Func
from lampc.ir.types import KV
from lampc.passes import Pipeline
from lampc.passes.schedule import last_uses
from tests.strategies import modules

RUN = '{run = #run<segments = [#text<text = "x">]>}'
GENERATE = '{key = #key<path = ["KEY"]>, predictor = @p}'
HEAD = """module @m {
  prog.def_model @main() : ()
  prog.def_predictor @p() {signature = #signature<inputs = [], outputs = []>} : ()
  prog.func @f() {returns = !any} do (%c: bool, %items: list[str]) {
    %root = kv.root() {model = @main, predictor = @p} : (kv)
"""


def program(body: str) -> tuple[Module, dict[str, Value]]:
    text = HEAD + body.replace("RUN", RUN) + "\n  } : ()\n}"
    for i in range(text.count("GENERATE")):
        text = text.replace("GENERATE", GENERATE.replace("KEY", str(i)), 1)
    module = parse_module(text)
    return module, {v.hint: v for v in walk_values(module.body) if v.hint}


def lives(module: Module) -> dict[str, tuple[str, str, list[str], int]]:
    func = next(op for op in module.body.ops if isinstance(op, Func))
    return {
        v.hint: (name(x.first), name(x.last), [name(e) for e in x.ends], x.fan_out) for v, x in last_uses(func).items()
    }


def name(op: Op | None) -> str:
    return "" if op is None else f"{op.op_name} {op.results[-1].hint}" if op.results else op.op_name


def test_a_straight_line_ends_at_the_last_use() -> None:
    module, _ = program(
        """%a = kv.extend(%root) RUN : (kv)
        %b = kv.extend(%a) RUN : (kv)
        %g, %t = kv.generate(%a) GENERATE : (kv, str)
        prog.return(%t) : ()"""
    )
    assert lives(module) == {
        "root": ("kv.extend a", "kv.extend a", ["kv.extend a"], 1),
        "a": ("kv.extend b", "kv.generate t", ["kv.generate t"], 2),
        "b": ("", "", [], 0),
        "g": ("", "", [], 0),
    }
    report = Pipeline.parse("liveness").run(module)
    assert report.rows[0].counters == {"contexts": 4, "forks": 1, "unused": 2, "most_alive": 2}
    assert not report.rows[0].changed


def test_a_branch_ends_it_on_each_path_and_a_loop_only_after_all_iterations() -> None:
    module, _ = program(
        """%a = kv.extend(%root) RUN : (kv)
        %x = prog.if(%c) do () {
          %g, %t = kv.generate(%a) GENERATE : (kv, str)
          prog.yield(%t) : ()
        } do () {
          %no = prog.const() {type = !str, value = ""} : (str)
          prog.yield(%no) : ()
        } : (str)
        %l = prog.map(%items) do (%item: str, %i: int) {
          %h, %u = kv.generate(%root) GENERATE : (kv, str)
          prog.yield(%u) : ()
        } : (list[str])
        prog.return(%l) : ()"""
    )
    found = lives(module)
    assert found["a"] == ("prog.if x", "prog.if x", ["kv.generate t", "prog.const no"], 1)
    assert found["root"] == ("kv.extend a", "prog.map l", ["prog.map l"], 2)


def test_a_context_that_is_handed_on_escapes() -> None:
    module, values = program(
        """%k = prog.loop(%root) {max = 2} do (%ctx: kv, %i: int) {
          %a = kv.extend(%ctx) RUN : (kv)
          prog.next(%c, %a) : ()
        } : (kv)
        %g, %t = kv.generate(%k) GENERATE : (kv, str)
        prog.return(%t) : ()"""
    )
    func = next(op for op in module.body.ops if isinstance(op, Func))
    found = last_uses(func)
    assert found[values["a"]].escapes
    assert not found[values["k"]].escapes
    assert found[values["ctx"]].last is values["a"].owner


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(modules("kv"))
def test_nothing_uses_a_context_after_its_last_use(module: Module) -> None:
    for func in (op for op in module.body.ops if isinstance(op, Func)):
        found = last_uses(func)
        assert set(found) == {v for v in walk_values(func.body) if v.type == KV}
        order = {op: i for i, op in enumerate(func.walk())}
        for value, life in found.items():
            if life.last is None:
                assert not value.uses
                continue
            assert life.fan_out == len(value.uses)
            inside = set(life.last.walk())
            for user in value.users:
                assert order[user] <= order[life.last] or user in inside
                assert life.first is not None
                assert order[user] >= order[life.first]
            for end in life.ends:
                assert end is life.last or life.last in ancestors(end)
