"""Rules read off examples, a demo per predictor, optimizers in turn: what they ask for and what they make of it."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lampc.ir import Assignment, Obj, digest
from lampc.passes.optimize import (
    BetterTogether,
    BootstrapFewShot,
    BootstrapOptuna,
    CallJob,
    CallResult,
    EvaluateJob,
    EvaluateResult,
    InferRules,
    InstructionSearch,
    Job,
    LabeledFewShot,
    OptimizeError,
    Problem,
    RandomSearch,
    Result,
    RunJob,
    RunResult,
    optimizer,
)
from lampc.passes.optimize.bootstrap_optuna import new_study
from lampc.passes.optimize.racing import begin
from tests.optimize.problems import Answer, drive, problem, runs, trace_of


def by_candidate(a: Assignment) -> float:
    return random.Random(digest(a)).randrange(101) / 100


def answers(score: Any = by_candidate, rules: Any = None, succeed: Any = lambda row, _: 1.0) -> Answer:
    """Runs that leave a trace, scores of candidates, and rules by the call that asks for them."""

    def answer(job: Job) -> Result:
        if isinstance(job, RunJob):
            return runs(succeed)(job)
        if isinstance(job, EvaluateJob):
            return EvaluateResult((score(job.assignment),) * len(job.rows))
        assert isinstance(job, CallJob)
        made = rules(job) if rules else f"Rule {job.number}."
        if made is None:
            return CallResult(Obj(), error="too long for the model's context")
        return CallResult(Obj({"reasoning": "because", "natural_language_rules": made}))

    return answer


# -- rules ---------------------------------------------------------------------------------------------


def test_rules_are_drawn_for_all_candidates_at_once_and_the_best_stays() -> None:
    def score(a: Assignment) -> float:
        return {"Rule 2.": 0.9, "Rule 3.": 0.9}.get(a.get("first.instruction").splitlines()[-1], 0.3)

    found = InferRules(max_bootstrapped_demos=2, num_candidates=4, speculate=1.0).begin(problem(6))
    jobs = drive(found, answers(score))
    assert [type(j) for j in jobs] == [RunJob] * 2 + [CallJob] * 8 + [EvaluateJob] * 4
    calls = [j for j in jobs if isinstance(j, CallJob)]
    assert [j.number for j in calls] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert {(j.sampling.temperature, j.model) for j in calls} == {(1.0, "main")}
    assert found.best.get("first.instruction") == "Label it.\n\nKeep to these rules:\nRule 2."
    assert found.best.get("second.instruction") == "Say why.\n\nKeep to these rules:\nRule 2."
    bootstrap = BootstrapFewShot(max_bootstrapped_demos=2).begin(problem(6))
    drive(bootstrap, runs(lambda row, _: 1.0))
    assert found.best.get("first.demos") == bootstrap.best.get("first.demos")
    assert [c.score for c in found.history] == [None, 30.0, 30.0, 90.0, 90.0]
    for n in (1, 3):
        again = InferRules(max_bootstrapped_demos=2, num_candidates=4, speculate=1.0).begin(problem(6))
        drive(again, answers(score), n)
        assert (again.best, again.history) == (found.best, found.history)


def test_examples_show_the_fields_of_the_predictor() -> None:
    found = InferRules(num_candidates=1, num_rules=3).begin(problem(2))
    first, second = [j for j in drive(found, answers()) if isinstance(j, CallJob)]
    assert (
        first.inputs["examples_text"] == "Given:\ntext: t0\nAnswer:\nlabel: l0\n\nGiven:\ntext: t1\nAnswer:\nlabel: l1"
    )
    assert "text: t0\nlabel: l0\nAnswer:\nwhy: w0" in second.inputs["examples_text"]
    assert "3 rules" in first.signature.instruction


def test_without_select_rows_the_training_rows_are_halved() -> None:
    found = InferRules(num_candidates=2).begin(problem(7, 0))
    jobs = drive(found, answers())
    assert {j.row for j in jobs if isinstance(j, RunJob)} == {0, 1, 2}
    assert all("t2" in j.inputs["examples_text"] for j in jobs if isinstance(j, CallJob))
    assert not any("t3" in j.inputs["examples_text"] for j in jobs if isinstance(j, CallJob))
    assert {(j.split, j.rows) for j in jobs if isinstance(j, EvaluateJob)} == {("train", (3, 4, 5, 6))}
    with pytest.raises(OptimizeError, match="1 training rows cannot be halved"):
        InferRules().begin(problem(1, 0))


@pytest.mark.parametrize("fits", [1, 2, 7, 19])
@pytest.mark.parametrize("n", [1, 4096])
def test_as_many_examples_are_shown_as_fit(fits: int, n: int) -> None:
    def rules(job: CallJob) -> str | None:
        shown = job.inputs["examples_text"].count("Given:")
        return f"From {shown}." if shown <= fits else None

    found = InferRules(num_candidates=2).begin(problem(19))
    jobs = drive(found, answers(rules=rules), n)
    assert found.best.get("first.instruction").endswith(f"From {fits}.")
    assert len([j for j in jobs if isinstance(j, CallJob)]) <= 4 * 6
    with pytest.raises(OptimizeError, match="no rules, not even from one example: too long"):
        drive(InferRules(num_candidates=2).begin(problem(19)), answers(rules=lambda job: None), n)


def test_frozen_and_unlabelled_predictors_keep_their_instructions() -> None:
    base = problem(4, frozen='["instruction"]')
    found = InferRules(num_candidates=2).begin(base)
    assert found.demand().calls == 2
    drive(found, answers())
    assert found.best.get("first.instruction") is None
    unlabelled = replace(base, train=tuple(replace(e, labels={"label": e.labels["label"]}) for e in base.train))
    found = InferRules(num_candidates=2).begin(unlabelled)
    assert found.demand().calls == 0
    drive(found, answers())
    assert found.best.get("second.instruction") is None


@pytest.mark.parametrize("kind", ["halving", "bernstein"])
def test_candidates_may_race(kind: str) -> None:
    def score(a: Assignment) -> float:
        return {"Rule 2.": 1.0}.get(a.get("first.instruction").splitlines()[-1], 0.1)

    found = begin(InferRules(num_candidates=6, racing=kind), problem(6, 64))
    jobs = drive(found, answers(score))
    assert found.best.get("first.instruction").endswith("Rule 2.")
    scored = [j for j in jobs if isinstance(j, EvaluateJob)]
    assert len({(j.assignment, row) for j in scored for row in j.rows}) < 6 * 64
    assert len({len(j.rows) for j in scored[:6]}) == 1  # all of them meet on the first rows
    with pytest.raises(OptimizeError, match="`racing` is 'hares'"):
        begin(InferRules(racing="hares"), problem(6))


def test_the_demand_of_rules() -> None:
    found = InferRules(num_candidates=3, max_bootstrapped_demos=2, speculate=1.0).begin(problem(6, 5))
    demand = found.demand()
    jobs = drive(found, answers())
    assert demand.calls == sum(isinstance(j, CallJob) for j in jobs) == 6
    cells = sum(len(j.rows) if isinstance(j, EvaluateJob) else isinstance(j, RunJob) for j in jobs)
    assert demand.least == cells == 2 + 15
    assert demand.most == 6 + 15
    assert found.demand() == InferRules().begin(problem()).demand().__class__()


# -- a demo per predictor --------------------------------------------------------------------------------


def test_the_first_trials_are_one_table_and_nothing_changes_by_that() -> None:
    pytest.importorskip("optuna")
    options = BootstrapOptuna(max_bootstrapped_demos=4, max_labeled_demos=9, num_candidate_programs=25)
    found = options.begin(problem(12))
    rounds = []
    answer = answers()
    while not found.done:
        jobs = found.ask(4096)
        for job, result in [(j, answer(j)) for j in jobs]:
            found.tell(job, result)
        rounds.append(len(jobs))
    assert rounds[1:] == [10] + [1] * 15
    alone = options.begin(problem(12))
    drive(alone, answer, 1)
    assert (alone.best, alone.scores) == (found.best, found.scores)
    assert all(len(found.best.get(f"{n}.demos").items) == 1 for n in ("first", "second"))
    assert max(c.score or 0 for c in found.history) == max(found.scores)


def test_trials_are_those_of_a_study_asked_one_by_one() -> None:
    pytest.importorskip("optuna")
    options = BootstrapOptuna(max_bootstrapped_demos=3, max_labeled_demos=8, num_candidate_programs=30, sampler_seed=4)
    found = options.begin(problem(12))
    drive(found, answers())
    bootstrap = BootstrapFewShot(3, 8).begin(problem(12))
    drive(bootstrap, runs(lambda row, _: 1.0))
    study, p, scores = new_study(4, False), problem(12), []
    for _ in range(30):
        trial = study.ask()
        chosen = {
            name: [bootstrap.best.get(f"{name}.demos").items[trial.suggest_int(f"demo_index_for_{name}", 0, 7)]]
            for name in ("first", "second")
        }
        scores.append(round(100 * by_candidate(p.with_demos(p.start, chosen)), 2))
        study.tell(trial, scores[-1])
    assert found.scores == scores


def test_several_trials_may_be_under_way() -> None:
    pytest.importorskip("optuna")
    found = BootstrapOptuna(num_candidate_programs=22, parallel=4).begin(problem(12))
    demand = found.demand()
    jobs = drive(found, answers())
    assert sum(len(j.rows) for j in jobs if isinstance(j, EvaluateJob)) == 22 * 4 == demand.least - 4
    for wrong in ({"parallel": 0}, {"num_candidate_programs": 0}):
        with pytest.raises(OptimizeError, match="are 1 or more"):
            BootstrapOptuna(**wrong).begin(problem())  # type: ignore[arg-type]


# -- optimizers in turn ----------------------------------------------------------------------------------


POOL = {"pool": ["A", "B"]}


def worth(a: Assignment) -> float:
    """Demos do harm alone, and good with instruction A."""
    demos, text = bool(a.get("first.demos")), a.get("first.instruction")
    return {(False, None): 0.5, (True, None): 0.2, (True, "A"): 0.9, (False, "A"): 0.4}.get((demos, text), 0.1)


def test_a_step_goes_on_from_what_the_last_one_lost() -> None:
    steps = {"p": LabeledFewShot(k=2), "w": InstructionSearch(pool=["A", "B"], predictors=("first",))}
    found = BetterTogether("p -> w", steps).begin(problem())
    drive(found, answers(worth))
    assert [(c.note, c.score) for c in found.stations] == [("as it began", 50.0), ("p", 20.0), ("p -> w", 90.0)]
    assert found.best == found.stations[-1].assignment
    back = BetterTogether("p", steps).begin(problem())
    drive(back, answers(worth), 1)
    assert back.best == Assignment()


def test_training_rows_are_shuffled_before_each_step_and_some_are_held_out() -> None:
    boot = BootstrapFewShot(max_bootstrapped_demos=3, max_labeled_demos=0, speculate=1.0)
    found = BetterTogether("p -> p", {"p": boot}, valset_ratio=0.25, seed=7).begin(problem(12, 0))
    jobs = drive(found, answers())
    assert {(j.split, j.rows) for j in jobs if isinstance(j, EvaluateJob)} == {("train", (0, 1, 2))}
    rng, order, ran = random.Random(7), list(range(3, 12)), []
    for _ in range(2):
        rng.shuffle(order)
        ran += order[:3]
    assert [j.row for j in jobs if isinstance(j, RunJob)] == ran
    plain = BetterTogether("p", {"p": boot}, shuffle=False).begin(problem(12))
    assert [j.row for j in drive(plain, answers()) if isinstance(j, RunJob)] == [0, 1, 2]


def test_inner_searches_score_on_the_rows_held_out() -> None:
    search = RandomSearch(num_candidate_programs=1)
    for ratio, rows in ((0.25, (0, 1, 2)), (0.0, None)):
        found = BetterTogether("p", {"p": search}, valset_ratio=ratio).begin(problem(12, 0))
        scored = {(j.split, tuple(sorted(j.rows))) for j in drive(found, answers()) if isinstance(j, EvaluateJob)}
        assert scored == {("train", rows or tuple(range(12)))}
        assert rows or found.best == found.stations[-1].assignment  # nothing to compare stations by: the last one


@dataclass(frozen=True)
class Breaks:
    """Cannot begin, at once or where it starts from another program."""

    name: ClassVar[str] = "breaks"
    at_once: bool = False

    def begin(self, problem: Problem) -> Any:
        if self.at_once or problem.start != Assignment():
            raise OptimizeError("it cannot begin")
        return BootstrapFewShot(max_errors=2).begin(problem)


@pytest.mark.parametrize("when", ["as it begins", "as it runs"])
def test_a_step_that_fails_ends_the_sequence_with_the_best_so_far(when: str, caplog: Any) -> None:
    breaks = Breaks() if when == "as it begins" else BootstrapFewShot(max_errors=2)
    steps = {"p": InstructionSearch(pool=["A"], predictors=("second",)), "q": breaks}
    found = BetterTogether("p -> q -> p", steps).begin(problem())

    def answer(job: Job) -> Result:
        if isinstance(job, RunJob):
            return RunResult(0.0, trace_of(job.row), "it broke")
        return answers(lambda a: 0.7 if a.get("second.instruction") else 0.5)(job)

    drive(found, answer)
    assert [c.note for c in found.stations] == ["as it began", "p"]
    assert found.failed.startswith("it cannot begin" if when == "as it begins" else "bootstrap: 2 runs failed")
    assert f"step 2 of 3 (`q`) failed, the best so far stands: {found.failed}" in caplog.text
    assert found.best.get("second.instruction") == "A"


def test_what_is_set_up_wrongly_is_an_error_before_anything_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(OptimizeError, match="it cannot begin"):
        BetterTogether("p -> q", {"p": LabeledFewShot(), "q": Breaks(at_once=True)}).begin(problem())
    given = {"strategy": "instructions", "options": {"instructions": {"pool": "pool.txt"}}}
    with pytest.raises(OptimizeError, match="cannot be read"):
        optimizer("better_together", given, tmp_path).begin(problem())
    (tmp_path / "pool.txt").write_text("A\nB\n")
    made = optimizer("better_together", given, tmp_path)
    found = made.begin(problem())
    drive(found, answers(lambda a: 0.7 if a.get("second.instruction") == "B" else 0.5))
    assert found.best.get("second.instruction") == "B"
    (texts,) = made.texts(problem())  # type: ignore[attr-defined]
    assert texts["second"] == ["A", "B"]  # a run is another one once the file says something else


def test_sequences_in_source_files_name_the_optimizers() -> None:
    made = optimizer("better_together", {"strategy": "labeled -> instructions", "options": {"instructions": POOL}})
    found = made.begin(problem())
    assert not found.done
    drive(found, answers(worth))
    assert [c.note for c in found.history if c.step == "better_together"][-1] == "labeled -> instructions"
    for options, message in (
        ({"strategy": "p -> "}, "names steps"),
        ({"strategy": "labled"}, r"no optimizer `labled`; did you mean `labeled`"),
        ({"strategy": "labeled", "options": {"instructions": POOL}}, "options for `instructions`, which is no step"),
        ({"strategy": "labeled", "valset_ratio": 1.0}, "`valset_ratio` is 1.0"),
    ):
        with pytest.raises(OptimizeError, match=message):
            optimizer("better_together", options).begin(problem())


def test_the_demand_of_a_sequence_is_that_of_its_steps() -> None:
    steps = {"p": BootstrapFewShot(max_bootstrapped_demos=3, speculate=1.0), "w": InstructionSearch(pool=["A", "B"])}
    found = BetterTogether("p -> w", steps).begin(problem(8, 5))
    demand = found.demand()
    seen: set[Any] = set()
    for job in drive(found, answers()):
        seen |= {(job.assignment, i) for i in job.rows} if isinstance(job, EvaluateJob) else {job}
    assert demand.least == 3 + 3 * 5 + 5 * 5
    assert demand.most == 8 + 3 * 5 + 5 * 5
    assert len(seen) == demand.least - 2 * 5  # the search's start is a station, and so is its winner
