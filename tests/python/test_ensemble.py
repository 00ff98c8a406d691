"""Ensemble: answers of several programs reduced; saved and loaded again."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import dspy
import pytest

import lampc
from lampc.frontend.python import trace
from lampc.ir import Assignment
from lampc.runtime.configure import session_of
from lampc.runtime.saved import load_saved, save
from lampc.runtime.types import Row
from tests.python.scripted import asked, configured, scripted

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")
LIBRARIES = pytest.mark.parametrize("d", [lampc, dspy], ids=["lampc", "dspy"])


def reply(messages: list[dict[str, str]], options: dict[str, Any]) -> dict[str, str]:
    """The demo's answer where there is one: programs differ by their demos."""
    shown = [m["content"] for m in messages if m["role"] == "assistant"]
    said = shown[0].split("\n")[1] if shown else "none"
    return {"answer": f"{said} {asked(messages, 'question')}" if said == "own" else said}


def program(d: Any, says: str) -> Any:
    class Asks(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ask = d.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.ask(question=question)

    made = Asks()
    made.ask.demos = [d.Example(question="q", answer=says)]
    made._compiled = True
    return made


def programs(d: Any) -> list[Any]:
    return [program(d, says) for says in ("yes", "no", "yes", "own")]


@LIBRARIES
def test_answers_are_listed_or_reduced(d: Any) -> None:
    with configured(d, scripted(d, reply)):
        listed = d.Ensemble().compile(programs(d))
        assert [p.answer for p in listed(question="x")] == ["yes", "no", "yes", "own x"]
        voted = d.Ensemble(reduce_fn=d.majority).compile(programs(d))
        assert voted(question="x").answer == "yes"
        random.seed(3)
        drawn = d.Ensemble(size=2).compile(programs(d))
        got = [[p.answer for p in drawn(question="x")] for _ in range(3)]
        pool = ["yes", "no", "yes", "own x"]
        assert all(len(g) == 2 and set(g) <= set(pool) for g in got)
        if d is lampc:  # DSPy draws elsewhere too
            random.seed(3)
            assert got == [random.sample(pool, 2) for _ in range(3)]


def test_all_programs_are_asked_at_once() -> None:
    lm = scripted(lampc, reply)
    with configured(lampc, lm):
        voted = lampc.Ensemble(reduce_fn=lampc.majority).compile(programs(lampc))
        assert trace(voted).dynamic is None
        rows = [lampc.Example(question=q, answer="yes").with_inputs("question") for q in "abc"]
        result = lampc.Evaluate(devset=rows, metric=lambda e, p: e.answer == p.answer)(voted)
        listed = lampc.Ensemble().compile(programs(lampc))
        many = listed.batch(rows)
    assert result.score == 100.0
    assert [[p.answer for p in answers] for answers in many] == [["yes", "no", "yes", f"own {q}"] for q in "abc"]


def test_a_draw_may_follow_from_the_inputs() -> None:
    with configured(lampc, scripted(lampc, reply)):
        drawn = lampc.Ensemble(size=2, deterministic=True).compile(programs(lampc))
        got = {q: [p.answer for p in drawn(question=q)] for q in "abcdefgh"}
        assert got == {q: [p.answer for p in drawn(question=q)] for q in reversed("abcdefgh")}
        assert len({tuple(v) for v in got.values()}) > 2
        assert got["a"] == [p.answer for p in drawn.deepcopy()(question="a")]


def test_the_state_holds_what_every_program_learnt(tmp_path: Path) -> None:
    with configured(lampc, scripted(lampc, reply)):
        voted = lampc.Ensemble(reduce_fn=lampc.majority).compile(programs(lampc))
        voted.save(tmp_path / "votes.json")
        fresh = lampc.Ensemble(reduce_fn=lampc.majority).compile([program(lampc, "other") for _ in range(4)])
        assert fresh(question="x").answer == "other"
        fresh.load(tmp_path / "votes.json")
        assert fresh(question="x").answer == voted(question="x").answer == "yes"
        assert fresh.dump_state() == voted.dump_state()
        few = lampc.Ensemble().compile(programs(lampc)[:3])
        with pytest.raises(ValueError, match=r"votes\.json.*4 programs.*3"):
            few.load(tmp_path / "votes.json")
        more = lampc.Ensemble().compile([*programs(lampc), program(lampc, "x")])
        with pytest.raises(ValueError, match=r"4 programs.*5"):
            more.load_state(voted.dump_state())
        bare = lampc.Ensemble().compile([lampc.Predict("question -> answer") for _ in range(2)])
        bare.programs[1].demos = [lampc.Example(question="q", answer="a")]
        assert [len(s["demos"]) for s in bare.dump_state().values()] == [0, 1]
        assert list(bare.dump_state()) == ["programs[0]", "programs[1]"]


def test_a_vote_is_saved_as_a_whole_program(tmp_path: Path) -> None:
    """A `.lampc` file needs neither the classes nor the demos again."""
    with configured(lampc, scripted(lampc, reply)):
        voted = lampc.Ensemble(reduce_fn=lampc.majority).compile(programs(lampc))
        save(tmp_path / "votes.lampc", trace(voted), Assignment())
        found = load_saved(tmp_path / "votes.lampc")
        (outcome,) = session_of("a test").run(found.module, [Row("0", {"question": "x"})], assignment=found.assignment)
        assert outcome.error is None
        assert outcome.value == {"answer": "yes"}


def test_an_error_of_a_program_is_one_of_the_ensemble() -> None:
    def failing(messages: list[dict[str, str]], options: dict[str, Any]) -> dict[str, str]:
        raise RuntimeError("gone")

    with configured(lampc, scripted(lampc, failing)), pytest.raises(Exception, match="gone"):
        lampc.Ensemble().compile(programs(lampc))(question="x")


def test_what_is_no_ensemble_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one program"):
        lampc.Ensemble().compile([])
    with pytest.raises(ValueError, match="`size` is 5; there are 4 programs"):
        lampc.Ensemble(size=5).compile(programs(lampc))
