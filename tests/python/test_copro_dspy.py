"""COPRO and DSPy's: with the same proposals the same candidates, scores and winner, on a scripted model."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import Any

import dspy
import pytest

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from tests.python.both import Judged, configured, program, prompt_model, rows, state, task_model

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    level = logging.getLogger("dspy").level
    logging.getLogger("dspy").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
    logging.getLogger("dspy").setLevel(level)
    set_default_runner(None)
    settings.reset()


ROWS = 8


def compiled(d: Any, predictors: int, **made: Any) -> tuple[Any, Judged, Any]:
    breadth = made.get("breadth", 10)

    def script(n: int, name: str) -> dict[str, str]:
        first = n < predictors * (breadth - 1)
        at = n // (breadth - 1) if first else (n - predictors * (breadth - 1)) // breadth
        names = ["Sound:", "Answer:"][-predictors:]  # prefixes, which no prompt shows, stay as they are
        more = {"proposed_prefix_for_output_field": names[at % predictors]} if d is dspy else {}
        return {name: f' "Follow variant {n % 7}." ', **more}

    judged, prompt = Judged(), prompt_model(d, script)
    with configured(d, task_model(d)):
        found = d.COPRO(prompt_model=prompt, metric=judged.metric(), **made).compile(
            program(d, predictors), trainset=rows(d, ROWS), eval_kwargs={"num_threads": 1}
        )
    return found, judged, prompt


def tried(found: Any) -> list[Any]:
    """Candidates without programs that equal one of the same score before them: DSPy means to leave them out, but holds
    no two fields for equal that were set apart."""
    seen, out = list[Any](), list[Any]()
    for c in found.candidate_programs:
        mark = c["score"], state(c["program"])
        if mark not in seen:
            seen.append(mark)
            out.append((c["score"], c["instruction"], c["prefix"], c["depth"], state(c["program"])))
    return out


def scored(judged: Judged) -> list[tuple[tuple[str, str], ...]]:
    """What candidates answered on all rows, in order, each once: what is known is not judged again here."""
    asked = judged.asked
    return list(dict.fromkeys(tuple(asked[i : i + ROWS]) for i in range(0, len(asked), ROWS)))


@pytest.mark.parametrize("predictors", [1, 2])
@pytest.mark.parametrize("made", [{"breadth": 6}, {"breadth": 4, "depth": 4}, {"breadth": 3, "depth": 1}])
def test_candidates_are_dspys(made: dict[str, int], predictors: int) -> None:
    (ours, judged, prompt), (theirs, judge, _) = (
        compiled(d, predictors, track_stats=True, **made) for d in (lampc, dspy)
    )
    assert scored(judged) == scored(judge)
    assert tried(ours) == tried(theirs)
    assert len(tried(ours)) == len(ours.candidate_programs)
    assert state(ours) == state(theirs)
    assert ours.total_calls == theirs.total_calls
    for kept in ("results_best", "results_latest"):
        assert list(getattr(ours, kept).values()) == list(getattr(theirs, kept).values())
    breadth, depth = made.get("breadth", 10), made.get("depth", 3)
    assert len(prompt.asked) == predictors * (breadth * depth - 1)
