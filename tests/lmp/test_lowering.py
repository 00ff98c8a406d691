"""Lowering: what the language means as IR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Choice, CompileError, Key, ListOf, Op, Sampling, Span, parse_module, prog, verify
from lampc.runtime.interp import interpret
from tests.lmp.samples import EVERYTHING

HERE = Path(__file__).parent
ASK = 'signature Ask(q: str) -> (a: str, kind: "x" | "y") { """Answer.""" }\n'


def ops(text: str, kind: type[Op]) -> list[Any]:
    return [op for op in compile_lmp(text).module.walk() if isinstance(op, kind)]


def module(body: str, head: str = "module M(x: int, t: str, ls: list[int]) -> (y: int)") -> str:
    return f"{head} {{\n{body}\n}}\n"


def value(body: str, **inputs: Any) -> Any:
    """What the reference interpreter gives for output `y`."""
    unit = compile_lmp(module(body))
    return interpret(unit.module, {"x": 3, "t": "abc", "ls": [5, 1], **inputs}, entry="M")["y"]


def test_ir_of_everything(golden: Callable[[Path, str], None]) -> None:
    golden(HERE / "golden" / "everything.lir", str(compile_lmp(EVERYTHING).module))


def test_the_module_is_whole_and_has_places() -> None:
    unit = compile_lmp(EVERYTHING, "all.lmp")
    assert verify(unit.module) == []
    assert str(parse_module(str(unit.module))) == str(unit.module)
    for op in unit.module.walk():
        assert isinstance(op.loc, Span), op
        assert op.loc.path == "all.lmp"
        assert (op.loc.end_line, op.loc.end_column) > (op.loc.line, op.loc.column)


def test_literals_become_constants_where_they_are_used() -> None:
    text = module("let two = 1 + 1; return (y: (x + two) * two);")
    assert [op.value for op in ops(text, prog.Const)] == [2, 2]
    assert [op.value for op in ops(module("let two: int = 2; return (y: (x + two) * two);"), prog.Const)] == [2]


def test_default_instruction_and_chain_of_thought() -> None:
    text = (
        "signature S(q: str) -> (a: str) { }\nmodule M(q: str) -> (a: str) { use p = ChainOfThought(S); "
        "return (a: p(q: q).a); }"
    )
    (op,) = ops(text, prog.DefPredictor)
    assert op.signature.instruction == "Given the fields `q`, produce the fields `a`."
    assert [f.name for f in op.signature.outputs] == ["reasoning", "a"]
    assert op.signature.name == "S"


def test_calls_are_keyed_by_site() -> None:
    text = ASK + (
        "module M(q: str) -> (a: str) { use p = Predict(Ask); let b = p(q: q); let c = p(q: b.a); return (a: c.a); }"
    )
    assert [op.key for op in ops(text, prog.Predict)] == [Key(("p#0",)), Key(("p#1",))]


def test_samples_are_a_map() -> None:
    text = ASK + (
        "module M(q: str) -> (a: str) { use p = Predict(Ask) @sample(temperature: 0.5);\n"
        "let all = p(q: q) @sample(n: 3, max_tokens: 9); return (a: vote(all.a)); }"
    )
    (call,) = ops(text, prog.Predict)
    assert call.sampling == Sampling(temperature=0.5, max_tokens=9)
    (made,) = ops(text, prog.Map)
    assert made.out.type == ListOf(call.out.type)
    assert ops(text, prog.DefPredictor)[0].sampling == Sampling()


def test_instances_of_a_module_have_their_own_predictors() -> None:
    text = ASK + (
        "module In(q: str) -> (a: str) { use p = Predict(Ask); return (a: p(q: q).a); }\n"
        "module Out(q: str) -> (a: str) { use one = In(); use two = In(); return (a: two(q: one(q: q).a).a); }"
    )
    unit = compile_lmp(text)
    assert [op.symbol for op in unit.module.body.ops] == ["one.p", "two.p", "In", "Out.two", "Out"]
    assert unit.entry == "Out"


def test_clashing_names_get_the_module_in_front() -> None:
    text = ASK + "".join(
        f"module {m}(q: str) -> (a: str) {{ use p = Predict(Ask); return (a: p(q: q).a); }}\n" for m in "AB"
    )
    assert [op.symbol for op in compile_lmp(text).module.body.ops] == ["p", "B.p", "A", "B"]


def test_types() -> None:
    text = (
        'type K = "a" | "b"; type R { k: K; n: int?; }\n'
        "module M(_r: R, rs: list[R]) -> (k: list[K]) { return (k: rs.k); }"
    )
    (func,) = ops(text, prog.Func)
    assert func.body.args[1].type.item.get("k") == Choice(("a", "b"))


@pytest.mark.parametrize(
    ("body", "result"),
    [
        ("return (y: if x > 2 then 1 else 0);", 1),
        (
            "let a, b = if x > 5 { yield 1, 2; } else if x == 3 { yield 3, 4; } else { yield 5, 6; };"
            "return (y: a * 10 + b);",
            34,
        ),
        ('return (y: match t { "abc" => 7; _ => 8; });', 7),
        ("return (y: match x { 1 => 7; -3 => 9; _ => 8; });", 8),
        ("loop (n: 0) max 4 { let m = n + x; next (n: m) until m > 5; } return (y: n + m);", 12),
        ("loop (n as total: 0) max 4 as i { next (n: n + i) until false; } return (y: total);", 6),
        ("let ms = map v, i in ls { if v > 2 { let w = v * 2; yield w + i; } }; return (y: sum(ms));", 10),
        ("let ms = map v in ls { yield v + x; }; return (y: max(ms) - argmax(ms));", 8),
        ("if x > 2 { return (y: 1); } return (y: 2);", 1),
        ("if x > 3 { return (y: 1); } if x > 2 { return (y: 2); } else { return (y: 3); }", 2),
        ('if x > 2 { assert t != "", "empty"; } return (y: len(t[1:]) + ls[-1]);', 3),
        ("return (y: if len(ls) > 5 and ls[5] > 0 then 1 else 2);", 2),
        ("return (y: if len(ls) < 5 or ls[5] > 0 then 1 else 2);", 1),
        ("return (y: -2 ** 2 + 7 // 2 % 4 - (1 - 2) + 2 * x);", 6),
    ],
)
def test_meaning(body: str, result: int) -> None:
    assert value(body) == result


def test_and_runs_its_right_side_only_where_needed() -> None:
    cheap = module("return (y: if x > 1 and x < 9 then 1 else 2);")
    assert [op.fn for op in ops(cheap, prog.Apply)] == ["gt", "lt", "and"]
    risky = module("return (y: if x > 1 and ls[x] < 9 then 1 else 2);")
    assert len(ops(risky, prog.If)) == 2


def test_imports(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "base.lmp").write_text('type Kind = "x" | "y";\n' + ASK, encoding="utf-8")
    library = (
        'import "base.lmp";\nretriever facts = bm25("facts.jsonl");\n'
        "module Part(q: str) -> (a: str, kind: base.Kind) { use p = Predict(base.Ask);\n"
        "let f = facts(q); let o = p(q: f[0]); return (a: o.a, kind: o.kind); }\n"
        'dataset d: (q: str, a: str) = csv("d.csv", split: "split");\n'
    )
    (tmp_path / "lib" / "part.lmp").write_text(library, encoding="utf-8")
    main = (
        'import "lib/part.lmp" as lib;\nmetric m(gold: str, pred: str) -> float = { f1(gold, pred) };\n'
        "module Main(q: str) -> (a: str) { use part = lib.Part(); return (a: part(q: q).a); }\n"
        "optimize Main with labeled(k: 2) on lib.d.train select lib.d.dev by m;\n"
    )
    unit = compile_lmp(main, str(tmp_path / "main.lmp"))
    assert {op.symbol for op in unit.module.body.ops} == {"part.p", "facts", "m", "Part", "Main"}
    assert unit.datasets["d"].path == str(tmp_path / "lib" / "d.csv")


def test_declarations_of_a_unit() -> None:
    unit = compile_lmp(EVERYTHING, "all.lmp")
    assert unit.datasets["d"].sizes == (("train", 6), ("dev", 2000))
    assert unit.metrics["em"].params == ("answer", "answer")
    assert unit.metrics["outside"].is_host
    (wish,) = unit.optimizes
    assert [name for name, _ in wish.steps] == ["labeled", "bootstrap", "instructions"]
    assert dict(wish.budget) == {"tokens": 2e6, "time": 900.0}
    (case,) = unit.tests
    assert case.expects[0] == ("test1.expect1", 'answer == "Paris" and hops == 1')
    assert {m.target: m.values for m in case.mocks}["calc"] == {"value": 3.5}
    assert {m.target: m.values for m in case.mocks}["inner.read"] == {"reasoning": "", "answer": "Paris"}


def test_warnings_are_given_beside_a_unit() -> None:
    unit = compile_lmp(module("let unused = x + 1; return (y: x + len(t) + len(ls));"))
    assert [w.code for w in unit.warnings] == ["L0207"]


def test_errors_come_together_and_in_order() -> None:
    with pytest.raises(CompileError) as e:
        compile_lmp(module("let a = foo(x); let b = t + 1; return (y: a + b + bar);"))
    assert [d.code for d in e.value.diagnostics] == ["L0201", "L0302", "L0201"]
