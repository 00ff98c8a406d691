"""Votes end when they are decided: the same winner, fewer tokens, nothing left behind."""

from __future__ import annotations

import itertools
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.ir import Module
from lampc.ir.prog import Map
from lampc.passes import PassContext, Pipeline
from lampc.runtime.compile import Executable, lower
from lampc.runtime.hosts import majority
from lampc.runtime.lm import LM
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Cell, Row
from lampc.runtime.votes import decided
from tests.runtime.loopback import Loopback
from tests.runtime.programs import TEXTS, module, predict


def test_decided_means_that_no_completion_has_another_winner() -> None:
    rng = random.Random(0)
    for count in (1, 2, 3, 4, 5):
        for known in itertools.chain.from_iterable(itertools.combinations(range(count), k) for k in range(count + 1)):
            for _ in range(6):
                votes = {n: rng.choice("abc") for n in known}
                missing = [n for n in range(count) if n not in votes]
                winners = set()
                for rest in itertools.product("abcd", repeat=len(missing)):
                    whole = votes | dict(zip(missing, rest, strict=True))
                    winners.add(majority([whole[n] for n in range(count)]))
                assert decided(votes, count) == (len(winners) == 1), (votes, count)
                if decided(votes, count) and votes:
                    assert winners == {majority([votes[n] for n in sorted(votes)])}


def voting(samples: int, use: str = "") -> Module:
    return module(
        f"""%n = prog.const() {{type = !list[int], value = {list(range(samples))}}} : (list[int])
        %drawn = prog.map(%n) do (%a: int, %i: int) {{
          %r = prog.predict(%text) {predict("0", "temperature = 2.0, max_tokens = 40")} : ({{label: str}})
          %l = prog.field(%r) {{field = "label"}} : (str)
          %size = prog.apply(%l) {{fn = "len"}} : (int)
          %two = prog.const() {{type = !int, value = 2}} : (int)
          %m = prog.apply(%size, %two) {{fn = "mod"}} : (int)
          prog.yield(%m) : ()
        }} : (list[int])
        %most = prog.vote(%drawn) : (int)
        {use}
        %r = prog.pack(%most) {{names = ["most"]}} : ({{most: int}})
        prog.return(%r) : ()""",
        returns="{most: int}",
    )


def marked(made: Module) -> list[str]:
    Pipeline.parse("stop-votes").run(made, PassContext())
    return [op.decides for op in made.walk() if isinstance(op, Map)]


def test_only_what_is_voted_over_alone_is_marked() -> None:
    assert marked(voting(3)) == ["."]
    assert marked(voting(3, '%k = prog.apply(%drawn) {fn = "len"} : (int)')) == [""]


ROWS = [Row(str(i), {"text": t}) for i, t in enumerate(TEXTS)]


def outcomes(made: Module, whole: bool = False, passes: str = "") -> tuple[list[Any], int, int]:
    """Values and errors, and tokens and calls, which the engine counts too."""
    with Session(model="firefly", store=Store(None), seed=1, model_options={"kv_tokens": 1 << 13}) as session:
        engine: Any = session.models.get("main").model
        if passes:
            exe = Executable(lower(made, lambda _: session.target(made), None, passes), None)
            found = session._executor(made).run([(Cell(r), exe) for r in ROWS])
        else:
            found = session.run_cells(made, [Cell(r) for r in ROWS], whole=whole)
        assert session.desk.idle
        assert not session.desk._stepped
        assert not engine._pending
        used, stats = session.usage, engine.engine.stats()
        assert used.generated_tokens == sum(o.usage.generated_tokens for o in found)
        assert used.computed_tokens == stats.computed_tokens
        assert used.calls == stats.requests
        engine.engine.check()
        return [(o.value, str(o.error or "")) for o in found], used.generated_tokens, used.calls


@pytest.mark.parametrize("samples", [3, 5, 9])
def test_the_winner_is_that_of_all_samples(samples: int) -> None:
    made = voting(samples)
    early, whole = outcomes(made), outcomes(made, whole=True)
    plain = outcomes(made, passes="inline,lower-prompts,lower-kv")
    assert early[0] == whole[0] == plain[0]
    assert whole[1:] == plain[1:]
    assert early[1] < whole[1] or samples == 3
    assert early[2] == whole[2]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(("samples", "wanted"), [(3, ""), (5, "other"), (2, "other")])
def test_a_sample_that_fails_fails_the_row_if_it_could_have_changed_the_vote(
    samples: int, wanted: str, whole: bool
) -> None:
    made = module(
        f"""%n = prog.const() {{type = !list[int], value = {list(range(samples))}}} : (list[int])
        %drawn = prog.map(%n) do (%a: int, %i: int) {{
          %m = prog.py(%a) {{effect = "pure", returns = !str,
                             ref = #host<target = "tests.runtime.waiting_tools:brittle">}} : (str)
          prog.yield(%m) : ()
        }} : (list[str])
        %most = prog.vote(%drawn) : (str)
        %r = prog.pack(%most) {{names = ["most"]}} : ({{most: str}})
        prog.return(%r) : ()""",
        returns="{most: str}",
    )
    with Session(model=FakeEngine()) as session:
        (outcome,) = session.run_cells(made, [Cell(ROWS[0])], whole=whole)
    assert outcome.value == ({"most": wanted} if wanted else None)
    assert wanted or "not that one" in str(outcome.error)


def test_what_was_computed_of_dropped_samples_is_counted_wherever_usage_is_told() -> None:
    drawn = itertools.count()
    engine = FakeEngine(lambda prompt: "label: abcd" + ("" if next(drawn) < 3 else "x" * 30))
    with Session(model=LM("m", engine=engine, price=(1e4, 1e5))) as session, lampc.track_usage() as tracker:
        (outcome,) = session.run_cells(voting(5), [Cell(ROWS[0])])
        used = session.usage
        (tracked,) = tracker.get_total_tokens().values()
        assert outcome.usage.calls == used.calls == 5
        assert used.generated_tokens > 3 * len("label: abcd") == 33
        assert (tracked["prompt_tokens"], tracked["completion_tokens"]) == (used.prompt_tokens, used.generated_tokens)
        assert used.cost == pytest.approx((used.prompt_tokens * 1e4 + used.generated_tokens * 1e5) / 1e6)
        assert sum(c.asked for c in session.desk.books.computed) == used.prompt_tokens


def test_samples_that_an_endpoint_works_on_are_counted_and_kept(tmp_path: Path) -> None:
    with Loopback(Late()) as server, Store(tmp_path / "store") as store, lampc.track_usage() as tracker:
        for calls, stored in ((5, 0), (5, 5)):
            with Session(model=LM(server.url, price=(1e4, 1e5)), store=store) as session:
                (outcome,) = session.run_cells(voting(5), [Cell(ROWS[0])])
                assert outcome.value == {"most": 0}
                session.settle()
                used = session.usage
                assert (used.calls, used.stored_calls) == (calls, stored)
                assert bool(used.cost) == (not stored)
        (tracked,) = tracker.get_total_tokens().values()
        assert (tracked["prompt_tokens"], tracked["completion_tokens"]) == (used.stored_tokens, used.stored_generated)


def test_samples_that_were_not_sent_when_the_vote_is_decided_never_are() -> None:
    with Loopback(Late()) as server, Session(model=LM(server.url, max_concurrency=1)) as session:
        session.run_cells(voting(9), [Cell(ROWS[0])])
        session.settle()
        assert 5 <= session.usage.calls == len(server.requests) <= 6


class Late:
    """Answers that decide a vote at once, and those that it does not need late."""

    def __init__(self) -> None:
        self._mutex, self._drawn = threading.Lock(), itertools.count()

    def __call__(self, messages: Any) -> str:
        with self._mutex:
            late = next(self._drawn) >= 3
        time.sleep(0.3 if late else 0)
        return "label: abcd"
