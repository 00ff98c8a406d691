"""Built-in functions at their edges: what they give is a value that can be kept, or an error that names it."""

from __future__ import annotations

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


def test_a_constant_that_is_no_value_is_an_error_of_the_program() -> None:
    with pytest.raises(CompileError, match=r"L0306.*root of a negative number"):
        compile_lmp("module M(x: str) -> (y: any) { return (y: (0 - 8) ** 0.5, z: x); }")
