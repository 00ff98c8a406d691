"""BootstrapFinetune under DSPy's name: it trains on what DSPy would train on, and programs get better by it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import OptimizeError, TrainJob, TrainResult
from lampc.runtime.cache import forget_configuration

KINDS = {"red": "warm", "green": "cold", "blue": "cold", "yellow": "warm"}
WORDS = ("dog", "cat", "house", "tree", "road", "moon", "sun", "car")
FAST = {"learning_rate": 3e-3, "num_train_epochs": 10}
INSTRUCTION = "Name the kind of the color."


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LAMPC_CACHE_DIR", str(tmp_path / "cache"))
    yield
    set_default_runner(None)
    settings.reset()
    forget_configuration()  # of the cache that the folder stands for


def rows(d: Any) -> list[Any]:
    pairs = [(f"the {w} is {c}", k) for w in WORDS for c, k in KINDS.items()]
    return [d.Example(text=t, kind=k).with_inputs("text") for t, k in pairs]


def right(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.kind == prediction.kind)


SCRIPT = {f"is {c}": {"kind": k} for c, k in (("red", "warm"), ("blue", "cold"), ("green", "?"), ("yellow", "?"))}
"""Knows every other color."""


def scripted() -> Any:
    return lampc.utils.DummyLM(SCRIPT)


class Told:
    """A trainer that is told what to train on, and trains nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[TrainJob] = []
        monkeypatch.setattr("lampc.runtime.training.train", self)

    def __call__(self, session: Any, module: Any, job: TrainJob) -> TrainResult:
        self.jobs.append(job)
        return TrainResult("firefly")


def test_what_is_trained_on_is_what_dspy_would_train_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same runs are kept, and of each the same messages."""
    from lampc.frontend.python import trace
    from lampc.ir import Demo, freeze, thaw
    from lampc.ir.adapters import adapter, bind_predictors
    from lampc.ir.adapters.rounds import first_round

    theirs: list[Any] = []

    class Trained(dspy.utils.DummyLM):  # type: ignore[misc]
        def kill(self, *args: Any) -> None: ...

        def finetune(self, train_data: Any, train_data_format: Any, train_kwargs: Any) -> Any:
            theirs.extend(train_data)
            raise InterruptedError

    student = dspy.Predict(dspy.Signature("text -> kind", INSTRUCTION))
    student.set_lm(Trained(SCRIPT))
    with dspy.context(adapter=dspy.ChatAdapter()), pytest.raises(InterruptedError):
        dspy.BootstrapFinetune(metric=right, num_threads=1).compile(student, trainset=rows(dspy))

    told = Told(monkeypatch)
    lampc.configure(lm=scripted())
    ours = lampc.Predict(lampc.Signature("text -> kind", INSTRUCTION))
    made = lampc.BootstrapFinetune(metric=right, train_kwargs=FAST).compile(ours, trainset=rows(lampc))
    (job,) = told.jobs
    assert thaw(job.options) == FAST
    bound = bind_predictors(trace(ours).module, job.assignment)
    sent = []
    for call in job.calls:
        own = bound[call.predictor]
        demo = Demo(freeze({**thaw(call.inputs), **thaw(call.outputs)}))
        answer = adapter(own.layout).demo(own.signature, demo)[-1][1]
        sent.append([*first_round(own, thaw(call.inputs)).turns, ("assistant", answer)])
    wanted = [[(m["role"], m["content"]) for m in one["messages"]] for one in theirs]
    assert len(wanted) == 16
    assert sorted(map(str, sent)) == sorted(map(str, wanted))
    assert made.predictors()[0].lm.model == "firefly"
    assert made._compiled
    assert ours.lm is None  # the student is left as it is


@pytest.mark.slow
def test_a_program_gets_better_and_its_state_holds_the_model(tmp_path: Path) -> None:
    teacher = lampc.Predict(lampc.Signature("text -> kind", INSTRUCTION))
    teacher.set_lm(lampc.LM("teacher", engine=lambda messages: "kind: " + KINDS[messages[-1]["content"].split()[-1]]))
    student = lampc.Predict(lampc.Signature("text -> kind", INSTRUCTION))
    lampc.configure(lm=lampc.LM("firefly"), adapter="compact")
    data = rows(lampc)
    score = lampc.Evaluate(devset=data[20:], metric=right)
    before = score(student).score
    tuner = lampc.BootstrapFinetune(metric=right, train_kwargs=FAST)
    made = tuner.compile(student, trainset=data[:20], teacher=teacher)
    after = score(made).score
    assert before < 50.0
    assert after >= 90.0
    assert score(student).score == before
    folder = Path(made.lm.model)
    assert folder.parent == tmp_path / "cache" / "adapters"
    made.save(str(tmp_path / "made.json"))
    assert json.loads((tmp_path / "made.json").read_text())["self"]["lm"]["model"] == str(folder)
    code = (
        "import sys, lampc; from tests.python.test_finetune import *;"
        "lampc.configure(lm=lampc.LM('firefly'), adapter='compact');"
        "made = lampc.Predict(lampc.Signature('text -> kind', INSTRUCTION)); made.load(sys.argv[1]);"
        "print(lampc.Evaluate(devset=rows(lampc)[20:], metric=right)(made).score)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "made.json")], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) == after


def test_options_by_model_and_models_that_cannot_be_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    lampc.configure(lm=scripted())
    student = lampc.Predict(lampc.Signature("text -> kind", INSTRUCTION))
    with pytest.raises(OptimizeError, match=r"finetune: model `main` is .* cannot be trained"):
        lampc.BootstrapFinetune(metric=right).compile(student, trainset=rows(lampc))
    with pytest.raises(OptimizeError, match="none of 32 runs succeeded"):
        lampc.BootstrapFinetune(metric=lambda *a: 0).compile(student, trainset=rows(lampc))
    with pytest.raises(ValueError, match="2 teachers were given; one at a time"):
        lampc.BootstrapFinetune().compile(student, rows(lampc), [student, student])
    told = Told(monkeypatch)
    own = scripted()
    student.set_lm(own)
    kwargs = {own: {"rank": 2}, lampc.LM("other"): {"rank": 3}}
    lampc.BootstrapFinetune(metric=right, train_kwargs=kwargs).compile(student, trainset=rows(lampc))
    assert [dict(j.options) for j in told.jobs] == [{"rank": 2}]
    plan = lampc.BootstrapFinetune(metric=right).dry_run(student, trainset=rows(lampc))
    assert "32" in str(plan)
