"""What DSPy's optimizers share here: a strategy run on a module, the modules of candidates, and what is kept of it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.ir import Assignment, Demo, DemoSet, Obj
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.passes.optimize import BootstrapFewShot, Demand, InstructionSearch, OptimizeError
from lampc.runtime.budget import Budget
from lampc.runtime.events import EventBus
from lampc.runtime.optimizers.base import Found, Teleprompter, improve, module_with
from lampc.runtime.progress import watching
from lampc.runtime.scripted import DummyLM
from lampc.runtime.structure import Range

ROWS = [lampc.Example(question=f"q{i}", answer=f"a{i}").with_inputs("question") for i in range(6)]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    set_default_runner(None)
    settings.reset()


class Model(lampc.BaseLM):
    """Answers right if told to, or shown two demos; counts its calls."""

    def __init__(self, name: str = "m", fails: str = "") -> None:
        super().__init__(name, cache=True)
        self.asked, self.fails = 0, fails

    def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
        self.asked += 1
        question = messages[-1]["content"].split("[[ ## question ## ]]\n")[1].split("\n")[0]
        if self.fails and question == self.fails:
            raise ValueError("broken row")
        right = "Mirror" in messages[0]["content"] or len(messages) >= 6
        return f"[[ ## answer ## ]]\n{question.replace('q', 'a') if right else 'no'}\n\n[[ ## completed ## ]]"


class Asks(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("question -> answer")

    def forward(self, question: str) -> Any:
        return self.ask(question=question)


class Guards(Asks):
    def forward(self, question: str) -> Any:
        try:
            return self.ask(question=question)
        except ZeroDivisionError:
            return None


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.answer == prediction.answer)


POOL = InstructionSearch(pool=("Think.", "Mirror it."))


def searched(student: lampc.Module, lm: Any = None, **more: Any) -> Found:
    lampc.configure(lm=lm or Model(), adapter=lampc.ChatAdapter())
    given: dict[str, Any] = {"trainset": ROWS, "valset": ROWS[:4], "metric": exact, **more}
    return improve(student, given.pop("strategy", POOL), **given)


@pytest.mark.parametrize("kind", [Asks, Guards], ids=["traced", "dynamic"])
def test_a_strategy_makes_a_better_module_of_a_student(kind: type[Asks]) -> None:
    student = kind()
    before = student.ask.signature.instructions
    found = searched(student)
    made = found.module
    assert isinstance(made, kind)
    assert (made.ask.signature.instructions, made._compiled) == ("Mirror it.", True)
    assert (student.ask.signature.instructions, student._compiled) == (before, False)
    assert made(question="q9").answer == "a9"
    assert found.result.score_after == 100.0
    assert found.result.score_before == 0.0  # the search scored the start itself
    assert [c.step for c in found.result.history] == ["instructions"] * 3
    other = found.program(found.result.history[1].assignment)
    assert other.ask.signature.instructions == "Think."
    assert other._compiled


def test_trials_say_what_was_computed_and_what_was_known() -> None:
    lm = Model()
    found = searched(Asks(), lm, strategy=[POOL, InstructionSearch(pool=("Mirror it.", "Look."))])
    first = found.result.trials[0]
    assert (first.step, first.kind, first.split, first.rows) == ("instructions", "evaluate", "dev", (0, 1, 2, 3))
    # the second step starts where the first ended
    assert [t.cells for t in found.result.trials] == ["cccc"] * 3 + ["rrrr", "cccc"]
    assert found.result.trials[2].scores == (1.0,) * 4
    assert (found.result.wanted, found.result.reused, found.result.runs) == (20, 4, 16)
    assert lm.asked == 16


def test_a_valset_that_is_the_trainset_has_the_same_cells() -> None:
    lm = Model()
    found = searched(Asks(), lm, strategy=[BootstrapFewShot(max_labeled_demos=0, speculate=1.0), Start()], valset=ROWS)
    assert [t.cells for t in found.result.trials if t.kind == "evaluate"] == ["rrrrrr"]


class Start:
    """Scores the start."""

    name = "start_only"

    def begin(self, problem: Any) -> Any:
        from lampc.passes.optimize import EvaluateJob

        class Once:
            best, history, done, asked = problem.start, (), False, False

            def ask(self, n: int) -> list[Any]:
                return [EvaluateJob(problem.start, "dev", problem.select_rows())]

            def tell(self, job: Any, result: Any) -> None:
                self.done = True

            def demand(self) -> Demand:
                return Demand()

        return Once()


def test_a_teacher_of_other_settings_runs_apart() -> None:
    student_lm, teacher_lm = Model("s"), Model("t")
    strategy = BootstrapFewShot(max_bootstrapped_demos=1, max_labeled_demos=3)
    found = searched(Asks(), student_lm, strategy=strategy, valset=None, teacher_settings={"lm": teacher_lm})
    assert {t.kind for t in found.result.trials} == {"teach"}
    assert (student_lm.asked, teacher_lm.asked > 0) == (0, True)
    assert found.module.ask.demos[0].augmented
    with pytest.raises(OptimizeError, match="`seed` is an option of the session"):
        searched(Asks(), teacher_settings={"seed": 3})


def test_rows_that_fail_are_scored_failures_unless_bounded() -> None:
    found = searched(Asks(), Model(fails="q1"))
    assert found.result.score_after == 75.0
    assert found.result.errors == 3
    assert [t.errors for t in found.result.trials] == [1, 1, 1]
    with pytest.raises(OptimizeError, match=r"3 runs failed, as many as `max_errors` allows; the last: .*broken row"):
        searched(Asks(), Model(fails="q1"), max_errors=3)
    assert searched(Asks(), Model(fails="q1"), max_errors=4, num_threads=2).result.score_after == 75.0


def engine(prompts: list[str]) -> FakeEngine:
    def reply(prompt: str) -> str:
        prompts.append(prompt)
        word = re.findall(r"question: (\w+)", prompt)[-1]
        return f"answer: {word.replace('q', 'a') if 'Mirror' in prompt else 'no'}"

    return FakeEngine(reply, max_running=4)


def test_what_is_finished_stands_in_a_folder(tmp_path: Path) -> None:
    def run(**more: Any) -> tuple[Found, int]:
        prompts: list[str] = []
        lampc.configure(model=engine(prompts))
        found = improve(Asks(), POOL, trainset=ROWS, valset=ROWS[:4], metric=exact, log_dir=tmp_path, **more)
        set_default_runner(None)
        return found, len(prompts)

    first, before = run(budget=Budget(runs=6))
    assert first.result.stopped == "runs"
    assert first.result.trials[-1].cut > 0
    assert first.result.trials[-1].scores == ()
    whole, after = run()
    assert whole.module.ask.signature.instructions == "Mirror it."
    assert 12 <= before + after <= 12 + 4  # what was in flight when the budget was spent
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["state"] == "finished"
    assert [t["cells"] for t in record["trials"]] == ["cccc"] * 3
    assert record["trials"][0]["wanted"] == record["trials"][0]["computed"] == 4
    third, none = run()
    assert (third.result.again, none) == (True, 0)
    assert third.result.trials == whole.result.trials
    assert third.module.ask.signature.instructions == "Mirror it."


def test_a_budget_keeps_the_best_so_far() -> None:
    found = searched(Asks(), budget=Budget(calls=7))
    assert found.result.stopped == "calls"
    assert found.module._compiled
    assert sum(t.cut for t in found.result.trials) == 12 - 7


def test_a_budget_may_be_a_setting() -> None:
    lampc.configure(lm=Model(), adapter=lampc.ChatAdapter())
    for said in ({"calls": 7}, Budget(calls=7)):
        with lampc.context(budget=said):
            found = improve(Asks(), POOL, trainset=ROWS, valset=ROWS[:4], metric=exact)
        assert found.result.stopped == "calls"
    with lampc.context(budget={"cals": 7}), pytest.raises(OptimizeError, match=r"no budget `cals`; known: calls"):
        improve(Asks(), POOL, trainset=ROWS, valset=ROWS[:4], metric=exact)


def test_a_candidate_becomes_a_module() -> None:
    lm = Model()
    lampc.configure(lm=lm)
    student = Asks()
    demo = Demo(Obj({"question": "q", "answer": "a"}))
    chosen = Assignment().updated(
        **{"ask.demos": DemoSet((demo,)), "ask.layout": "json", "ask.model": "other", "ask.instruction": "Do."}
    )
    made = module_with(student, chosen)
    assert [d.toDict() for d in made.ask.demos] == [{"question": "q", "answer": "a"}]
    assert (made.ask.layout, made.ask.lm, made.ask.signature.instructions) == ("json", "other", "Do.")
    assert (student.ask.demos, student.ask.lm) == ([], None)
    assert module_with(student, Assignment().updated(**{"ask.model": lampc.ir.modelnames.model_name(lm)})).ask.lm is lm
    with pytest.raises(OptimizeError, match=r"`docs\.k` is no parameter that this module holds"):
        module_with(student, Assignment().updated(**{"docs.k": 3}))


class Ours(Teleprompter):
    def compile(self, student: lampc.Module, *args: Any, **kwargs: Any) -> lampc.Module:
        return student


def test_a_sequence_is_planned_step_by_step() -> None:
    lm = Model()
    lampc.configure(lm=lm)
    search = lampc.BootstrapRS(metric=exact, num_candidate_programs=1)
    demos = lampc.LabeledFewShot(2)
    given: dict[str, Any] = {"trainset": ROWS, "valset": ROWS[:4], "strategy": "d -> p -> d", "seed": 1}
    both = lampc.BetterTogether(exact, p=search, d=demos)
    plan = both.dry_run(Asks(), **given)
    assert lm.asked == 0
    alone = search.dry_run(Asks(), trainset=ROWS, valset=ROWS[:4])
    names = [name for name, _ in plan.steps if name != "start"]
    assert names == [*["station"] * 4, "labeled", "random_search", "labeled"]
    stations = Range(4 * 4, 4 * 4)  # the start and three steps, on four rows
    assert plan.wanted == alone.wanted + stations
    assert plan.calls == alone.calls + stations.times(alone.calls_per_run)
    assert plan.tokens is not None
    assert alone.tokens is not None
    assert plan.tokens.prompt > alone.tokens.prompt
    both.compile(Asks(), **given)
    assert 0 < lm.asked <= (plan.calls.most or 0)
    with pytest.raises(ValueError, match="there is no optimizer 'x'"):
        both.dry_run(Asks(), trainset=ROWS, strategy="x")
    with pytest.raises(OptimizeError, match="Ours runs nothing that could be foreseen"):
        lampc.BetterTogether(exact, x=Ours()).dry_run(Asks(), trainset=ROWS, strategy="x")


def test_a_dry_run_asks_no_model() -> None:
    lm = Model()
    lampc.configure(lm=lm)
    optimizer = lampc.BootstrapFewShot(metric=exact, max_bootstrapped_demos=2)
    plan = optimizer.dry_run(Asks(), trainset=ROWS)
    assert lm.asked == 0
    assert (plan.runs.least, plan.runs.most) == (2, 6)
    assert str(lampc.LabeledFewShot().dry_run(Asks(), trainset=ROWS)).startswith("labeled: 0 runs\ndemanded: 0 runs")
    with pytest.raises(OptimizeError, match="Ours runs nothing that could be foreseen"):
        Ours().dry_run(Asks(), trainset=ROWS)
    assert isinstance(optimizer, Teleprompter)


def test_scripted_models_serve_too() -> None:
    lampc.configure(lm=DummyLM([{"answer": "a0"}] * 40))
    found = improve(Asks(), POOL, trainset=ROWS, valset=ROWS[:1], metric=exact)
    assert found.result.score_after == 100.0


def test_two_threads_with_one_folder_are_told_so(tmp_path: Path) -> None:
    lampc.configure(lm=Model())
    inside: list[BaseException] = []

    def judge(example: Any, prediction: Any, trace: Any = None) -> bool:
        if not inside:
            with ThreadPoolExecutor(1) as pool:
                other = pool.submit(improve, Asks(), POOL, trainset=ROWS, valset=ROWS, metric=exact, log_dir=tmp_path)
                inside.append(other.exception(timeout=60) or AssertionError())
        return exact(example, prediction)

    improve(Asks(), POOL, trainset=ROWS, valset=ROWS, metric=judge, log_dir=tmp_path)
    assert re.search(r"journal\.store: in use by this process itself, in another thread or", str(inside[0]))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def mipro(**options: Any) -> lampc.MIPROv2:
    return lampc.MIPROv2(metric=exact, auto=None, num_candidates=2, proposer="edits", **options)


def test_progress_is_told_if_asked_for_or_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lampc.configure(lm=Model())
    more: dict[str, Any] = {"trainset": ROWS, "valset": ROWS, "num_trials": 2, "minibatch": False}
    mipro().compile(Asks(), **more)
    assert capsys.readouterr() == ("", "")
    lampc.configure(lm=Model("other"))  # what was finished is not run again
    mipro(verbose=True).compile(Asks(), **more)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.match(r"scoring candidates: 12/12\nbest score so far: [\d.]+\n", err)
    lampc.configure(lm=Model("third"))
    with lampc.context(progress=False):
        mipro(verbose=True).compile(Asks(), **more)
    with lampc.context(progress=True):
        lampc.BootstrapFewShot(metric=exact).compile(Asks(), trainset=ROWS)
    assert re.fullmatch(r"(collecting traces: .*\n)+", capsys.readouterr().err)
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    lampc.configure(model=engine([]))
    lampc.COPRO(metric=exact, breadth=3, depth=2, pool=["Mirror it.", "Do.", "A.", "B.", "C."]).compile(
        Asks(), trainset=ROWS
    )
    shown = terminal.getvalue()
    assert "scoring candidates" in shown
    assert "best score so far: 100.0" in shown
    assert re.search(r"best 100\.0 +[\d,]+ tokens", shown)
    assert capsys.readouterr() == ("", "")


def test_progress_of_one_session_is_told_once() -> None:
    bus, out = EventBus(), Terminal()
    lines = io.StringIO()
    with watching(bus, True, lines), watching(bus, True, out):
        bus.emit("note", text="said")
    assert (lines.getvalue(), out.getvalue()) == ("said\n", "")
    with watching(bus, True, lines):
        bus.emit("note", text="again")
    assert lines.getvalue() == "said\nagain\n"


@pytest.mark.parametrize("fails", ["", "q1"])
def test_metrics_that_await_models_are_asked_together(fails: str) -> None:
    prompts: list[str] = []

    def reply(prompt: str) -> str:
        prompts.append(prompt)
        word = re.findall(r"question: (\w+)", prompt)[-1]
        return "ok: True" if "candidate: " in prompt else f"answer: {word.replace('q', 'a')}"

    model = FakeEngine(reply, max_running=16)
    lampc.configure(model=model)
    judge = lampc.Predict("question, candidate -> ok: bool")
    inside, most = 0, 0

    async def agrees(example: Any, prediction: Any, trace: Any = None) -> bool:
        nonlocal inside, most
        if example.question == fails:
            raise ValueError("no judge for it")
        inside += 1
        most = max(most, inside)
        found = await judge.acall(question=example.question, candidate=prediction.answer)
        inside -= 1
        return bool(found.ok)

    found = improve(Asks(), POOL, trainset=ROWS, valset=ROWS, metric=agrees)
    assert found.result.score_after == pytest.approx(100.0 if not fails else 500 / 6)
    assert found.result.errors == (0 if not fails else found.result.runs // 6)
    assert most > 1
    asked = sum("candidate: " in p for p in prompts)
    assert asked > 0
    assert found.result.usage.calls >= found.result.runs + asked  # what a judge costs counts
    made = lampc.BootstrapFewShot(metric=agrees, max_bootstrapped_demos=2).compile(Asks(), trainset=ROWS)
    assert [d.question for d in made.ask.demos][:2] == [f"q{i}" for i in range(3) if f"q{i}" != fails][:2]


def test_a_forgotten_metric_is_told() -> None:
    lampc.configure(lm=Model())
    none: Any = None
    for optimizer in (lampc.COPRO(breadth=2, depth=1), lampc.MIPROv2(none), lampc.BootstrapRS(none)):
        with pytest.raises(TypeError, match=r"no metric is given, and `[a-z_]+` chooses by score"):
            optimizer.compile(Asks(), trainset=ROWS)
    assert len(lampc.BootstrapFewShot().compile(Asks(), trainset=ROWS).ask.demos) == 6
    with pytest.raises(ValueError, match="num_threads is -1; at least 1"):
        lampc.BootstrapRS(exact, num_threads=-1).compile(Asks(), trainset=ROWS)


class Hints(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hint = lampc.Predict("question -> answer")
        self.ask = lampc.Predict("question, hint -> answer")

    def forward(self, question: str) -> Any:
        return self.ask(question=question, hint=self.hint(question=question).answer)


@pytest.mark.parametrize("cache", [True, False])
def test_calls_of_a_model_whose_answers_are_not_kept_are_planned_anew_for_every_run(cache: bool) -> None:
    lm = Model()
    lm.cache = cache
    lampc.configure(lm=lm)
    optimizer = lampc.COPRO(metric=exact, breadth=3, depth=1, pool=["One.", "Two."])
    plan = optimizer.dry_run(Hints(), trainset=ROWS)
    optimizer.compile(Hints(), trainset=ROWS)
    assert plan.expected_calls is not None
    if cache:  # equal answers make more of the calls equal than can be foreseen
        assert lm.asked <= plan.expected_calls < 2 * plan.expected_runs
    else:
        assert lm.asked == plan.expected_calls == 2 * plan.expected_runs
