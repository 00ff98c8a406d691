"""What later calls need of the context of each call: through loops, maps, branches, functions and grown contexts."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from lampc.frontend.lmp import compile_lmp
from lampc.ir import ModelInfo, Module, Op
from lampc.ir.kv import Extend, Generate, Score
from lampc.ir.prog import Func
from lampc.ir.prompt import Input
from lampc.passes.schedule.common_contexts import segments_of
from lampc.passes.schedule.later_use import _stays, _walk, chain, later_uses
from lampc.runtime.compile import lower
from tests.fakes import TEMPLATES, FakeTarget
from tests.strategies import modules

HEAD = """signature Say(a: str, said: list[str], b: str) -> (text: str) { \"\"\"Say it.\"\"\" }
signature Judge(a: str, text: str) -> (good: bool) { \"\"\"Judge it.\"\"\" }
tool look(text: str) -> str @pure = python("os.path:basename");
module Main(a: str, said: list[str], b: str, parts: list[str]) -> (out: str) {
  use say = Predict(Say);
  use judge = Predict(Judge);
"""


def stays(body: str) -> dict[str, list[str]]:
    """For each call, by its key, until when which inputs are needed: `name` whole, `name+` as far as it grows."""
    target = FakeTarget(TEMPLATES["firefly"], info=ModelInfo("fake", "fake", 4096))
    unit = compile_lmp(HEAD + body + "\n}\n")
    module = lower(unit.module, lambda _: target)
    func = next(op for op in module.body.ops if isinstance(op, Func))
    return {
        call.key.path[-1]: [f"{s.until.op_name if s.until else ''}: {_inputs(call, s.runs, s.segments)}" for s in found]
        for call, found in later_uses(func).items()
        if isinstance(call, Generate)
    }


def _inputs(call: Op, runs: int, segments: int) -> str:
    names = []
    for i, op in enumerate(chain(call)[1:]):
        assert isinstance(op, Extend)
        shown = segments_of(op.run)[: None if i < runs else segments if i == runs else 0]
        names += [s.field.name for s in shown if isinstance(s, Input)]
    return " ".join(names)


def test_a_single_call_leaves_nothing() -> None:
    assert stays("let x = say(a: a, said: said, b: b); return (out: x.text);") == {"say#0": []}


def test_a_later_call_shares_as_far_as_inputs_are_the_same() -> None:
    body = """let x = say(a: a, said: said, b: b);
  let y = say(a: a, said: said, b: x.text);
  let z = say(a: a, said: [y.text], b: b);
  return (out: z.text);"""
    assert stays(body) == {
        "say#0": ["kv.generate: a said", "kv.generate: a"],
        "say#1": ["kv.generate: a"],
        "say#2": [],
    }


def test_a_list_that_a_loop_adds_to_grows_and_one_made_anew_does_not() -> None:
    loop = """loop (more: said, now: b) max 4 as i {
    let x = say(a: a, said: more, b: now);
    next (more: MORE, now: x.text) until i > 2;
  }
  return (out: now);"""
    assert stays(loop.replace("MORE", "more + [x.text]")) == {"say#0": ["prog.loop: a said"]}
    assert stays(loop.replace("MORE", "[x.text]")) == {"say#0": ["prog.loop: a"]}
    assert stays(loop.replace("MORE", "more")) == {"say#0": ["prog.loop: a said"]}


def test_what_a_loop_gave_begins_with_what_it_carried() -> None:
    body = """loop (more: said) max 4 as i {
    let x = say(a: b, said: [], b: a);
    let y = say(a: a, said: more, b: b);
    next (more: more + [x.text, y.text]) until i > 2;
  }
  let z = say(a: a, said: more, b: "end");
  return (out: z.text);"""
    found = stays(body)
    assert found["say#1"][-1] == "kv.generate: a said"
    assert found["say#2"] == []


def test_items_of_a_map_share_what_is_the_same_for_all() -> None:
    body = """let all = map p in parts {
    let x = say(a: a, said: said, b: p);
    let j = judge(a: a, text: x.text);
    yield j;
  };
  let z = if all(all_.good) { yield a; } else { yield b; };
  return (out: z);"""
    body = body.replace("let all =", "let all_ =")
    assert stays(body) == {"say#0": ["prog.map: a said"], "judge#0": ["prog.map: a"]}


def test_inner_ops_end_first_and_each_later_one_needs_less() -> None:
    body = """loop (more: said) max 3 as i {
    let fresh = map p in parts {
      let x = say(a: a, said: more, b: p);
      yield x.text;
    };
    next (more: more + fresh) until i > 1;
  }
  let y = say(a: a, said: [], b: b);
  return (out: y.text + more[0]);"""
    assert stays(body)["say#0"] == ["prog.map: a said", "prog.loop: a said", "kv.generate: a"]


def test_branches_that_may_be_taken_count() -> None:
    body = """let j = judge(a: a, text: b);
  let x = say(a: a, said: said, b: b);
  let z = if j.good { let y = say(a: a, said: said, b: x.text); yield y.text; } else { yield x.text; };
  return (out: z);"""
    assert stays(body)["say#0"] == ["prog.if: a said"]


def test_what_a_tool_gave_is_new_each_time() -> None:
    body = """loop (now: b) max 3 as i {
    let seen = look(now);
    let x = say(a: a, said: [seen], b: now);
    next (now: x.text) until i > 1;
  }
  return (out: now);"""
    assert stays(body) == {"say#0": ["prog.loop: a"]}


@pytest.mark.parametrize("name", ["whole", "soft", "llama"])
def test_every_template_has_its_places(name: str) -> None:
    target = FakeTarget(TEMPLATES[name], info=ModelInfo("fake", "fake", 4096))
    body = """let x = say(a: a, said: said, b: b);
  let y = say(a: a, said: said, b: x.text);
  return (out: y.text);\n}\n"""
    module = lower(compile_lmp(HEAD + body).module, lambda _: target)
    func = next(op for op in module.body.ops if isinstance(op, Func))
    first, *_ = [s for call, s in later_uses(func).items()]
    assert len(first) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(modules("kv"))
def test_going_down_contexts_finds_what_comparing_all_pairs_does(module: Module) -> None:
    for func in (op for op in module.body.ops if isinstance(op, Func)):
        calls = [op for op in _walk(func.body) if isinstance(op, Generate | Score)]
        chains = {op: chain(op) for op in calls}
        assert later_uses(func) == {op: _stays(op, chains, func, None) for op in calls}
