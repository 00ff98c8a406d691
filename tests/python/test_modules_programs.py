"""Programs in DSPy's public style (`tests/dspy_programs`), unmodified: under the real DSPy, and with lampc for it.

Each is run as plain code, and as its graph: same prompts, same answers. A program whose `MODE` is `static` has every LM
call as a `prog.predict` in the graph; one of mode `eager: <why>` runs as plain Python whose calls go out in batches.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import dspy
import pytest

import lampc
from lampc.frontend.python import trace
from lampc.ir import prog
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.python.answers import answer
from tests.python.twins import Script, in_turn, ours, theirs

FOLDER = Path(__file__).parent.parent / "dspy_programs"
NAMES = sorted(p.stem for p in FOLDER.glob("p*.py"))
pytestmark = pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")


def load(name: str, library: Any) -> Any:
    """The file, with `library` for what it imports as `dspy`."""
    spec = importlib.util.spec_from_file_location(f"{library.__name__}_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = {n: m for n, m in sys.modules.items() if n == "dspy" or n.startswith("dspy.")}
    for n in before:
        del sys.modules[n]
    sys.modules["dspy"] = library
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        for n in [n for n in sys.modules if n == "dspy" or n.startswith("dspy.")]:
            del sys.modules[n]
        sys.modules.update(before)
    return module


def script(module: Any) -> Script:
    if hasattr(module, "IN_TURN"):
        return in_turn(*module.IN_TURN)
    own = getattr(module, "answer", None)
    return (lambda messages: own(messages, answer)) if own is not None else answer


def plain(value: Any) -> Any:
    if hasattr(value, "toDict"):
        return plain(value.toDict())
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


def once(prompts: list[Any]) -> list[Any]:
    """Prompts without those that were sent before."""
    return [p for i, p in enumerate(prompts) if p not in prompts[:i]]


def run_plainly(module: Any) -> list[Any]:
    return [plain(module.build()(**row)) for row in module.INPUTS]


@pytest.mark.parametrize("name", NAMES)
def test_a_program_sends_and_gives_the_same(name: str) -> None:
    original = load(name, dspy)
    with theirs(script(original)) as side:
        wanted = run_plainly(original)
    module = load(name, lampc)
    with ours(script(module)) as own:
        assert run_plainly(module) == wanted
    if getattr(module, "SAME_PROMPTS", True):
        assert once(own.prompts) == once(side.prompts)  # equal greedy calls are asked once

    with ours(script(module)) as graphed:
        unit = trace(module.build())
        calls = [op for op in unit.module.walk() if isinstance(op, prog.Predict)]
        if module.MODE == "static":
            assert unit.dynamic is None, unit.dynamic and unit.dynamic.line()
            assert calls
        else:
            assert unit.dynamic is not None
        runner = _runner()
        rows = [Row(str(i), {k: plain(v) for k, v in row.items()}) for i, row in enumerate(module.INPUTS)]
        session: Session = runner.session
        outcomes = [session.run(unit, [row])[0] for row in rows]
        assert [str(o.error) for o in outcomes if o.error] == []
        assert [plain(o.value) for o in outcomes] == wanted
    if getattr(module, "SAME_PROMPTS", True):
        assert {str(p) for p in graphed.prompts} == {str(p) for p in side.prompts}


def _runner() -> Any:
    from lampc.ir.runner import find_runner

    return find_runner()


def test_most_programs_are_static() -> None:
    modes = {name: load(name, lampc).MODE for name in NAMES}
    assert len(modes) == 25
    assert sum(m == "static" for m in modes.values()) >= 18
    assert all(m == "static" or m.startswith("eager: ") for m in modes.values())
