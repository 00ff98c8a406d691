"""The driver: batching, each run once, budgets, the journal, and resuming after every kind of end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lampc.ir import STR, Assignment, Field, Obj, Sampling, Signature, Unit, parse_module
from lampc.passes.optimize import (
    BootstrapFewShot,
    CallJob,
    Demand,
    InstructionSearch,
    Job,
    LabeledFewShot,
    OptimizeError,
    Problem,
    Strategy,
)
from lampc.runtime.cells import Budget, CellTable
from lampc.runtime.driver import optimize, problem_of
from lampc.runtime.dryrun import calls_per_run, dry_run
from lampc.runtime.events import Event, EventBus
from lampc.runtime.journal import read_assignment
from lampc.runtime.metrics import MetricError, build_metric
from lampc.runtime.optimized import Interrupted, OptimizeResult
from lampc.runtime.reports import read_report
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Cell, Row
from tests.runtime.tuning import DEV, MODULE, POOL, TRAIN, Counting, answer, engine, metric, options, unit


def run(reply: Counting | None = None, store: Store | None = None, **more: Any) -> OptimizeResult:
    with Session(model=engine(reply or Counting()), store=store) as session:
        return optimize(unit(), session, **options(**more))


def same(a: OptimizeResult, b: OptimizeResult) -> None:
    assert a.assignment == b.assignment
    assert (a.score_before, a.score_after) == (b.score_before, b.score_after)
    assert a.history == b.history


# -- what it does ---------------------------------------------------------------------------------------


def test_the_program_gets_better() -> None:
    result = run()
    assert result.score_before is not None
    assert result.score_after is not None
    assert result.score_after > result.score_before
    assert result.assignment.get("p.instruction") == "Reverse the word."  # the longer one is as good
    assert len(result.assignment.get("p.demos").items) == 1
    assert result.assignment.get("p.demos").items[0].augmented
    assert [c.step for c in result.history] == ["start", "bootstrap", *["instructions"] * 4]
    assert all(c.score is not None for c in result.history)
    assert not result.again
    assert not result.stopped


def test_wanted_cells_run_in_one_batch_and_each_once() -> None:
    batches: list[int] = []

    class Watched(Session):
        def run_cells(self, program: Any, cells: Any, *args: Any, **more: Any) -> Any:
            batches.append(len(cells))
            return super().run_cells(program, cells, *args, **more)

    reply = Counting()
    with Watched(model=engine(reply)) as session:
        result = optimize(unit(), session, **options())
    assert len(set(reply.prompts)) == len(reply.prompts)  # nothing computed twice
    assert result.runs == result.fresh == sum(batches)
    # the start; rows of the bootstrap; its result; three further instructions on dev, all at once
    assert batches[0] == len(DEV)
    assert batches[-2:] == [len(DEV), 3 * len(DEV)]
    assert len(batches) <= 2 + len(TRAIN)


def test_equal_candidates_under_different_names_run_once() -> None:
    with Session(model=engine()) as session:
        table = CellTable(session, unit(), "main")
        said = Assignment().updated(**{"p.instruction": "Do it."})
        table.run([Cell(DEV[0]), Cell(DEV[0], said), Cell(DEV[0])])
        assert table.cells == table.fresh == 1
        table.run([Cell(DEV[0], said), Cell(DEV[1])])
        assert (table.cells, table.fresh) == (2, 2)
        assert table.usage.calls == 2


def test_a_result_that_is_worse_than_the_start_is_not_taken() -> None:
    def worse(prompt: str) -> str:
        word = prompt.rsplit("text: ", 1)[1].split("<")[0].split()[0]
        return f"label: {word[::-1]}" if prompt.count("label: ") == 0 else "label: no"

    result = run(Counting(worse), steps=[LabeledFewShot(k=2)])
    assert (result.score_before, result.score_after) == (100.0, 100.0)
    assert result.assignment == Assignment()


def test_without_rows_to_select_on_the_last_step_is_the_result() -> None:
    result = run(steps=[LabeledFewShot(k=2)], select=[])
    assert len(result.assignment.get("p.demos").items) == 2
    assert result.score_before is None
    assert result.runs == 0


def test_progress_and_jobs_are_told_on_the_bus() -> None:
    events: list[Event] = []
    bus = EventBus()
    bus.checked = True  # type: ignore[misc]
    bus.subscribe(events.append)
    with Session(model=engine(), bus=bus) as session:
        result = optimize(unit(), session, **options())
    progress = [e.data for e in events if e.kind == "progress"]
    assert len(progress) == result.runs
    assert progress[-1]["done"] == progress[-1]["total"]
    assert max(p.get("best", 0.0) for p in progress) == pytest.approx(33.3, abs=30)
    kinds = [e.kind for e in events]
    assert kinds.count("job.start") == kinds.count("job.end") > 2


SIGNATURE = Signature((Field("task", STR),), (Field("idea", STR),), "Propose an instruction.")


@dataclass(frozen=True)
class Proposer:
    """A strategy that lets the model propose `n` instructions and takes the best."""

    name: ClassVar[str] = "proposer"
    n: int = 3

    def begin(self, problem: Problem) -> Any:
        return Proposing(self, problem)


class Proposing:
    def __init__(self, options: Proposer, problem: Problem) -> None:
        self.best, self.done, self.history = problem.start, False, []  # type: ignore[var-annotated]
        self.texts: list[str] = []
        self.asked, self.n, self.problem = False, options.n, problem
        self.search: Any = None

    def ask(self, n: int) -> list[Job]:
        if self.search is not None:
            return list(self.search.ask(n))
        if self.asked:
            return []
        self.asked = True
        sampling = Sampling(temperature=1.0, max_tokens=40)
        return [CallJob(SIGNATURE, Obj({"task": "x"}), sampling, number=i) for i in range(self.n)]

    def tell(self, job: Job, result: Any) -> None:
        if self.search is None:
            self.texts.append(result.outputs["idea"] if not result.error else "")
            if len(self.texts) == self.n:
                self.search = InstructionSearch(pool=self.texts).begin(self.problem)
            return
        self.search.tell(job, result)
        self.best, self.done, self.history = self.search.best, self.search.done, self.search.history

    def demand(self) -> Demand:
        return Demand(calls=self.n)


def test_a_strategy_may_ask_a_model_for_proposals(tmp_path: Path) -> None:
    ideas = iter(["Do it twice.", "Reverse it.", "Nothing."])

    def reply(prompt: str) -> str:
        return f"idea: {next(ideas)}" if "Propose" in prompt else answer(prompt)

    with Store(tmp_path / "store") as store:
        first = run(Counting(reply), store, steps=[Proposer()])
        assert first.assignment.get("p.instruction") == "Reverse it."
        assert store.count("call") == len(DEV) * 4 + 3
        # the same proposals again, out of the store: another select split is another run
        again = run(Counting(), store, steps=[Proposer()], select=DEV[:6])
        assert not again.again
        assert [c.note for c in again.history] == [c.note for c in first.history]


# -- failures -------------------------------------------------------------------------------------------


def test_a_metric_that_raises_is_a_scored_failure_that_names_the_row() -> None:
    def brittle(gold: str, pred: str) -> bool:
        if gold == DEV[3].labels["label"]:
            raise ZeroDivisionError("no scale")
        return gold == pred

    measured = build_metric(brittle)
    result = run(metric=measured, steps=[LabeledFewShot(k=1)])
    assert result.errors == 2  # one row under two candidates
    with pytest.raises(
        MetricError, match=r"metric `brittle` failed on row 15 \(t.csv:17\): ZeroDivisionError: no scale"
    ):
        run(metric=measured, strict=True)


def test_when_every_row_fails_the_first_failure_is_told() -> None:
    lost = [Row("0", {"txt": "x"}, {"label": "y"}), Row("1", {}, {"label": "y"})]
    with pytest.raises(OptimizeError, match=r"every one of 2 rows failed; the first: .*input `text` is missing"):
        run(select=lost)


def test_answers_that_cannot_be_read_are_what_an_optimizer_may_mend() -> None:
    program = Unit(
        parse_module(MODULE.replace("= !str>], instruction", '= !choice["rebma", "x"]>], instruction')), "main"
    )
    rows = [Row(str(i), {"text": "amber"}, {"label": "rebma"}) for i in range(4)]

    def reply(prompt: str) -> str:
        return "label: rebma" if "Reverse" in prompt else "well"

    with Session(model=engine(reply)) as session:
        result = optimize(program, session, **options(steps=[InstructionSearch(pool=POOL)], train=rows, select=rows))
    assert (result.score_before, result.score_after) == (0.0, 100.0)


# -- budgets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [Budget(calls=30), Budget(runs=30), Budget(tokens=1500), Budget(seconds=1e-6)])
def test_a_spent_budget_stops_cleanly_with_the_best_so_far(budget: Budget) -> None:
    reply = Counting()
    store = Store(None)
    result = run(reply, store, budget=budget)
    assert result.stopped
    assert reply.calls <= 34  # what was in flight is given up
    if budget.runs:
        assert result.runs == 30
        assert result.score_before is not None
    whole = run(Counting(), store)  # with more budget it goes on
    same(whole, run())


def test_budgets_of_declarations() -> None:
    assert Budget.of([("tokens", 2e6), ("time", 900.0)]) == Budget(tokens=2_000_000, seconds=900.0)
    with pytest.raises(ValueError, match="no budget `euros`; known: calls, tokens, time, runs, money"):
        Budget.of([("euros", 5)])


# -- the journal ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fail_at", [0, 1, 12, 14, 40, 59])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_run_goes_on_and_ends_in_the_same_place(tmp_path: Path, fail_at: int, error: type) -> None:
    whole = Counting()
    wanted = run(whole)
    first, second = Counting(fail_at=fail_at, error=error), Counting()
    with Store(tmp_path / "store") as store:
        with pytest.raises((KeyboardInterrupt, SystemExit)) as caught:
            run(first, store, record=tmp_path / "run.json")
        if error is KeyboardInterrupt:
            assert isinstance(caught.value, Interrupted)
            assert "the same command goes on from there" in str(caught.value)
        assert json.loads((tmp_path / "run.json").read_text())["state"] == "unfinished"
    with Store(tmp_path / "store") as store:
        result = run(second, store, record=tmp_path / "run.json")
    same(result, wanted)
    used = result.usage
    assert used.prompt_tokens == wanted.usage.prompt_tokens
    assert used.prompt_tokens == used.computed_tokens + used.cached_tokens + used.stored_tokens
    assert set(first.prompts) | set(second.prompts) == set(whole.prompts)
    lost = first.calls + second.calls - whole.calls
    assert lost <= 4  # at most what was in flight
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["state"] == "finished"
    assert read_assignment(record["assignment"]) == wanted.assignment


def test_an_interrupted_run_names_the_tools_that_are_called_again(tmp_path: Path) -> None:
    fake = engine(Counting(fail_at=12, error=KeyboardInterrupt))
    with Store(tmp_path / "store") as store, Session(model=fake, store=store) as session:
        session.unkept_tools.add("send")
        with pytest.raises(Interrupted, match="goes on from there, but calls the tool send again"):
            optimize(unit(), session, **options())


def test_an_interrupted_run_without_a_folder_says_that_nothing_is_left() -> None:
    with pytest.raises(Interrupted, match="kept in memory alone and end with this process: a `log_dir` keeps them"):
        run(Counting(fail_at=12, error=KeyboardInterrupt))


@dataclass(frozen=True)
class Slow:
    """Looks at the record of its run while it is set up, and then refuses."""

    folder: Path
    name: ClassVar[str] = "slow"

    def begin(self, problem: Problem) -> Any:
        report = read_report(self.folder)
        assert (report.state, report.trials) == ("unfinished", [])
        raise OptimizeError("seen")


def test_a_run_is_on_record_from_the_first_moment(tmp_path: Path) -> None:
    record = tmp_path / "a" / "run.json"
    with Store(tmp_path / "store") as store:
        with pytest.raises(OptimizeError, match="seen"):
            run(Counting(), store, steps=[Slow(record.parent)], record=record)
        assert not record.exists()  # it came to nothing
        run(Counting(), store, record=record)
        record.unlink()
        assert run(Counting(), store, record=record).again
        assert json.loads(record.read_text())["state"] == "finished"


def test_a_finished_run_started_again_says_so_and_does_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        first = run(Counting(), store)
    reply = Counting()
    with Store(tmp_path / "store") as store:
        again = run(reply, store)
        assert again.again
        assert reply.calls == 0
        same(again, first)
        assert again.usage == first.usage
        assert again.table is not None
        assert again.table.cells == first.runs  # what was run can be looked at again
        assert not run(Counting(), store, select=DEV[:5]).again  # other rows are another run
        assert not run(Counting(), store, metric=build_metric("f1")).again
        assert not run(Counting(), store, steps=[InstructionSearch(pool=[POOL[0]])]).again


def test_what_a_retriever_reads_is_part_of_a_run(tmp_path: Path) -> None:
    program = parse_module(
        """module @main {
          prog.def_retriever @docs() {source = "docs.jsonl", k = 1} : ()
          prog.func @main() {returns = !{label: list[str]}} do (%text: str) {
            %found = prog.retrieve(%text) {retriever = @docs} : (list[str])
            %r = prog.pack(%found) {names = ["label"]} : ({label: list[str]})
            prog.return(%r) : ()
          } : ()
        }"""
    )
    store = Store(None)

    def found(text: str) -> Any:
        (tmp_path / "docs.jsonl").write_text(json.dumps({"text": text}) + "\n")
        with Session(model=engine(), store=store, base=tmp_path) as session:
            table = CellTable(session, program, "main")
            table.run([Cell(Row("0", {"text": "amber"}))])
            (outcome,) = table.outcomes()
        return outcome.value, table.fresh

    assert found("amber one") == ({"label": ["amber one"]}, 1)
    assert found("amber one") == ({"label": ["amber one"]}, 0)
    assert found("amber two") == ({"label": ["amber two"]}, 1)


def test_a_changed_pool_file_is_another_run(tmp_path: Path) -> None:
    pool = tmp_path / "pool.txt"
    store = Store(None)
    pool.write_text("Do it well.\n")
    search = [InstructionSearch(pool="pool.txt", base=tmp_path)]
    first = run(Counting(), store, steps=search)
    assert run(Counting(), store, steps=search).again
    pool.write_text("Reverse the word.\n")
    second = run(Counting(), store, steps=search)
    assert not second.again
    assert second.score_after != first.score_after


KILLED = """
import sys, time
from pathlib import Path
from tests.runtime.tuning import answer, engine, options, unit
from lampc.runtime.driver import optimize
from lampc.runtime.session import Session
from lampc.runtime.store import Store

def slow(prompt):
    time.sleep(0.01)
    with open(sys.argv[1] + "/prompts", "a") as log:
        log.write(repr(prompt) + chr(10))
    return answer(prompt)

with Store(Path(sys.argv[1]) / "store") as store, Session(model=engine(slow), store=store) as session:
    result = optimize(unit(), session, **options(record=Path(sys.argv[1]) / "run.json"))
"""


def test_a_run_killed_with_sigkill_goes_on_and_computes_no_finished_call_twice(tmp_path: Path) -> None:
    wanted = run()
    root = Path(__file__).resolve().parents[2]
    paths = os.pathsep.join([str(root), str(root / "src")])
    env = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    log = tmp_path / "prompts"
    for wait_for in (5, 25, 45):
        child = subprocess.Popen(command, cwd=root, env=env)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and child.poll() is None:
            if log.exists() and log.read_text().count("\n") >= wait_for:
                break
            time.sleep(0.005)
        child.send_signal(signal.SIGKILL)
        assert child.wait(10) == -signal.SIGKILL
    with Store(tmp_path / "store") as store:
        finished = store.count("call")
    assert finished >= 20
    assert subprocess.run(command, cwd=root, env=env, timeout=60).returncode == 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["state"] == "finished"
    assert read_assignment(record["assignment"]) == wanted.assignment
    assert record["score_after"] == wanted.score_after
    prompts = log.read_text().splitlines()
    assert len(prompts) - len(set(prompts)) <= 3 * 4  # in each kill at most what was in flight
    with Store(tmp_path / "store") as store:
        assert store.count("call") == len(set(prompts))


# -- the dry run ----------------------------------------------------------------------------------------


def test_the_dry_run_is_exact_where_nothing_depends_on_scores() -> None:
    steps: list[Strategy] = [LabeledFewShot(k=3), InstructionSearch(pool=POOL)]
    plan = dry_run(problem_of(unit(), TRAIN, DEV), steps)
    result = run(steps=steps)
    assert plan.runs.least == plan.runs.most == plan.expected_runs == result.runs == 60
    assert plan.expected_calls == result.usage.calls
    assert plan.wanted.least == plan.wanted.most == result.wanted
    assert "demanded: 108 runs of 1 LM calls each: 108 calls" in str(plan)
    assert "expected, equal ones made once: 60 distinct runs, 60 calls" in str(plan)


def test_the_dry_run_bounds_a_bootstrap() -> None:
    plan = dry_run(problem_of(unit(), TRAIN, DEV), options()["steps"])
    result = run()
    assert plan.runs.most is not None
    assert plan.runs.least <= result.runs <= plan.runs.most
    assert [name for name, _ in plan.steps] == ["start", "bootstrap", "instructions"]
    rounds = dry_run(problem_of(unit(), TRAIN, []), [BootstrapFewShot(max_rounds=3)])
    assert rounds.runs.most == 3 * len(TRAIN)


def test_calls_per_run_follow_the_structure() -> None:
    from tests.runtime.programs import BRANCH, CHAIN, FILTER, LOOP

    shown = {str(calls_per_run(m, "main")) for m in (CHAIN,)}
    assert shown == {"2"}
    assert str(calls_per_run(BRANCH, "main")) == "0 to 1"
    assert str(calls_per_run(LOOP, "main")) == "1 to 3"
    assert str(calls_per_run(FILTER, "main")) == "at least 0"


def test_the_metric_is_used_by_name() -> None:
    assert metric().identity == "exact_match"


# -- runs that come to nothing ----------------------------------------------------------------------------


def test_a_refused_or_hopeless_start_leaves_the_record_of_a_finished_run(tmp_path: Path) -> None:
    record = tmp_path / "run.json"
    first = run(record=record)
    files = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    assert json.loads(files["run.json"])["score_after"] == first.score_after
    lost = [Row("0", {"txt": "x"}, {"label": "y"})]
    for wrong in ({"steps": [LabeledFewShot(k=1), BootstrapFewShot(max_bootstrapped_demos=-1)]}, {"select": lost}):
        with pytest.raises(OptimizeError, match=r"max_bootstrapped_demos|every one of 1 rows failed"):
            run(record=record, **wrong)
        assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == files
