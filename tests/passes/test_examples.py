"""The example programs go through the standard pipeline, read back after each pass, for every chat template."""

from __future__ import annotations

from pathlib import Path

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir.kv import Extend, Generate
from lampc.ir.prog import Predict
from lampc.ir.requests import Follow, RequestOp
from lampc.passes import STANDARD, PassContext, Pipeline, RunOptions
from tests.fakes import TEMPLATES, FakeTarget

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.lmp"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_an_example_goes_through_the_standard_pipeline(path: Path) -> None:
    unit = compile_lmp(path.read_text(encoding="utf-8"), str(path))
    calls = sum(isinstance(op, Predict) for op in unit.module.walk())
    for template in TEMPLATES.values():
        module = unit.module.clone()
        ctx = PassContext(FakeTarget(template))
        report = Pipeline.parse(STANDARD).run(module, ctx, RunOptions(round_trip=True, crash_dir=None))
        assert [r.name for r in report.rows] == STANDARD.split(",")
        assert not any(isinstance(op, Predict) for op in module.walk())
        asks = [op for op in module.walk() if isinstance(op, Generate | RequestOp)]
        assert bool(asks) == bool(calls)
        # calls in one context are sent as text where a template cannot be cut
        assert all(isinstance(op, Generate) or op is asks[0] or isinstance(op, Follow) for op in asks)
        extends = sum(isinstance(op, Extend) for op in module.walk())
        assert report.counters()["share-prefix.extends"] == extends
        text = str(module)
        Pipeline.parse(STANDARD).run(module, ctx, RunOptions(crash_dir=None))
        assert str(module) == text, "a second run finds nothing to do"


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5
