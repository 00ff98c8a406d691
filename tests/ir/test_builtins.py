"""Built-in functions at their edges: what they give is a value that can be kept, or an error that names it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir import CompileError
from lampc.ir.builtins import BuiltinError, apply


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("pow", [9, 9**9], "too large"),
        ("pow", [-8, 0.5], "root of a negative number"),
        ("mul", [10**4000, 10**4000], "too large"),
        ("range", [10**12], "too many numbers"),
        ("div", [10**4000, 3], "too large"),
        ("mul", [1e308, 10.0], "too large"),
        ("add", [-1.7e308, -1.7e308], "too large"),
        ("pow", [1e308, 2], "too large"),
        ("sum", [[1.7e308, 1.7e308]], "too large"),
        ("float", ["1e999"], "too large"),
        ("float", ["nan"], "not a number"),
    ],
)
def test_what_cannot_be_kept_is_an_error(name: str, args: list[Any], why: str) -> None:
    with pytest.raises(BuiltinError, match=rf"^{name}\(.*{why}"):
        apply(name, args)


def test_large_is_not_too_large() -> None:
    assert apply("pow", [2, 10_000]) == 2**10_000
    assert apply("pow", [-1, 10**9]) == 1
    assert apply("pow", [10, -2]) == 0.01
    assert len(apply("range", [100_000])) == 100_000


def test_an_infinite_number_of_the_users_python_is_carried() -> None:
    assert apply("max", [[-math.inf, 0.5]]) == 0.5
    assert apply("index", [[math.inf, 1.0], 0]) == math.inf
    assert apply("min", [math.inf, math.inf]) == math.inf


def test_a_constant_that_is_no_value_is_an_error_of_the_program() -> None:
    with pytest.raises(CompileError, match=r"L0306.*root of a negative number"):
        compile_lmp("module M(x: str) -> (y: any) { return (y: (0 - 8) ** 0.5, z: x); }")
