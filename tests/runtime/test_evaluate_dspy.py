"""`Evaluate`: all rows in one batch, metrics of every kind, failures as rows; files and prompts as DSPy's own."""

from __future__ import annotations

import asyncio
import csv
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dspy
import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python.callbacks import BaseCallback
from lampc.ir.adapters import adapter, bind_prompt
from lampc.ir.runner import NoSession, set_default_runner
from lampc.runtime.configure import session_of
from lampc.runtime.evaluation import Evaluate, EvaluationResult, TooManyErrors
from lampc.runtime.evaluation.judges import CompleteAndGrounded, SemanticF1
from lampc.runtime.evaluation.overlap import Bleu, Rouge

BATCHES: list[int] = []


def reply(prompt: str) -> str:
    if "precision" in prompt:
        return "reasoning: so\nrecall: 0.5\nprecision: 1.0"
    word = re.findall(r"text: (\w+)", prompt)[-1]
    return "?" if word == "mute" else f"label: {word[::-1] if len(word) % 2 else word}\nsize: 1"


@pytest.fixture(autouse=True)
def model() -> Iterator[None]:
    lampc.configure(model=FakeEngine(reply=reply))
    BATCHES.clear()
    session_of("test").bus.subscribe(lambda e: BATCHES.append(e.data["count"]) if e.kind == "request.submit" else None)
    yield
    set_default_runner(None)


class Turn(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.turn = lampc.Predict("text -> label, size: int")

    def forward(self, text: str) -> lampc.Prediction:
        return lampc.Prediction(label=self.turn(text=text).label)


class Eager(Turn):
    """Cannot be compiled ahead."""

    def forward(self, text: str) -> lampc.Prediction:
        with threading.Lock():
            return lampc.Prediction(label=self.turn(text=text).label, made=(1, 2))


def exact(example: Any, prediction: Any, trace: Any = None) -> bool:
    return bool(example.label == prediction.label)


def rows(*words: str) -> list[lampc.Example]:
    kind = {0: "even", 1: "odd"}
    return [lampc.Example(text=w, label=w[::-1], kind=kind[len(w) % 2]).with_inputs("text") for w in words]


ROWS = rows("abc", "ab", "abcde", "abcd", "mute", "xyz")


@pytest.mark.parametrize("program", [Turn, Eager])
def test_rows_are_one_batch_and_failures_are_rows(program: Any) -> None:
    found = Evaluate(devset=ROWS, metric=exact)(program())
    assert [len(ROWS)] == BATCHES
    assert found.score == 50.0
    assert [v for _, _, v in found.results] == [True, False, True, False, 0.0, True]
    assert found.results[0][0] is ROWS[0]
    assert found.scores == (1.0, 0.0, 1.0, 0.0, 0.0, 1.0)
    assert found.results[0][1].label == "cba"
    assert found.results[4][1].toDict() == {}
    (failed,) = found.errors
    assert failed == 4
    assert "turn" in found.errors[4].message
    assert found.usage.calls == len(ROWS)
    assert repr(found) == "EvaluationResult(score=50.0, results=<list of 6 results>)"


def test_plain_dicts_are_rows_of_a_compiled_program() -> None:
    plain: Any = [r.toDict() for r in ROWS]
    found = Evaluate(devset=plain, metric=exact)(Turn())
    assert found.score == 50.0
    assert found.records()[0]["example_label"] == "cba"


def test_programs_that_run_as_python_hand_over_what_they_return() -> None:
    found = Evaluate(devset=ROWS[:1], metric=lambda e, p: p.made == (1, 2))(Eager())
    assert found.score == 100.0
    text = Evaluate(devset=ROWS[:2], metric=lambda e, p: p == "ABC")(Upper())
    assert text.score == 50.0
    assert text.records()[0]["prediction"] == "ABC"


class Upper:
    """Any object that can be called is a program."""

    def __call__(self, text: str) -> str:
        return text.upper()


def test_a_program_without_calls_needs_no_model() -> None:
    set_default_runner(None)
    assert Evaluate(devset=ROWS, metric=lambda e, p: len(p) == len(e.text))(Upper()).score == 100.0
    with pytest.raises(NoSession):
        Evaluate(devset=ROWS, metric=exact)(Turn())


def test_max_errors_raises_when_all_rows_have_run() -> None:
    with pytest.raises(TooManyErrors, match=r"1 of 6 rows failed; the last: .*turn") as caught:
        Evaluate(devset=ROWS, metric=exact, max_errors=1)(Turn())
    assert caught.value.result.score == 50.0


def test_a_metric_that_raises_or_gives_no_number_is_a_row() -> None:
    def brittle(example: Any, prediction: Any, trace: Any = None) -> Any:
        return {"cba": 1 / 0 if example.text == "abc" else 1, "ab": "yes", "edcba": None, "abcd": float("nan")}.get(
            prediction.label, 0.25
        )

    found = Evaluate(devset=ROWS, metric=brittle, failure_score=0.5, provide_traceback=True)(Turn())
    assert found.scores == (0.5, 0.5, 0.5, 0.5, 0.5, 0.25)
    assert sorted(found.errors) == [0, 1, 2, 3, 4]
    assert "metric `brittle` failed on row 0: ZeroDivisionError" in found.errors[0].message
    assert "Traceback" in found.errors[0].message
    assert found.errors[0].where.startswith(f"{__file__}:")
    assert "not 'yes'" in found.errors[1].message


def test_metrics_give_scores_with_feedback() -> None:
    def judged(example: Any, prediction: Any, trace: Any, pred_name: Any = None) -> Any:
        return lampc.Prediction(score=float(exact(example, prediction)), feedback=f"wanted {example.label}")

    found = Evaluate(devset=ROWS[:2], metric=judged)(Turn())
    assert found.score == 50.0
    assert found.results[1][2].feedback == "wanted ba"
    assert found.records()[1] == {
        "text": "ab", "example_label": "ba", "kind": "even", "pred_label": "ab",
        "judged": 0.0, "judged_feedback": "wanted ba",
    }  # fmt: skip


def test_judges_ask_in_one_batch() -> None:
    data = [lampc.Example(text=w, question="q", response="r").with_inputs("text") for w in ("abc", "ab", "xyz", "xy")]

    class Answer(Turn):
        def forward(self, text: str) -> lampc.Prediction:
            return lampc.Prediction(response=self.turn(text=text).label)

    found = Evaluate(devset=data, metric=SemanticF1())(Answer())
    assert BATCHES == [4, 4]
    assert found.score == 66.67
    assert (found.usage.calls, found.metric_usage.calls) == (4, 4)
    assert found.results[0][2].score == pytest.approx(2 / 3)

    calls = 0
    judge = SemanticF1()

    def mixed(example: Any, prediction: Any, trace: Any = None) -> float:
        nonlocal calls
        calls += 1
        return float(judge(example, prediction).score) if len(prediction.response) > 2 else 0.0

    BATCHES.clear()
    found = Evaluate(devset=[d.copy(text=d.text + "e") for d in data], metric=mixed)(Answer())
    assert len(found.errors) == 0
    assert BATCHES[0] == 4
    assert found.scores == (pytest.approx(2 / 3),) * 4


def test_judges_that_are_awaited_ask_in_one_batch() -> None:
    data = [lampc.Example(text=w, question="q", response="r").with_inputs("text") for w in ("abc", "ab", "xyz", "xy")]
    judge = SemanticF1()

    class Answer(Turn):
        def forward(self, text: str) -> lampc.Prediction:
            return lampc.Prediction(response=self.turn(text=text).label)

    async def measure(example: Any, prediction: Any) -> Any:
        return await judge.acall(example, prediction)

    found = Evaluate(devset=data, metric=measure)(Answer())
    assert found.score == 66.67
    assert found.results[0][2].score == pytest.approx(2 / 3)
    assert BATCHES == [4, 4]


def test_judges_of_optimizers_ask_in_one_batch_too() -> None:
    data = [lampc.Example(text=w, question="q", response="r").with_inputs("text") for w in ("abc", "ab", "xyz", "xy")]

    class Answer(Turn):
        def forward(self, text: str) -> lampc.Prediction:
            return lampc.Prediction(response=self.turn(text=text).label)

    optimizer = lampc.BootstrapFewShot(
        metric=SemanticF1(threshold=0.5), max_bootstrapped_demos=2, max_labeled_demos=0, max_rounds=1
    )
    made = optimizer.compile(Answer(), trainset=data)
    assert len(made.turn.demos) == 2
    assert BATCHES
    assert max(BATCHES) == min(BATCHES) >= 2  # the program's calls, then those of the judge


def test_coroutines_run_together() -> None:
    live = most = 0

    async def slow(example: Any, prediction: Any) -> float:
        nonlocal live, most
        live += 1
        most = max(most, live)
        await asyncio.sleep(0.02)
        live -= 1
        if example.text == "xyz":
            raise KeyError("gone")
        return float(exact(example, prediction))

    found = Evaluate(devset=ROWS, metric=slow)(Turn())
    assert most == 5  # the row that failed is not scored
    assert found.scores == (1.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    assert "KeyError: 'gone'" in found.errors[5].message


def test_metrics_that_wait_are_spread_over_threads() -> None:
    threads = set()

    def waits(example: Any, prediction: Any) -> float:
        threads.add(threading.current_thread().name)
        time.sleep(0.03)
        return 1.0

    Evaluate(devset=rows(*"abcdefgh"), metric=waits, num_threads=4)(Turn())
    assert len(threads) > 2
    threads.clear()
    Evaluate(devset=rows(*"abcdefgh"), metric=waits, num_threads=1)(Turn())
    assert len(threads) == 1


def test_acall_leaves_the_loop_free() -> None:
    async def main() -> tuple[EvaluationResult, EvaluationResult]:
        measure = Evaluate(devset=ROWS, metric=exact)
        first = await measure.acall(Turn())
        second = await measure.acall(Turn(), devset=ROWS[:1])
        return first, second

    whole, one = asyncio.run(main())
    assert (whole.score, one.score) == (50.0, 100.0)


def test_callbacks_are_told_as_in_dspy() -> None:
    def run(package: Any) -> list[Any]:
        heard: list[Any] = []

        class Listener(package.utils.callback.BaseCallback if package is dspy else BaseCallback):  # type: ignore[misc]
            def on_evaluate_start(self, call_id: str, instance: Any, inputs: Any) -> None:
                heard.append(("start", type(instance).__name__, sorted(inputs), inputs.get("callback_metadata")))

            def on_evaluate_end(self, call_id: str, outputs: Any, exception: Any = None) -> None:
                heard.append(("end", outputs and outputs.score, type(exception).__name__))

        examples = [package.Example(text="a").with_inputs("text")]
        measure = package.Evaluate(devset=examples, metric=lambda e, p: 1.0, num_threads=1)
        with package.context(callbacks=[Listener()]):
            measure(package_program(package), callback_metadata={"step": 1})
            with pytest.raises(ValueError, match="at least one example"):
                measure(package_program(package), devset=[])
        return heard

    def package_program(package: Any) -> Any:
        class Echo(package.Module):  # type: ignore[misc,name-defined]
            def forward(self, text: str) -> Any:
                with threading.Lock():
                    return package.Prediction(label=text)

        return Echo()

    assert run(lampc) == run(dspy)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ValueError, match="needs a metric"):
        Evaluate(devset=ROWS)(Turn())
    with pytest.raises(ValueError, match="at least one example"):
        Evaluate(devset=[], metric=exact)(Turn())
    with pytest.raises(ValueError, match="outputs are always in"):
        Evaluate(devset=ROWS, return_outputs=True)
    with pytest.raises(TypeError, match="no option `treads`"):
        Evaluate(devset=ROWS, treads=3)
    with pytest.raises(ValueError, match="example 0 does not say which names are inputs"):
        Evaluate(devset=[lampc.Example(text="a")], metric=exact)(Upper())


# -- breakdowns, tables, files ------------------------------------------------------------------------------


def test_breakdowns() -> None:
    found = Evaluate(devset=ROWS, metric=exact)(Turn())
    kinds = found.by("kind")
    assert {k: (g.score, len(g.rows), g.failed) for k, g in kinds.items()} == {
        "odd": (100.0, 3, 0),
        "even": (0.0, 3, 1),
    }
    assert kinds["odd"].interval().low == 100.0
    lengths = found.by(lambda e, p: len(p.label))
    assert list(lengths) == [3, 2, 5, 4, "AttributeError (failed rows)"]
    with pytest.raises(KeyError, match="no column `knd`; there are text, label, kind"):
        found.by("knd")
    turn = found.by_predictor()["turn"]
    assert (len(turn.rows), turn.calls, turn.broken, turn.failed, turn.usage.calls) == (6, 5, 1, 1, 6)
    assert found.interval().low <= 50.0 <= found.interval().high


def test_tables_and_progress(capsys: pytest.CaptureFixture[str]) -> None:
    Evaluate(devset=ROWS, metric=exact, display_table=2, display_progress=True)(Turn()).show(by="kind")
    out, err = capsys.readouterr()
    assert "4 more rows are not shown" in out
    assert "abcde" not in out
    assert "odd" in out
    assert "evaluate: 6/6  mean 50.0  1 failed" in err


def test_files_are_those_of_dspy(tmp_path: Path) -> None:
    data = [{"text": "a", "label": 'x, "y"', "n": 1}, {"text": "b", "label": "ü\nz", "n": 2}]

    def run(package: Any, to: Path) -> Any:
        class Program(package.Module):  # type: ignore[misc,name-defined]
            def forward(self, text: str, n: int) -> Any:
                with threading.Lock():
                    return package.Prediction(label=text, more=n)

        def same(example: Any, prediction: Any) -> bool:
            return bool(example.label == prediction.label)

        examples = [package.Example(**d).with_inputs("text", "n") for d in data]
        evaluate = package.Evaluate(devset=examples, metric=same, num_threads=1)
        return evaluate(Program(), save_as_csv=str(to / "r.csv"), save_as_json=str(to / "r.json"))

    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    ours, theirs = run(lampc, tmp_path / "ours"), run(dspy, tmp_path / "theirs")
    assert (ours.score, repr(ours)) == (theirs.score, repr(theirs))
    assert [(e.toDict(), p.toDict(), s) for e, p, s in ours.results] == [
        (e.toDict(), p.toDict(), s) for e, p, s in theirs.results
    ]
    assert json.loads((tmp_path / "ours/r.json").read_text()) == json.loads((tmp_path / "theirs/r.json").read_text())
    ours_csv, theirs_csv = ((tmp_path / side / "r.csv").read_text() for side in ("ours", "theirs"))
    assert list(csv.reader(ours_csv.splitlines(True))) == list(csv.reader(theirs_csv.splitlines(True)))


def test_files_hold_lists_and_errors(tmp_path: Path) -> None:
    found = Evaluate(devset=ROWS[3:5], metric=exact, save_as_csv=str(tmp_path / "r.csv"))(Turn())
    lines = list(csv.DictReader((tmp_path / "r.csv").read_text().splitlines(True)))
    assert (lines[0]["exact"], lines[0]["error"]) == ("False", "")
    assert "turn" in lines[1]["error"]
    assert found.records()[1]["label"] == "etum"


# -- judges and texts ---------------------------------------------------------------------------------------


class Recorder(dspy.LM):
    """Keeps the messages that real DSPy sends."""

    def __init__(self, answer: str) -> None:
        super().__init__("openai/none", cache=False)
        self.answer, self.seen = answer, []

    def forward(self, prompt: Any = None, messages: Any = None, **_: Any) -> Any:
        raise NotImplementedError

    def __call__(self, prompt: Any = None, messages: Any = None, **_: Any) -> list[str]:
        self.seen.append(messages)
        return [self.answer]


ANSWER = "".join(
    f"[[ ## {name} ## ]]\n{value}\n\n"
    for name, value in {
        "reasoning": "r", "ground_truth_key_ideas": "k", "system_response_key_ideas": "k", "discussion": "d",
        "system_response_claims": "c", "recall": 0.5, "precision": 1.2, "completeness": 0.5, "groundedness": 0.25,
        "completed": "",
    }.items()
)  # fmt: skip


@pytest.mark.parametrize("name", ["SemanticF1", "SemanticF1 decompositional", "CompleteAndGrounded"])
def test_judges_send_and_score_what_those_of_dspy_do(name: str) -> None:
    kind, options = name.split()[0], {"decompositional": True} if " " in name else {}
    values = {"question": "What is it?", "response": "A «lamp»\nof glass."}
    outputs = {"response": "It is a lamp.", "context": ["A lamp.", "Glass\nlamp."]}
    theirs, lm = getattr(dspy.evaluate, kind)(**options), Recorder(ANSWER)
    with dspy.context(lm=lm, adapter=dspy.ChatAdapter()):
        wanted = theirs(dspy.Example(**values), dspy.Prediction(**outputs))
        strict = theirs(dspy.Example(**values), dspy.Prediction(**outputs), trace=[])
    ours = {"SemanticF1": SemanticF1, "CompleteAndGrounded": CompleteAndGrounded}[kind](**options)
    asked: list[Any] = []

    class Scripted:
        """Answers as the recorder does, and keeps what the chat layout sends."""

        def predict(self, bound: Any, inputs: Any, sampling: Any, key: Any) -> tuple[dict[str, Any], str]:
            slots = [inputs[f.name] for f in bound.signature.inputs]
            turns = bind_prompt(adapter("chat").render(bound.signature, bound.name), bound, slots)
            asked.append([{"role": role, "content": text} for role, text in turns])
            return dict(adapter("chat").parse(bound.signature, ANSWER)), ANSWER

        def retrieve(self, name: str, query: str, k: int) -> list[str]:
            raise AssertionError(name)

    set_default_runner(Scripted())
    got = ours(lampc.Example(**values), lampc.Prediction(**outputs))
    assert asked == lm.seen[: len(asked)]
    assert got.score == wanted.score
    assert ours(lampc.Example(**values), lampc.Prediction(**outputs), trace=[]).score == strict.score


def test_bleu_and_rouge() -> None:
    example = lampc.Example(answer=["the cat sat on the mat", "a cat on a mat"])
    same, near = lampc.Prediction(answer="the cat sat on the mat"), lampc.Prediction(answer="the cat sat on a mat")
    assert Bleu()(example, same) == pytest.approx(1.0)
    assert 0.3 < Bleu()(example, near) < 1.0
    assert Rouge()(example, same) == pytest.approx(1.0)
    assert Rouge()(example, near) == pytest.approx(5 / 6)
    assert Rouge(kind="rouge1")(example, near) == pytest.approx(5 / 6)
    assert Rouge("gist", "answer")(example, lampc.Prediction(gist="dog")) == 0.0
    with pytest.raises(ValueError, match="no ROUGE 'rouge9'"):
        Rouge(kind="rouge9")
    assert Evaluate(devset=rows("abc", "ab"), metric=Bleu("label"))(Turn()).score == 50.0
