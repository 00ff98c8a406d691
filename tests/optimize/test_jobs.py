"""Every kind of job, done by the driver on real programs: what comes back, and that equal work is done once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

import lampc
from lampc.frontend.python.module import predictor_symbols
from lampc.ir import STR, Assignment, Field, Obj, Sampling, Signature
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import (
    TEACHER,
    CallJob,
    CallResult,
    EmbedJob,
    EmbedResult,
    EvaluateJob,
    EvaluateResult,
    FeedbackJob,
    FeedbackResult,
    Job,
    OptimizeError,
    RunJob,
    RunResult,
)
from lampc.runtime.budget import Budget, Spending
from lampc.runtime.configure import session_of
from lampc.runtime.evaluation.rows import called_on, row_metric
from lampc.runtime.perform import Performer, Program

START = Assignment()
ROWS = [lampc.Example(question=f"q{i}", answer=f"a{i}").with_inputs("question") for i in range(4)]
IDEA = Signature((Field("task", STR),), (Field("idea", STR),), "Propose.")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    set_default_runner(None)
    settings.reset()


class Scripted(lampc.BaseLM):
    """Answers `name@temperature`; what does not end in the marker cannot be read."""

    def __init__(self, name: str, mark: str = "[[ ## {field} ## ]]\n") -> None:
        super().__init__(name, cache=True)
        self.mark, self.asked = mark, 0

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.asked += 1
        last = messages[-1]["content"]
        field = "idea" if "[[ ## task ## ]]" in last else "search" if "`[[ ## search ## ]]`" in last else "answer"
        return f"{self.mark.format(field=field)}{self.model}@{kwargs.get('temperature')}"


class Two(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.plan = lampc.Predict("question -> search")
        self.tell = (
            lampc.ChainOfThought("question, search -> answer") if False else lampc.Predict("question, search -> answer")
        )

    def forward(self, question: str) -> Any:
        found = self.plan(question=question).search
        return lampc.Prediction(answer=self.tell(question=question, search=found).answer)


class Dynamic(Two):
    def forward(self, question: str) -> Any:
        try:
            return super().forward(question)
        except ZeroDivisionError:
            return None


def judge(gold: Any, pred: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
    if pred_name is not None:
        ((predictor, inputs, outputs),) = pred_trace
        about = f"{pred_name} {type(predictor).__name__} {sorted(inputs)} {sorted(outputs.keys())} of {len(trace)}"
        return lampc.Prediction(score=0.25, feedback=about)
    return {"score": 0.5 if trace is None else 1.0, "feedback": f"not {gold.answer}", "length": len(pred.answer)}


def program(module: lampc.Module, metric: Any = judge) -> Program:
    unit, _ = called_on(module, ROWS)
    held = dict(predictor_symbols(module))
    names = dict(zip(held, (n for n, _ in module.named_predictors()), strict=True))
    return Program(unit, session_of("a test"), row_metric(metric, unit, held, names), unit.entry)


def performer(student: lampc.Module, teacher: Program | None = None, **more: Any) -> Performer:
    made = program(student)
    _, rows = called_on(student, ROWS)
    spending = more.pop("spending", None) or Spending()
    return Performer(made, teacher, {"train": rows, "dev": rows[:2]}, spending, **more)


def done(worker: Performer, *jobs: Job) -> list[Any]:
    return worker.perform(list(jobs), lambda done, total: None)


@pytest.fixture(params=[Two, Dynamic], ids=["traced", "dynamic"])
def student(request: Any) -> lampc.Module:
    made: lampc.Module = request.param()
    return made


def test_a_run_hands_over_all_that_is_known_of_it(student: lampc.Module) -> None:
    lm = Scripted("m")
    lampc.configure(lm=lm, adapter=lampc.ChatAdapter())
    worker = performer(student)
    traced, plain = done(worker, RunJob(START, "train", 0), RunJob(START, "train", 0, traced=False))
    assert isinstance(traced, RunResult)
    assert [(c.predictor, dict(c.outputs)) for c in traced.trace] == [
        ("plan", {"search": "m@None"}),
        ("tell", {"answer": "m@None"}),
    ]
    assert traced.trace[1].text == "[[ ## answer ## ]]\nm@None"
    assert dict(traced.trace[1].inputs) == {"question": "q0", "search": "m@None"}
    assert (traced.score, traced.feedback, traced.error) == (1.0, "not a0", None)
    assert (dict(traced.extra), traced.outputs) == ({"length": 6}, Obj({"answer": "m@None"}))
    assert plain.score == 0.5  # the metric tells by the trace
    assert lm.asked == 2


def test_a_temperature_holds_for_all_calls_of_a_run(student: lampc.Module) -> None:
    student.plan.lm = warm = Scripted("warm")  # type: ignore[attr-defined]
    warm.kwargs["temperature"] = 0.9
    lampc.configure(lm=Scripted("m"), adapter=lampc.ChatAdapter())
    worker = performer(student)
    cold, usual, drawn = done(
        worker,
        RunJob(START, "train", 0, temperature=0.0),
        RunJob(START, "train", 0),
        RunJob(START, "train", 0, 3, 0.2),
    )
    texts = [[c.text.split("\n")[1] for c in r.trace] for r in (cold, usual, drawn)]
    assert texts == [["warm@0.0", "m@0.0"], ["warm@0.9", "m@None"], ["warm@0.2", "m@0.2"]]
    assert worker.table.cells == 3


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_teacher_is_a_program_of_its_own_with_its_own_models(dynamic: bool) -> None:
    taught, student_lm, teacher_lm = (Dynamic if dynamic else Two)(), Scripted("s"), Scripted("t")
    taught.set_lm(teacher_lm)
    lampc.configure(lm=student_lm, adapter=lampc.ChatAdapter())
    worker = performer(Two(), teacher=program(taught))
    own, other, shown = done(
        worker,
        RunJob(START, "train", 0),
        RunJob(START, "train", 0, program=TEACHER),
        RunJob(Assignment().updated(**{"tell.instruction": "Teach."}), "train", 0, program=TEACHER),
    )
    assert [r.outputs["answer"] for r in (own, other, shown)] == ["s@None", "t@None", "t@None"]
    assert (student_lm.asked, teacher_lm.asked) == (2, 3)  # the teacher's plan is the same for both candidates
    assert worker.spending.runs == 3
    with pytest.raises(OptimizeError, match="no such program: give one as `teacher`"):
        done(performer(Two()), RunJob(START, "train", 0, program=TEACHER))


def test_runs_of_student_and_teacher_are_judged_apart() -> None:
    """The same row under the same parameters, by the same metric object."""
    taught = Two()
    taught.set_lm(Scripted("much longer"))
    lampc.configure(lm=Scripted("s"), adapter=lampc.ChatAdapter())
    student, teacher = program(Two()), program(taught)
    _, rows = called_on(Two(), ROWS)
    worker = Performer(student, replace(teacher, metric=student.metric), {"train": rows}, Spending())
    own, other = done(worker, RunJob(START, "train", 0), RunJob(START, "train", 0, program=TEACHER))
    assert [r.extra["length"] for r in (own, other)] == [6, 16]


def test_the_call_that_could_not_be_read_ends_the_trace(student: lampc.Module) -> None:
    student.tell = lampc.Predict("question, search -> answer: int")  # type: ignore[attr-defined]
    student.tell.lm = Scripted("bad")
    lampc.configure(lm=Scripted("m"), adapter=lampc.ChatAdapter(use_json_adapter_fallback=False))
    worker = performer(student)
    run, feedback = done(worker, RunJob(START, "train", 1), FeedbackJob(RunJob(START, "train", 1), "tell", 1))
    first, last = run.trace
    assert (first.predictor, first.error) == ("plan", "")
    assert (last.predictor, dict(last.outputs), last.text) == ("tell", {}, "[[ ## answer ## ]]\nbad@None")
    assert dict(last.inputs) == {"question": "q1", "search": "m@None"}
    assert "bad@None" in last.error
    assert (run.score, run.outputs, bool(run.error)) == (0.0, None, True)
    assert (feedback.score, feedback.feedback, bool(feedback.error)) == (0.0, "", True)
    again = Performer(worker.programs[""], None, worker.splits, Spending())  # reads it out of the store
    assert done(again, RunJob(START, "train", 1)) == [run]
    assert again.table.fresh == 0


def test_a_metric_is_asked_about_one_call_as_gepa_asks(student: lampc.Module) -> None:
    lampc.configure(lm=Scripted("m"), adapter=lampc.ChatAdapter())
    worker = performer(student)
    run = RunJob(START, "train", 0)
    first, second = done(worker, FeedbackJob(run, "plan", 0), FeedbackJob(run, "tell", 1))
    assert first == FeedbackResult(0.25, "plan Predict ['question'] ['search'] of 2")
    assert second == FeedbackResult(0.25, "tell Predict ['question', 'search'] ['answer'] of 2")
    with pytest.raises(OptimizeError, match="feedback on call 2 is asked for, and the run made 2"):
        done(worker, FeedbackJob(run, "tell", 2))


def test_a_metric_that_knows_no_calls_is_asked_about_the_run() -> None:
    lampc.configure(lm=Scripted("m"), adapter=lampc.ChatAdapter())

    def plain(example: Any, prediction: Any, trace: Any = None) -> Any:
        return lampc.Prediction(score=len(trace), feedback="whole")

    made = program(Two(), plain)
    _, rows = called_on(Two(), ROWS)
    worker = Performer(made, None, {"train": rows}, Spending())
    assert done(worker, FeedbackJob(RunJob(START, "train", 0), "tell", 1)) == [FeedbackResult(2.0, "whole")]


def test_tokens_of_rows_follow_from_the_candidate_alone() -> None:
    lampc.configure(model="firefly")
    predict = lampc.Predict("question -> answer")
    job = EvaluateJob(START, "train", (0, 1))
    first = done(performer(predict), job)[0]
    again = performer(predict)
    again.session.store = type(again.session.store)(None)  # cells are forgotten, calls are not
    again.table.session = again.session
    second = done(again, job)[0]
    assert again.table.fresh == 2
    assert again.spending.usage.stored_calls == 2
    assert isinstance(first, EvaluateResult)
    assert first == second
    assert all(t > 20 for t in first.tokens)


def test_jobs_of_several_kinds_come_in_one_ask() -> None:
    lm = Scripted("m")
    lampc.configure(lm=lm, adapter=lampc.ChatAdapter())
    seen: list[list[str]] = []

    def vectors(texts: list[str]) -> Any:
        seen.append(texts)
        return [[float(len(t)), 1.0] for t in texts]

    worker = performer(Two(), embedders={"sizes": lampc.Embedder(vectors)})
    call = CallJob(IDEA, Obj({"task": "x"}), Sampling(temperature=0.5), layout="chat")
    jobs: list[Job] = [
        call,
        EvaluateJob(START, "dev", (0, 1)),
        EmbedJob(("a", "bbb", "a")),
        RunJob(START, "train", 1),
        call,
        EmbedJob(("bbb",), "sizes"),
    ]
    found = done(worker, *jobs)
    assert isinstance(found[0], CallResult)
    assert (found[0].outputs["idea"], found[0]) == ("m@0.5", found[4])
    assert found[1].scores == (0.5, 0.5)
    assert found[2] == EmbedResult(((1.0, 1.0), (3.0, 1.0), (1.0, 1.0)))
    assert found[3].score == 1.0
    assert found[5] == EmbedResult(((3.0, 1.0),))
    assert seen == [["a", "bbb"]]
    assert lm.asked == 1 + 2 * 2  # row 1 is one cell, whoever wants it
    assert worker.spending.usage.calls == 5
    with worker.offline():
        assert done(worker, *jobs) == found


def test_what_cannot_be_done_is_said() -> None:
    lampc.configure(lm=Scripted("m"), adapter=lampc.ChatAdapter())
    worker = performer(Two())
    with pytest.raises(OptimizeError, match=r"not said which embedder is meant; there is none: give one, a lampc\.Emb"):
        done(worker, EmbedJob(("a",)))
    with pytest.raises(OptimizeError, match="there is no split `test`; splits: train, dev"):
        done(worker, EvaluateJob(START, "test", (0,)))
    with pytest.raises(OptimizeError, match="failed: ValueError: no vectors today"):
        done(performer(Two(), embedders={"e": broken}), EmbedJob(("a",)))


def broken(texts: list[str]) -> Mapping[str, Any]:
    raise ValueError("no vectors today")


def test_proposals_count_towards_the_budget() -> None:
    lampc.configure(lm=Scripted("m"), adapter=lampc.ChatAdapter())
    worker = performer(Two(), spending=Spending(Budget(calls=2)))
    jobs = [CallJob(IDEA, Obj({"task": t}), layout="chat") for t in "abc"]
    found = done(worker, *jobs, EmbedJob(("a",)))
    assert worker.stopped == "calls"
    assert found == [None] * 4
    assert worker.spending.usage.calls >= 2
