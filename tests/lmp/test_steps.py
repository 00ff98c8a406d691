"""Steps of optimisations in source files: every optimizer with all of its options, there and back."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest

from lampc.frontend.lmp import compile_lmp, emit_lmp, format_lmp
from lampc.ir import CompileError, Unit, render
from lampc.passes.optimize import OPTIMIZERS, OptimizeError, findings, optimizer
from lampc.passes.optimize.options import Misfit, fitted, options, said
from lampc.runtime.cells import Budget

PROGRAM = """
model main = engine("firefly");
model big = engine("firefly");
signature Ask(question: str) -> (answer: str) {}
module Main(question: str) -> (answer: str) {
  use ask = Predict(Ask);
  return (answer: ask(question: question).answer);
}
dataset d: (question: str, answer: str) = csv("d.csv", split: "split");
optimize Main with STEPS
  on d.train select d.dev by exact_match;
"""


SENSIBLE: dict[str, dict[str, Any]] = {
    "better_together": {"strategy": "labeled -> random", "optimizers": {}, "options": {"labeled": {"k": 2}}},
}
"""Options that mean something together, where any values would be refused."""


def other(wanted: Any, default: Any) -> Any:
    """A plain value of a type that is not the default."""
    origin, args = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return other(next(a for a in args if a is not type(None)), default)
    if origin is Literal:
        return next((a for a in args if a != default), default)
    if origin in (tuple, list, Sequence):
        return [other(args[0], None), other(args[0], None)]
    if origin in (dict, Mapping):
        return {"facts.k": other(args[1], None), "plain": other(args[1], None)}
    if wanted is bool:
        return not default
    if wanted in (int, float):
        return wanted((default or 0) + 3)
    return 'a "text" with \\ and ünicode' if wanted is str else {"facts.k": [1, 2.5], "if": ["x", None, True]}


def source(value: Any) -> str:
    """A plain value as a user might write it."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return f"[{', '.join(map(source, value))}]"
        case dict():
            return "(" + ", ".join(f'"{k}": {source(v)}' for k, v in value.items()) + ")"
    return str(value)


def compiled(steps: str) -> Unit:
    return compile_lmp(PROGRAM.replace("STEPS", steps), "main.lmp", findings)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_with_all_of_its_options(name: str) -> None:
    known = options(OPTIMIZERS[name])
    given = {o.name: other(o.type, o.default) for o in known.values()} | SENSIBLE.get(name, {})
    unit = compiled(f"{name}({', '.join(f'{k}: {source(v)}' for k, v in given.items())})")
    ((step, args),) = unit.optimizes[0].steps
    assert (step, dict(args)) == (name, given)
    emitted = emit_lmp(unit)
    assert format_lmp(emitted) == emitted
    again = compile_lmp(emitted, "main.lmp", findings)
    assert again.optimizes[0].steps == unit.optimizes[0].steps
    assert emit_lmp(again) == emitted
    assert not findings(name, given)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_defaults_are_values_that_sources_can_say(name: str) -> None:
    known = options(OPTIMIZERS[name])
    for option in known.values():
        assert said(option.type)
        if not option.required:
            assert fitted(option.default, option.type) == option.default
    if not any(o.required for o in known.values()):
        assert optimizer(name, {}) == optimizer(name, {o.name: o.default for o in known.values()})


@pytest.mark.parametrize(
    ("wanted", "value", "made"),
    [
        (int, 4.0, 4),
        (float, 4, 4.0),
        (float | None, None, None),
        (int | str, "light", "light"),
        (tuple[str, ...], "one", ("one",)),
        (tuple[float, ...], [1, 2], (1.0, 2.0)),
        (tuple[str, int], ["a", 2.0], ("a", 2)),
        (list[str], ["a"], ["a"]),
        (Mapping[str, tuple[str, ...]], {"a.b": ["x"]}, {"a.b": ("x",)}),
        (Literal["light", "heavy"] | None, "heavy", "heavy"),
        (Any, {"k": [1]}, {"k": [1]}),
    ],
)
def test_values_that_fit(wanted: Any, value: Any, made: Any) -> None:
    found = fitted(value, wanted)
    assert (found, type(found)) == (made, type(made))


@pytest.mark.parametrize(
    ("wanted", "value", "says", "help"),
    [
        (int, True, "a whole number", ""),
        (int | None, "x", "a whole number or null", ""),
        (bool, 1, "true or false", ""),
        (tuple[int, ...], ["a"], "a whole number", ""),
        (tuple[str, ...], {"a": 1}, "a list of texts", ""),
        (Mapping[str, int], [1], "whole numbers by name", ""),
        (Literal["light", "heavy"] | None, "hevy", "one of 'light', 'heavy' or null", "did you mean `heavy`?"),
    ],
)
def test_values_that_do_not(wanted: Any, value: Any, says: str, help: str) -> None:
    with pytest.raises(Misfit) as found:
        fitted(value, wanted)
    assert (found.value.wanted, found.value.help) == (says, help)


def test_several_steps_and_all_clauses() -> None:
    text = PROGRAM.replace("STEPS", 'labeled(k: 2), bootstrap(teacher_model: "big"), instructions(pool: "pool.txt")')
    clauses = 'budget (calls: 10k, tokens: 2M, time: 900s, money: 1.5) save "out/t.lampc" resume "runs/t"'
    text = text.replace("exact_match;", f"f1 {clauses};")
    unit = compile_lmp(text, "main.lmp", findings)
    assert [w.message for w in unit.warnings] == [], "a model that only an optimizer names is used"
    wish = unit.optimizes[0]
    assert [name for name, _ in wish.steps] == ["labeled", "bootstrap", "instructions"]
    assert dict(wish.budget) == {"calls": 10_000, "tokens": 2_000_000, "time": 900, "money": 1.5}
    assert (wish.metric, wish.save, wish.resume) == ("f1", "out/t.lampc", "runs/t")
    again = compile_lmp(emit_lmp(unit), "main.lmp", findings)
    assert (again.optimizes[0].budget, again.optimizes[0].save) == (wish.budget, wish.save)
    assert format_lmp(text) == format_lmp(format_lmp(text))


def test_formatting_keeps_what_steps_say() -> None:
    steps = 'parameters(choices: ("facts.k": [2, 4],\n  plain: ["x"], "quoted": ["y"], "if": [true]))'
    text = format_lmp(PROGRAM.replace("STEPS", steps))
    assert '"facts.k": [2, 4]' in text
    assert 'quoted: ["y"]' in text, "quotes that say nothing go"
    assert '"if": [true]' in text, "a word of the language stays quoted"
    made = compile_lmp(text, "main.lmp", findings).optimizes[0]
    assert dict(made.steps[0][1])["choices"] == {"facts.k": [2, 4], "plain": ["x"], "quoted": ["y"], "if": [True]}


def test_steps_within_a_step_are_checked_too() -> None:
    steps = 'better_together(strategy: "labeled -> bootstrap", options: (labeled: (k: 2), bootstrap: (max_rounds: 2)))'
    made = compiled(steps).optimizes[0].steps[0]
    assert optimizer(made[0], dict(made[1]))
    for right, wrong, says in [
        ("k: 2", "kk: 2", "labeled has no option `kk`; did you mean `k`?"),
        ("-> bootstrap", "-> bootstrp", "options for `bootstrap`, which is no step"),
        (", bootstrap: (max_rounds: 2)", ", bootstrap: (max_rounds: true)", "`max_rounds` is a whole number, got true"),
    ]:
        with pytest.raises(CompileError) as found:
            compiled(steps.replace(right, wrong))
        assert says in str(found.value)


def test_the_overview_has_every_optimizer() -> None:
    text = (Path(__file__).parents[2] / "docs" / "optimizing.md").read_text(encoding="utf-8")
    table = text.partition("## The optimizers")[2].partition("## The report")[0]
    assert set(OPTIMIZERS) <= set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))


def test_without_a_check_any_step_passes_and_the_registry_refuses_it() -> None:
    unit = compile_lmp(PROGRAM.replace("STEPS", "somebodys_own(speed: 3)"), "main.lmp")
    ((name, args),) = unit.optimizes[0].steps
    with pytest.raises(OptimizeError, match="there is no optimizer `somebodys_own`; there are "):
        optimizer(name, dict(args))
    with pytest.raises(CompileError) as found:
        compiled("somebodys_own(speed: 3)")
    assert "L0605" in render(found.value.diagnostics[0], found.value.sources)


def test_budget_names_are_those_that_runs_know() -> None:
    from lampc.frontend.lmp.optimisation import BUDGETS as in_files
    from lampc.frontend.python.data import BUDGETS as in_python

    assert in_files == in_python
    assert Budget.of([(name, 5.0) for name in in_files])
