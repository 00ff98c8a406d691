"""A traced program means what Python means: random programs, run natively and by the reference interpreter.

Values must be equal, and the model must be asked the same questions.
"""

from __future__ import annotations

import itertools
import linecache
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import lampc
from lampc.frontend.python import trace
from lampc.frontend.python.program import Program
from lampc.ir import Sampling, parse_module, verify
from lampc.ir.adapters import Bound
from lampc.ir.runner import current_runner
from lampc.runtime.failures import RowFailure
from lampc.runtime.interp import interpret
from tests.python.programs import sources

_numbers = itertools.count()
ROWS: list[dict[str, Any]] = [
    {"a": 0, "b": 0, "s": "", "xs": []},
    {"a": 1, "b": 2, "s": "ab C", "xs": [3, 1, 2]},
    {"a": -4, "b": 7, "s": " x ", "xs": [0]},
    {"a": 5, "b": 5, "s": "yes no", "xs": [5, -1, 5, 0, 2]},
]


def load(source: str) -> Program:
    """The function `f` of a source text that `inspect` can find."""
    name = f"<random {next(_numbers)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    scope: dict[str, Any] = {"__name__": f"random_{name}", "ask": lampc.Predict("q -> n: int", symbol="ask")}
    exec(compile(source, name, "exec"), scope)
    return Program(scope["f"], "f", 2000)


class Model:
    """Answers with a number that depends on the question; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def predict(
        self, bound: Bound, inputs: Mapping[str, Any], sampling: Sampling, _: Any
    ) -> tuple[dict[str, Any], str]:
        self.asked.append(inputs["q"])
        return {"n": sum(map(ord, inputs["q"])) % 7}, ""

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        raise AssertionError(name)


def natively(program: Program, row: dict[str, Any], model: Model) -> Any:
    token = current_runner.set(model)
    try:
        return program(**{**row, "xs": list(row["xs"])})
    except (ArithmeticError, LookupError, TypeError, ValueError) as e:
        return type(e)
    finally:
        current_runner.reset(token)


def compare(source: str) -> bool:
    """Whether the program could be traced; fails if it means something else."""
    program = load(source)
    unit = trace(program)
    if unit.dynamic is not None:
        return False
    assert verify(unit.module) == [], source
    assert parse_module(str(unit.module)) == unit.module
    for row in ROWS:
        here, there = Model(), Model()
        wanted = natively(program, row, here)
        if isinstance(wanted, type):
            with pytest.raises(RowFailure):
                interpret(unit.module, row, runner=there)
        else:
            found = interpret(unit.module, row, runner=there)
            assert (found, there.asked) == (wanted, here.asked), f"{source}\n{row}\n{unit.module}"
    return True


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(sources())
def test_traced_programs_mean_what_python_means(source: str) -> None:
    compare(source)


def test_what_follows_a_jump_known_now_is_traced_once() -> None:
    source = """def f(a: int, b: int, s: str, xs: list[int]):
    ys = []
    for x in xs:
        if 1 == 2:
            return {"ys": ys}
        ys.append(x)
    return {"ys": ys}
"""
    assert compare(source)
