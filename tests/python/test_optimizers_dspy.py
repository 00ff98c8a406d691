"""Optimizers of demos against DSPy's own, on the same scripted model: the same candidates, scores and winner."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import dspy
import pytest

import lampc
from lampc.passes.optimize import OptimizeError
from lampc.passes.optimize import optimizer as registered
from tests.python.scripted import asked, chance, configured, demos, outputs, scripted

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")
LIBRARIES = (lampc, dspy)


def rows(d: Any, n: int = 14, twins: bool = False) -> list[Any]:
    names = [f"q{i}" for i in range(n)]
    if twins:
        names = [*names[:4], "q1", *names[4:], "q2", "q2"]
    return [d.Example(question=q, hint=f"h{q}", answer=f"a{q}").with_inputs("question") for q in names]


def reply(messages: list[dict[str, str]], options: dict[str, Any], level: float = 0.5) -> dict[str, str]:
    """Right by chance, which the whole prompt and the temperature decide; shown more demos, more often."""
    question = asked(messages, "question")
    more = 0.03 * (len(messages) - 2)
    return {
        name: f"{name[0]}{question}" if chance(messages, options.get("temperature"), name) < level + more else "?"
        for name in outputs(messages)
    }


def one(d: Any) -> Any:
    class Asks(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ask = d.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.ask(question=question)

    return Asks()


def two(d: Any) -> Any:
    class Hints(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.hint = d.Predict("question -> hint")
            self.ask = d.Predict("question, hint -> answer")

        def forward(self, question: str) -> Any:
            return self.ask(question=question, hint=self.hint(question=question).hint)

    return Hints()


PROGRAMS = pytest.mark.parametrize("program", [one, two])


def right(example: Any, prediction: Any, trace: Any = None) -> float:
    return float(example.answer == prediction.answer)


def graded(example: Any, prediction: Any, trace: Any = None) -> float:
    """Half of it for an answer that is wrong; more strictly where demos are wanted."""
    good = bool(example.answer == prediction.answer)
    return (0.9 if trace is not None else 1.0) if good else 0.4


NAMES = ("LabeledFewShot", "BootstrapFewShot", "BootstrapFewShotWithRandomSearch", "BootstrapFewShotWithOptuna",
         "InferRules", "KNNFewShot", "Ensemble", "BetterTogether")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["__init__", "compile"])
def test_arguments_are_those_of_dspy(name: str, method: str) -> None:
    ours, theirs = (inspect.signature(getattr(getattr(d, name), method)).parameters.values() for d in LIBRARIES)
    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


def test_attributes_are_those_of_dspy() -> None:
    made = {"metric": right, "teacher_settings": {"lm": None}, "max_errors": 3}
    for name in ("BootstrapFewShot", "BootstrapFewShotWithRandomSearch", "InferRules"):
        with configured(lampc, scripted(lampc, reply)):
            ours, theirs = (getattr(d, name)(**made).get_params() for d in LIBRARIES)
        left_out = {"error_count", "error_lock", "rules_induction_program"}
        assert {k: v for k, v in theirs.items() if k not in left_out} == ours


# -- one bootstrap -----------------------------------------------------------------------------------------

BOOTSTRAPS: list[dict[str, Any]] = [
    {"metric": right},
    {"metric": right, "max_rounds": 3, "max_bootstrapped_demos": 8, "max_labeled_demos": 10},
    {"metric": graded, "metric_threshold": 0.8, "max_bootstrapped_demos": 3, "max_labeled_demos": 3},
    {"metric": graded, "metric_threshold": 0.3, "max_rounds": 2},
    {"metric": None, "max_bootstrapped_demos": 5, "max_labeled_demos": 5},
    {"metric": right, "max_bootstrapped_demos": 0, "max_labeled_demos": 4},
    {"metric": right, "max_labeled_demos": 0, "max_rounds": 2, "max_bootstrapped_demos": 20},
]


@PROGRAMS
@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("options", BOOTSTRAPS)
def test_bootstraps_are_those_of_dspy(program: Any, options: dict[str, Any], twins: bool) -> None:
    found = []
    for d in LIBRARIES:
        lm = scripted(d, reply)
        with configured(d, lm):
            made = d.BootstrapFewShot(**options).compile(program(d), trainset=rows(d, twins=twins))
            shown = [repr((m, o.get("temperature"))) for m, o in lm.calls]
        found.append((demos(made), sorted(shown)))
    assert found[0] == found[1]
    assert any(found[0][0].values())


@pytest.mark.parametrize("teaching", ["compiled", "fresh", "settings"])
def test_bootstraps_by_a_teacher_are_those_of_dspy(teaching: str) -> None:
    found = []
    for d in LIBRARIES:
        lm, big = scripted(d, reply), scripted(d, partial(reply, level=0.8), "big")
        teacher = None if teaching == "settings" else two(d)
        if teaching == "compiled":
            teacher.ask.demos = rows(d)[2:6]
            teacher._compiled = True
        with configured(d, lm):
            made = d.BootstrapFewShot(metric=right, teacher_settings={"lm": big}, max_rounds=2, max_labeled_demos=6)
            made = made.compile(two(d), teacher=teacher, trainset=rows(d))
        assert lm.calls == []
        found.append((demos(made), sorted(repr((m, o.get("temperature"))) for m, o in big.calls)))
    assert found[0] == found[1]


@pytest.mark.parametrize(("most", "ends"), [(4, False), (3, True), (0, True), (None, False)])
def test_as_many_errors_are_allowed_as_in_dspy(most: int | None, ends: bool) -> None:
    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        if example.question in ("q1", "q2", "q5"):
            raise RuntimeError("no metric for it")
        return bool(example.question in ("q3", "q7"))

    # DSPy's teacher goes on without the demos of a row that failed: what it answers must not depend on them
    script = lambda m, o: {n: f"{n[0]}{asked(m, 'question')}" for n in outputs(m)}  # noqa: E731
    found = []
    for d in LIBRARIES:
        with configured(d, scripted(d, script)):
            optimizer = d.BootstrapFewShot(metric=metric, max_errors=most)
            if ends:
                with pytest.raises((RuntimeError, OptimizeError), match="no metric for it"):
                    optimizer.compile(two(d), trainset=rows(d))
            else:
                found.append(demos(optimizer.compile(two(d), trainset=rows(d))))
    assert found[1:] == found[:1]


# -- random search -----------------------------------------------------------------------------------------

SEARCHES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"metric": right}, {}),
    (
        {"metric": right, "max_rounds": 2, "max_bootstrapped_demos": 3, "max_labeled_demos": 5},
        {"labeled_sample": False},
    ),
    ({"metric": graded, "metric_threshold": 0.8, "max_labeled_demos": 2}, {"restrict": [-3, -1, 1, 4]}),
    ({"metric": right, "stop_at_score": 55.0, "max_labeled_demos": 4}, {}),
]


@PROGRAMS
@pytest.mark.parametrize("own", [True, False], ids=["valset", "trainset"])
@pytest.mark.parametrize(("options", "more"), SEARCHES)
def test_random_search_is_that_of_dspy(program: Any, own: bool, options: dict[str, Any], more: dict[str, Any]) -> None:
    found = []
    for d in LIBRARIES:
        valset = [d.Example(question=f"v{i}", answer=f"av{i}").with_inputs("question") for i in range(9)]
        lm = scripted(d, reply)
        with configured(d, lm):
            optimizer = d.BootstrapFewShotWithRandomSearch(num_candidate_programs=6, num_threads=1, **options)
            made = optimizer.compile(program(d), trainset=rows(d, 11), **({"valset": valset} if own else {}), **more)
        tried = [(c["seed"], c["score"], list(c["subscores"]), demos(c["program"])) for c in made.candidate_programs]
        assert any(c["program"] is made for c in made.candidate_programs)
        found.append((tried, demos(made), [c["program"]._compiled for c in made.candidate_programs]))
    assert found[0] == found[1]


def test_random_search_with_a_teacher_is_that_of_dspy() -> None:
    found = []
    for d in LIBRARIES:
        lm, big = scripted(d, reply), scripted(d, partial(reply, level=0.8), "big")
        with configured(d, lm):
            made = d.BootstrapRS(right, {"lm": big}, num_candidate_programs=4, max_rounds=2).compile(
                two(d), teacher=two(d), trainset=rows(d)
            )
        tried = [(c["seed"], c["score"], demos(c["program"])) for c in made.candidate_programs]
        found.append((tried, len(lm.calls) > 0, len(big.calls) > 0))
    assert found[0] == found[1]


PLANS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("BootstrapFewShot", {"metric": right}, {}),
    ("BootstrapRS", {"metric": right, "num_candidate_programs": 4}, {}),
    ("BootstrapRS", {"metric": right, "num_candidate_programs": 4, "max_labeled_demos": 0, "max_rounds": 2}, {}),
    ("BootstrapRS", {"metric": right, "num_candidate_programs": 4, "stop_at_score": 50.0}, {}),
    ("BootstrapRS", {"metric": right}, {"restrict": [-3, -2]}),
    ("BootstrapFewShotWithOptuna", {"metric": right, "num_candidate_programs": 13}, {"max_demos": 3}),
    ("InferRules", {"metric": right, "num_candidates": 3}, {}),
]


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize(("name", "options", "more"), PLANS)
def test_what_a_dry_run_foresees_comes_true(
    name: str, options: dict[str, Any], more: dict[str, Any], level: float
) -> None:
    drawn: list[str] = []

    def script(messages: list[dict[str, str]], given: dict[str, Any]) -> dict[str, str]:
        if "natural_language_rules" in outputs(messages):
            return ruled(messages, given, drawn)
        return reply(messages, given, level)

    lm = scripted(lampc, script)
    with configured(lampc, lm):
        optimizer = getattr(lampc, name)(**options)
        plan = optimizer.dry_run(one(lampc), trainset=rows(lampc), **more)
        assert lm.calls == []
        optimizer.compile(one(lampc), trainset=rows(lampc), **more)
    runs = len(lm.calls) - len(drawn)  # each makes one call
    assert plan.runs.least <= runs <= (plan.runs.most or 0)
    assert len(drawn) == plan.proposals.least == plan.proposals.most
    if more.get("restrict"):
        assert plan.runs.least == plan.runs.most == runs


def test_faces_are_steps_of_source_files() -> None:
    for name, options, _ in PLANS:
        made = getattr(lampc, name)(**options).step()
        strategy = registered(made[0], {k: v for k, v in made[1].items() if k != "teacher_model"})
        assert strategy.name == made[0]


# -- a demo per predictor ------------------------------------------------------------------------------------


@PROGRAMS
def test_the_choice_of_demos_is_that_of_dspy_with_the_same_sampler(
    program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna")
    found = []
    for d in LIBRARIES:
        with monkeypatch.context() as patch, configured(d, scripted(d, reply)):
            optimizer = d.BootstrapFewShotWithOptuna(right, num_candidate_programs=18, max_labeled_demos=6)
            if d is dspy:
                level = optuna.logging.get_verbosity()
                optuna.logging.set_verbosity(optuna.logging.WARNING)
                seeded = partial(optuna.create_study, sampler=optuna.samplers.TPESampler(seed=0))
                patch.setattr(optuna, "create_study", seeded)
            made = optimizer.compile(program(d), max_demos=3, trainset=rows(d))
            if d is dspy:
                optuna.logging.set_verbosity(level)
        found.append(demos(made))
    for name, shown in found[0].items():
        assert shown == found[1][name]
        assert len(shown) == 1


# -- rules ---------------------------------------------------------------------------------------------------


def ruled(messages: list[dict[str, str]], options: dict[str, Any], drawn: list[str]) -> dict[str, str]:
    """Writes numbered rules, and answers by chance, which the rules in the instruction and the question decide."""
    names = outputs(messages)
    if "natural_language_rules" in names:
        drawn.append(messages[-1]["content"])
        return {"reasoning": "so", "natural_language_rules": f"Rule {len(drawn)}."}
    question, system = asked(messages, "question"), messages[0]["content"]
    said = system.partition("Rule ")[2][:1] or "0"
    return {n: f"{n[0]}{question}" if chance(said, question, n) < 0.55 else "?" for n in names}


@pytest.mark.parametrize("own", [True, False], ids=["valset", "halves"])
def test_rules_are_scored_and_chosen_as_in_dspy(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    scores: dict[str, list[float]] = {"dspy": [], "lampc": []}
    evaluate = dspy.InferRules.evaluate_program
    monkeypatch.setattr(
        dspy.InferRules,
        "evaluate_program",
        lambda self, *args: scores["dspy"].append(evaluate(self, *args)) or scores["dspy"][-1],
    )
    made: dict[str, Any] = {}
    shown: dict[str, list[str]] = {}
    for d in LIBRARIES:
        drawn: list[str] = []
        valset = [d.Example(question=f"v{i}", answer=f"av{i}").with_inputs("question") for i in range(20)]
        student = one(d)
        before = student.ask.signature.instructions
        with configured(d, scripted(d, partial(ruled, drawn=drawn))):
            optimizer = d.InferRules(num_candidates=6, num_rules=3, metric=right, num_threads=1)
            made[d.__name__] = optimizer.compile(student, trainset=rows(d, 24), **({"valset": valset} if own else {}))
        shown[d.__name__] = drawn
        assert (student.ask.signature.instructions == before) == (d is lampc)  # theirs changes the student's class
    assert demos(made["lampc"]) == demos(made["dspy"])
    assert [x.count("q11") for x in shown["lampc"]] == [x.count("q11") for x in shown["dspy"]]
    assert [x.count("q12") for x in shown["lampc"]] == [x.count("q12") for x in shown["dspy"]]
    best = scores["dspy"].index(max(scores["dspy"])) + 1
    assert len(set(scores["dspy"])) > 2
    assert made["lampc"].ask.signature.instructions.endswith(f"Rule {best}.")
    assert made["dspy"].ask.signature.instructions.endswith("Rule 6.")  # theirs has those of the last candidate


def test_rules_come_from_the_teachers_model() -> None:
    drawn: list[str] = []
    lm, big = scripted(lampc, reply), scripted(lampc, partial(ruled, drawn=drawn), "big")
    with configured(lampc, lm):
        made = lampc.InferRules(2, metric=right, teacher_settings={"lm": big}).compile(
            two(lampc), trainset=rows(lampc), valset=rows(lampc)[:3]
        )
    assert len(drawn) == 4
    assert "natural_language_rules" not in str(lm.calls)
    assert "Rule" in made.hint.signature.instructions
    assert made.hint.lm is None


# -- optimizers in turn --------------------------------------------------------------------------------------


def together(d: Any, **more: Any) -> Any:
    optimizers = {
        "p": d.BootstrapFewShot(metric=right, max_bootstrapped_demos=2, max_labeled_demos=4),
        "q": d.LabeledFewShot(k=3),
        "r": d.BootstrapRS(metric=right, num_candidate_programs=2, max_labeled_demos=3),
    }
    student = two(d)
    return d.BetterTogether(right, **optimizers), student, {"trainset": rows(d, 20), "seed": 5, **more}


SEQUENCES: list[dict[str, Any]] = [
    {"strategy": "p -> q -> r", "valset_ratio": 0.3},
    {"strategy": "q -> p", "valset_ratio": 0.5, "shuffle_trainset_between_steps": False},
    {"strategy": "p -> q", "valset_ratio": 0.0},
    {"strategy": "r -> q", "valset_ratio": 0.2, "optimizer_compile_args": {"r": {"restrict": [-3, -1]}, "q": {}}},
]


@pytest.mark.parametrize("more", SEQUENCES)
def test_sequences_are_those_of_dspy(more: dict[str, Any]) -> None:
    found = []
    for d in LIBRARIES:
        lm = scripted(d, reply)
        with configured(d, lm):
            optimizer, student, given = together(d, **more)
            student.set_lm(lm)
            made = optimizer.compile(student, **given)
            assert made.get_lm() is not None
        tried = [(c["strategy"], c["score"], demos(c["program"])) for c in made.candidate_programs]
        found.append((tried, demos(made), made.flag_compilation_error_occurred, made._compiled))
    assert found[0] == found[1]


def test_a_step_that_fails_ends_the_sequence() -> None:
    class Fails(lampc.teleprompt.Teleprompter):
        def compile(self, student: Any, *, trainset: Any) -> Any:
            raise RuntimeError("no")

    with configured(lampc, scripted(lampc, reply)):
        optimizer = lampc.BetterTogether(right, p=lampc.LabeledFewShot(k=3), f=Fails())
        made = optimizer.compile(one(lampc), trainset=rows(lampc), strategy="p -> f -> p", valset_ratio=0.5)
    assert made.flag_compilation_error_occurred
    assert {c["strategy"] for c in made.candidate_programs} == {"", "p"}


def test_sequences_that_do_not_fit_are_refused() -> None:
    optimizer, student, given = together(lampc)
    for more, message in (
        ({"strategy": "p -> x"}, "there is no optimizer 'x'; it is names out of p, q, r"),
        ({"strategy": " "}, "it names no step"),
        ({"valset_ratio": 1.0}, "`valset_ratio` is 1.0"),
        ({"trainset": []}, "no examples in the trainset"),
        ({"strategy": "p", "optimizer_compile_args": {"x": {}}}, "are for 'x'; there are p, q, r"),
        ({"strategy": "p", "optimizer_compile_args": {"p": {"valset": []}}}, "not given `valset` here; it takes"),
        ({"strategy": "p", "optimizer_compile_args": {"p": {"student": 1}}}, "not given `student` here"),
    ):
        with pytest.raises(ValueError, match=message):
            optimizer.compile(student, **{**given, **more})
    with pytest.raises(TypeError, match="`p` is no optimizer"):
        lampc.BetterTogether(right, p="bootstrap")
    assert {n: type(o).__name__ for n, o in lampc.BetterTogether(right).optimizers.items()} == {
        n: type(o).__name__ for n, o in dspy.BetterTogether(right).optimizers.items()
    }


# -- traces ---------------------------------------------------------------------------------------------------


def test_traces_are_those_of_dspy() -> None:
    def script(messages: list[dict[str, str]], options: dict[str, Any]) -> dict[str, str]:
        if asked(messages, "question") == "q2" and "answer" in outputs(messages):
            return {"nothing": "to read"}
        return reply(messages, options)

    found = []
    for d in LIBRARIES:
        program = two(d)
        with configured(d, scripted(d, script)), d.context(adapter=d.ChatAdapter(use_json_adapter_fallback=False)):
            data = d.bootstrap_trace_data(program, rows(d, 5), right, num_threads=1)
        names = {id(p): n for n, p in program.named_predictors()}
        steps = [[(names[id(p)], dict(i), _plain(o)) for p, i, o in x["trace"]] for x in data]
        found.append(
            [(x["example_ind"], _plain(x["prediction"]), x["score"], t) for x, t in zip(data, steps, strict=True)]
        )
    ours, theirs = found
    (failed,) = [x for x in ours if not isinstance(x[1], dict)]
    assert failed[0] == 2
    assert failed[2] == -1
    assert [x for x in ours if x is not failed] == [x for x in theirs if x[0] != 2]
    assert [t[0] for t in failed[3]] == [t[0] for t in theirs[2][3]]
    assert failed[1] == theirs[2][1]


def _plain(made: Any) -> Any:
    return dict(made.items()) if hasattr(made, "items") else (type(made).__name__, made.completion_text)


def test_crashes_are_captured_or_not() -> None:
    class Breaks(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = lampc.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            made = self.ask(question=question)
            if question == "q1":
                raise KeyError("gone")
            return made

    with configured(lampc, scripted(lampc, reply)):
        given: dict[str, Any] = {"program": Breaks(), "dataset": rows(lampc, 3), "metric": right}
        with pytest.raises(KeyError, match="gone"):
            lampc.bootstrap_trace_data(**given)
        data = lampc.bootstrap_trace_data(**given, raise_on_error=False)
        assert [x["example_ind"] for x in data] == [0, 2]
        data = lampc.bootstrap_trace_data(**given, capture_crashes=True)
        assert [x["example_ind"] for x in data] == [0, 1, 2]
        assert data[1]["prediction"].completion_text == "KeyError: 'gone'"
        assert len(data[1]["trace"]) == 1
        assert "score" not in lampc.bootstrap_trace_data(Breaks(), rows(lampc, 1))[0]
