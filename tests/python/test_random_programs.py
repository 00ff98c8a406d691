"""A traced program means what Python means: random programs, run natively and by the reference interpreter."""

from __future__ import annotations

import itertools
import linecache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from lampc.frontend.python import trace
from lampc.frontend.python.program import Program
from lampc.ir import parse_module, verify
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
    scope: dict[str, Any] = {"__name__": f"random_{name}"}
    exec(compile(source, name, "exec"), scope)
    return Program(scope["f"], "f", 200)


def natively(program: Program, row: dict[str, Any]) -> Any:
    try:
        return program(**{**row, "xs": list(row["xs"])})
    except (ArithmeticError, LookupError, TypeError, ValueError) as e:
        return type(e)


def compare(source: str) -> bool:
    """Whether the program could be traced; fails if it means something else."""
    program = load(source)
    unit = trace(program)
    if unit.dynamic is not None:
        return False
    assert verify(unit.module) == [], source
    assert parse_module(str(unit.module)) == unit.module
    for row in ROWS:
        wanted = natively(program, row)
        if isinstance(wanted, type):
            with pytest.raises(RowFailure):
                interpret(unit.module, row)
        else:
            assert interpret(unit.module, row) == wanted, f"{source}\n{row}\n{unit.module}"
    return True


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(sources())
def test_traced_programs_mean_what_python_means(source: str) -> None:
    compare(source)
