"""Tracing: what becomes which op, where ops come from, what stays dynamic and why, what is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest

import lampc
from lampc.frontend.python import trace
from lampc.ir import (
    CompileError,
    Draw,
    HostRef,
    Key,
    Module,
    Op,
    Record,
    Sampling,
    Span,
    Unit,
    parse_module,
    prog,
    verify,
)
from lampc.ir.adapters import Bound
from lampc.runtime.interp import interpret
from tests.python.helpers import clean, count, double

say = lampc.Predict("text -> label: Literal['good', 'bad'], score: float")
other = lampc.ChainOfThought("text -> answer")
notes = lampc.retriever("notes", "notes.jsonl", k=2)
K = lampc.tune("K", 2, [2, 3])


class Echo:
    """A runner whose answers say what was asked."""

    def __init__(self) -> None:
        self.keys: list[tuple[str, ...]] = []

    def predict(
        self, bound: Bound, inputs: dict[str, Any], sampling: Sampling, draw: Draw
    ) -> tuple[Mapping[str, Any], str]:
        self.keys.append((*draw.key.path, *map(str, draw.indices)))
        text = ",".join(map(str, inputs.values()))
        values = {"label": "good", "score": 0.5}
        return {f.name: values.get(f.name, f"<{text}>") for f in bound.signature.outputs}, ""

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        return [f"{name}{i}:{query}" for i in range(k)]


def ops(unit: Unit, kind: type[Op]) -> list[Any]:
    return [op for op in unit.module.walk() if isinstance(op, kind)]


def traced(program: Any) -> Unit:
    unit = trace(program)
    assert unit.dynamic is None, unit.dynamic
    assert verify(unit.module) == []
    assert parse_module(str(unit.module)) == unit.module
    return unit


def run(program: Any, **inputs: Any) -> Any:
    unit = traced(program)
    return interpret(unit.module, inputs, entry=unit.entry, runner=Echo())


# -- what becomes what ----------------------------------------------------------------------------------------


def test_a_call_and_its_key() -> None:
    @lampc.program
    def main(text: str) -> Any:
        """Say it."""
        first = say(text=text)
        second = say(text=first.label)
        return {"label": second.label}

    unit = traced(main)
    calls = ops(unit, prog.Predict)
    assert [c.key for c in calls] == [Key(("say#0",)), Key(("say#1",))]
    assert [c.result.hint for c in calls] == ["first", "second"]
    (func,) = ops(unit, prog.Func)
    assert (func.symbol, func.doc, func.body.args[0].hint) == ("main", "Say it.", "text")
    assert [op.symbol for op in ops(unit, prog.DefPredictor)] == ["say"]


def test_every_op_has_a_place() -> None:
    @lampc.program
    def main(text: str) -> Any:
        if len(text) > 3:
            text = clean(text)
        return {"label": say(text=text).label}

    unit = traced(main)
    first = main.function.__code__.co_firstlineno
    for op in unit.module.walk():
        span = op.loc.origin()
        assert isinstance(span, Span), op
        assert span.path == __file__
    (call,) = ops(unit, prog.Py)
    span = call.loc.origin()
    assert span.line == first + 3
    assert (span.column, span.end_column) == (20, 31)
    assert span.function.endswith("main")


def test_plain_functions_become_host_calls() -> None:
    @lampc.program
    def main(text: str) -> Any:
        return {
            "clean": clean(text), "n": double(count(text)), "now": double(4), "json": json.dumps([text]),
            "re": re.sub("a", "b", text),
        }  # fmt: skip

    calls = ops(traced(main), prog.Py)
    assert [(c.ref.target, c.effect, str(c.returns)) for c in calls] == [
        ("tests.python.helpers:clean", "effect", "str"),
        ("tests.python.helpers:count", "unordered", "int"),
        ("tests.python.helpers:double", "pure", "int"),
        ("json:dumps", "pure", "any"),
        ("re:sub", "pure", "any"),
    ]
    assert calls[0].ref.source != ""
    assert run(main, text=" xa  y ") == {"clean": "xa y", "n": 14, "now": 8, "json": '[" xa  y "]', "re": " xb  y "}


def test_closures_run_and_are_warned_of() -> None:
    suffix = "!"

    def loud(text: str) -> str:
        return text + suffix

    @lampc.program
    def main(text: str) -> Any:
        return {"out": loud(text)}

    unit = traced(main)
    assert [w.code for w in unit.warnings] == ["L0718"]
    assert interpret(unit.module, {"text": "a"}) == {"out": "a!"}


def test_filter_and_map_and_vote() -> None:
    @lampc.program
    def main(rows: list[str]) -> Any:
        kept = [clean(r) for r in rows if len(r) > 1]
        found = [say(text=r) for r in kept]
        return {"label": lampc.vote([f.label for f in found]), "best": lampc.argmax([f.score for f in found])}

    unit = traced(main)
    assert len(ops(unit, prog.Map)) == 4
    assert run(main, rows=["a", " bb ", "ccc"]) == {"label": "good", "best": 0}


def test_a_loop_that_appends_is_a_map() -> None:
    @lampc.program
    def main(rows: list[str]) -> Any:
        out = []
        for i, r in enumerate(rows):
            n = len(r) + i
            if n > 1:
                out.append(n)
        return {"out": out}

    unit = traced(main)
    assert len(ops(unit, prog.Map)) == 1
    assert not ops(unit, prog.Loop)
    assert run(main, rows=["a", "bb", ""]) == {"out": [3, 2]}


def test_a_loop_that_carries_is_a_loop() -> None:
    @lampc.program
    def main(text: str) -> Any:
        docs: list[str] = []
        for hop in range(3):
            docs = docs + notes.search(f"{text}{hop}", k=K)
            out = other(text=docs[-1])
            if out.answer == "stop":
                break
        return {"answer": out.answer, "docs": docs}

    unit = traced(main)
    (loop,) = ops(unit, prog.Loop)
    assert loop.max == 3
    assert [v.hint for v in loop.results] == ["docs", "out"]
    assert [op.symbol for op in ops(unit, prog.DefRetriever)] == ["notes"]
    assert ops(unit, prog.DefTune)[0].choices == (2, 3)
    found = run(main, text="q")
    assert found["docs"] == [f"notes{i}:q{h}" for h in range(3) for i in range(2)]


def test_keys_in_loops_carry_indices() -> None:
    @lampc.program
    def main(rows: list[str]) -> Any:
        total = 0.0
        for r in rows:
            total += say(text=r).score
        return {"total": total, "labels": [say(text=r).label for r in rows]}

    unit = traced(main)
    runner = Echo()
    interpret(unit.module, {"rows": ["a", "b"]}, runner=runner)
    assert runner.keys == [("say#0", "0"), ("say#0", "1"), ("say#1", "0"), ("say#1", "1")]


def test_match_and_early_return() -> None:
    @lampc.program
    def main(text: str) -> Any:
        if not text:
            return {"kind": "empty", "n": 0}
        match say(text=text).label:
            case "good" | "fine":
                n = 1
            case _:
                n = 2
        return {"kind": "full", "n": n}

    unit = traced(main)
    (match,) = ops(unit, prog.Match)
    assert match.cases == ("good", "fine")
    assert run(main, text="") == {"kind": "empty", "n": 0}
    assert run(main, text="x") == {"kind": "full", "n": 1}


def test_short_cuts_are_kept() -> None:
    @lampc.program
    def main(xs: list[int]) -> Any:
        return {"out": len(xs) > 1 and xs[1] > 0, "or": xs or [1]}

    assert run(main, xs=[]) == {"out": False, "or": [1]}
    assert run(main, xs=[0, 1]) == {"out": True, "or": [0, 1]}


def test_raise_and_assert_fail_the_row() -> None:
    from lampc.runtime.failures import RowFailure

    @lampc.program
    def main(n: int) -> Any:
        assert n < 10, "too large"
        if n < 0:
            raise ValueError("negative")
        return {"n": n}

    assert run(main, n=1) == {"n": 1}
    with pytest.raises(RowFailure, match="too large"):
        run(main, n=11)
    with pytest.raises(RowFailure, match="ValueError: negative"):
        run(main, n=-1)


def test_loops_are_bounded_and_say_so() -> None:
    from lampc.runtime.failures import RowFailure

    @lampc.program(max_iters=5)
    def main(n: int) -> Any:
        while n != 0:
            n -= 1
        return {"n": n}

    assert run(main, n=5) == {"n": 0}
    with pytest.raises(RowFailure, match="did not end within 5 rounds"):
        run(main, n=-1)


def test_plain_values_are_named_after_their_variable() -> None:
    @lampc.program
    def inner(text: str) -> Any:
        label = say(text=text).label
        return label

    @lampc.program
    def main(text: str) -> Any:
        return inner(text) + "!"

    assert run(inner, text="x") == {"label": "good"}
    assert run(main, text="x") == {"result": "good!"}


def test_a_return_annotation_declares_the_outputs() -> None:
    class Out(TypedDict):
        label: str

    globals()["Out"] = Out

    @lampc.program
    def main(text: str) -> Out:
        return {"label": say(text=text).label}

    try:
        assert ops(traced(main), prog.Func)[0].returns == Record((("label", prog.STR),))
    finally:
        del globals()["Out"]


def test_several_draws() -> None:
    many = lampc.Predict("text -> label", n=3)

    @lampc.program
    def main(text: str) -> Any:
        found = many(text=text)
        return {"vote": lampc.vote(found.completions.label), "first": found.label}

    unit = traced(main)
    (call,) = ops(unit, prog.Predict)
    assert call.sampling.temperature == 0.7
    assert run(main, text="x") == {"vote": "good", "first": "good"}


def test_tools() -> None:
    @lampc.tool
    @lampc.unordered
    def lookup(name: str, times: int = 2) -> list[str]:
        return [name] * times

    @lampc.program
    def main(text: str) -> Any:
        return {"out": lookup(text)}

    unit = traced(main)
    (definition,) = ops(unit, prog.DefTool)
    assert (definition.symbol, definition.effect, str(definition.returns)) == ("lookup", "unordered", "list[str]")
    assert [f.name for f in definition.params] == ["name", "times"]
    assert run(main, text="a") == {"out": ["a", "a"]}


# -- modules --------------------------------------------------------------------------------------------------


class Inner(lampc.Module):
    def __init__(self, label: str) -> None:
        super().__init__()
        self.ask = lampc.Predict("text -> label")
        self.label = label

    def forward(self, text: str) -> lampc.Prediction:
        return lampc.Prediction(label=self.ask(text=text).label, own=self.label)


class Outer(lampc.Module):
    """Two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = Inner("1"), Inner("2")
        self.steps = [lampc.Predict("text -> label"), lampc.Predict("text -> label")]

    def helper(self, text: str, step: int) -> str:
        return f"{step}{self.steps[step](text=text).label}"

    def forward(self, text: str) -> lampc.Prediction:
        parts = [self.helper(text, i) for i in range(len(self.steps))]
        return lampc.Prediction(a=self.one(text=text).label, b=self.two(text).own, parts=parts)


def test_nested_modules() -> None:
    unit = traced(Outer())
    assert [f.symbol for f in ops(unit, prog.Func)] == ["Inner", "Outer.two", "Outer"]
    assert [p.symbol for p in ops(unit, prog.DefPredictor)] == ["one.ask", "two.ask", "steps.0", "steps.1"]
    assert [c.key.path for c in ops(unit, prog.Call)] == [("Inner#0",), ("Outer.two#0",)]
    assert ops(unit, prog.Func)[-1].doc == "Two parts."
    assert run(Outer(), text="x") == {"a": "good", "b": "2", "parts": ["0good", "1good"]}


def test_a_bare_predictor_is_a_program() -> None:
    unit = traced(lampc.ChainOfThought("text -> label"))
    assert interpret(unit.module, {"text": "x"}, runner=Echo()) == {"reasoning": "<x>", "label": "good"}
    assert unit.entry == "main"


def test_functions_that_ask_are_traced_in_place() -> None:
    def classify(text: str) -> str:
        return say(text=text).label

    @lampc.program
    def main(rows: list[str]) -> Any:
        return {"labels": [classify(r) for r in rows], "one": classify("x")}

    unit = traced(main)
    assert [c.key.path for c in ops(unit, prog.Predict)] == [("say#0",), ("say#1",)]
    assert not ops(unit, prog.Py)


# -- what stays dynamic ----------------------------------------------------------------------------------------


class Stateful(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("text -> label")

    def forward(self, text: str) -> lampc.Prediction:
        self.last = text
        return lampc.Prediction(label=self.ask(text=text).label)


def with_try(text: str) -> Any:
    try:
        return {"label": say(text=text).label}
    except ValueError:
        return {"label": "none"}


def with_object(text: str) -> Any:
    return {"label": say(text=Path(text).name).label}


def with_alias(text: str) -> Any:
    first: list[str] = []
    second = first
    second.append(text)
    return {"first": first}


def with_recursion(text: str) -> Any:
    return {"label": say(text=text).label} if len(text) < 2 else with_recursion(text[1:])


def with_any_arguments(**inputs: Any) -> Any:
    return say(**inputs)


@pytest.mark.parametrize(
    ("program", "code", "line", "why"),
    [
        (with_try, "L0711", 1, "handlers that tell errors apart"),
        (with_object, "L0713", 1, "an object of class `Path`"),
        (with_alias, "L0715", 3, "`second` is changed in place"),
        (with_recursion, "L0716", 1, "a function that calls itself"),
        (with_any_arguments, "L0711", 0, "parameter `inputs` stands for any number"),
        (Stateful(), "L0717", 1, "assigning to attribute `last`"),
    ],
    ids=lambda p: getattr(p, "__name__", None),
)
def test_dynamic_programs_say_why(program: Any, code: str, line: int, why: str) -> None:
    unit = trace(program if isinstance(program, lampc.Module) else lampc.program(program))
    assert unit.dynamic is not None
    assert unit.dynamic.code == code
    assert unit.dynamic.severity == "note"
    assert why in unit.dynamic.message
    assert unit.dynamic.primary is not None
    function = type(program).forward if isinstance(program, lampc.Module) else program
    assert unit.dynamic.primary.span.line == function.__code__.co_firstlineno + line
    assert unit.dynamic.primary.span.path == __file__
    assert unit.host_entry is not None
    assert not ops(unit, prog.Func)


def test_dynamic_units_hold_their_definitions() -> None:
    assert [p.symbol for p in ops(trace(Stateful()), prog.DefPredictor)] == ["ask"]
    assert [p.symbol for p in ops(trace(lampc.program(with_try)), prog.DefPredictor)] == ["say"]


# -- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda text: {"x": say(txt=text)}, "`say` lacks `text` and does not take `txt`"),
        (lambda text: {"x": say(text)}, "takes its inputs by name"),
        (lambda text: {"x": say(text=text).lable}, "there is no field `lable`; there are label, score"),
        (lambda text: {"x": notes(text, 1, 2)}, "takes query and k"),
    ],
)
def test_wrong_calls_are_errors_at_their_line(call: Any, message: str) -> None:
    def main(text: str) -> Any:
        return call(text)

    program = lampc.program(main)
    program.function = call
    with pytest.raises(CompileError) as caught:
        trace(program)
    (found,) = caught.value.diagnostics
    assert found.code == "L0704"
    assert message in found.message
    assert found.primary is not None
    assert found.primary.span.line == call.__code__.co_firstlineno


def test_any_value_may_stand_for_a_text_and_other_misfits_run_as_python() -> None:
    def listed(texts: list[str]) -> Any:
        return say(text=texts)

    unit = trace(lampc.program(listed))
    assert unit.dynamic is None
    assert not verify(unit.module)
    number = lampc.Predict("n: int -> label")

    def counted(texts: list[str]) -> Any:
        return number(n=texts)

    found = trace(lampc.program(counted)).dynamic
    assert found is not None
    assert "input `n` of `number` is int, got list[str]" in found.message


def test_something_else_is_no_program() -> None:
    with pytest.raises(TypeError, match="a program is"):
        trace(3)


def test_literal_types_in_signatures() -> None:
    kind = Literal["a", "b"]
    ask = lampc.Predict(lampc.make_signature("q: str -> k: kind", custom_types={"kind": kind}))
    assert str(ask.ir_signature().outputs[0].type) == 'choice["a", "b"]'
    assert HostRef("a:b") == HostRef("a:b", "")
    assert isinstance(trace(lampc.program(with_alias)).module, Module)
