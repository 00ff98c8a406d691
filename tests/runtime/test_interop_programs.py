"""Module objects of programs in DSPy's public style (`tests/dspy_programs`), handed over as they are."""

from __future__ import annotations

from typing import Any

import dspy
import pytest

import lampc
from lampc.frontend.python import trace
from lampc.runtime.types import Row
from tests.python.test_modules_programs import NAMES, _runner, load, once, plain, script
from tests.python.twins import ours, theirs

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", NAMES)
def test_a_module_object_of_dspy_asks_and_answers_the_same(name: str) -> None:
    module: Any = load(name, dspy)
    with theirs(script(module)) as side:
        program = module.build()
        wanted = [plain(program(**row)) for row in module.INPUTS]
    module = load(name, dspy)
    with ours(script(module)) as own:
        lowered = lampc.from_dspy(module.build())
        assert [plain(lowered(**row)) for row in module.INPUTS] == wanted
    if getattr(module, "SAME_PROMPTS", True):
        assert once(own.prompts) == once(side.prompts)
    with ours(script(module)):
        unit = trace(lampc.from_dspy(module.build()))
        assert (unit.dynamic is None) == (module.MODE == "static"), unit.dynamic and unit.dynamic.line()
        rows = [Row(str(i), {k: plain(v) for k, v in row.items()}) for i, row in enumerate(module.INPUTS)]
        outcomes = [_runner().session.run(unit, [row])[0] for row in rows]
        assert [plain(o.value) for o in outcomes] == wanted, [str(o.error) for o in outcomes]
