"""SIMBA and DSPy's on scripted models: the same programs, scores and winner.

Their draws are Python's and numpy's, ours are the same ones. What a model answers at temperature 1 hangs on a rollout's
number there and on the random bits of its draw here, so the scripted model goes by the order in which draws of a prompt
come: that is the same in both.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import dspy
import pytest

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings
from lampc.runtime.replaced import drawing
from tests.python.both import answered, chance, reply, state

pytestmark = pytest.mark.filterwarnings("ignore:Implementing custom LMs:DeprecationWarning")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    logger = logging.getLogger("dspy")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
    logger.setLevel(level)
    set_default_runner(None)
    settings.reset()


def task_model(d: Any, seed: int, name: str = "task") -> Any:
    """Right or not by a hash of all that it is shown and of which draw this is, more often with demos and rules."""
    draws: dict[str, list[Any]] = {}
    asked: list[str] = []

    class Task(d.BaseLM):  # type: ignore[misc]
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            shown = "\n".join(str(m["content"]) for m in messages)
            token = {**self.kwargs, **kwargs}.get("rollout_id") if d is dspy else drawing.get() or None
            known = draws.setdefault(shown, [])
            if self.model == "teacher":
                token = None  # it is asked as it is set
            if token is not None and token not in known:
                known.append(token)
            number = -1 if token is None else known.index(token)
            last = messages[-1]["content"]
            fields = re.findall(r"\[\[ ## (\w+) ## \]\]", last.split("Respond with")[1])[:-1]
            word = re.findall(r"\[\[ ## word ## \]\]\n(\w+)", last)[0]
            asked.append(word)
            luck = 0.25 + 0.06 * min(6, len(messages) - 2) + 0.1 * min(4, messages[0]["content"].count("then repeat"))
            right = chance(seed, shown, number, self.model == "teacher") < luck
            return reply(self.model, answered(**dict.fromkeys(fields, word if right else "?")))

    made = Task(name, cache=False)
    made.asked = asked
    return made


def prompt_model(d: Any, unread: float = 0.0) -> Any:
    """Advises by the input alone; for some inputs it writes what cannot be read."""
    asked: list[str] = []

    class Prompt(d.BaseLM):  # type: ignore[misc]
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            last = messages[-1]["content"]
            word = re.findall(r'"word": "(\w+)"', last.split("program_input", 1)[1])[0]
            asked.append(word)
            if chance("unread", word) < unread:
                return reply(self.model, "I cannot say.")
            text = f"If the word is {word}, then repeat it, and nothing else."
            body = json.dumps({"say": text} if chance("which", word) < 0.7 else {"say": text, "hear": text})
            return reply(self.model, answered(discussion="Hm.", module_advice=body))

    made = Prompt("prompt", cache=False)
    made.asked = asked
    return made


def program(d: Any, predictors: int) -> Any:
    class One(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.say = d.Predict("word -> answer")

        def forward(self, word: str) -> Any:
            return self.say(word=word)

    class Two(d.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.hear = d.Predict("word -> sound")
            self.say = d.Predict("word, sound -> answer")

        def forward(self, word: str) -> Any:
            return self.say(word=word, sound=self.hear(word=word).sound)

    return One() if predictors == 1 else Two()


def rows(d: Any, n: int) -> list[Any]:
    return [d.Example(word=f"w{i}", answer=f"w{i}").with_inputs("word") for i in range(n)]


def judge(d: Any) -> Any:
    def metric(example: Any, prediction: Any, trace: Any = None) -> Any:
        right = float(example.answer == prediction.answer)
        return d.Prediction(score=right, feedback="fine" if right else f"not {prediction.answer}")

    return metric


def compiled(d: Any, predictors: int, seed: int, unread: float = 0.0, teacher: bool = False, **options: Any) -> Any:
    """The tuned program, and the models that were asked."""
    models = task_model(d, seed), prompt_model(d, unread)
    student = program(d, predictors)
    if options.pop("demos", False):
        for predictor in student.predictors():
            names = [*predictor.signature.input_fields, *predictor.signature.output_fields]
            predictor.demos = [d.Example(**dict.fromkeys(names, f"d{i}")) for i in range(5)]
    more = {"teacher_settings": {"lm": task_model(d, seed, "teacher")}} if teacher else {}
    given = {"bsize": 5, "num_candidates": 3, "max_steps": 4, "num_threads": 1, **more, **options}
    optimizer = d.SIMBA(metric=judge(d), prompt_model=models[1], **given)
    if d is lampc:
        lampc.configure(lm=models[0], adapter=lampc.ChatAdapter(use_json_adapter_fallback=False))
        return optimizer.compile(student, trainset=rows(d, 12), seed=seed), models
    adapter = dspy.ChatAdapter(use_json_adapter_fallback=False)
    with dspy.context(lm=models[0], num_threads=1, disable_history=True, adapter=adapter):
        return optimizer.compile(student, trainset=rows(d, 12), seed=seed), models


def same(predictors: int, seed: int, **options: Any) -> tuple[Any, Any]:
    (ours, models), (theirs, others) = (compiled(d, predictors, seed, **options) for d in (lampc, dspy))
    assert [(c["score"], state(c["program"])) for c in ours.candidate_programs] == [
        (c["score"], state(c["program"])) for c in theirs.candidate_programs
    ]
    assert state(ours) == state(theirs)
    assert ours.trial_logs == theirs.trial_logs
    assert models[1].asked == others[1].asked
    assert set(models[0].asked) == set(others[0].asked)
    assert len(models[0].asked) <= len(others[0].asked)  # equal runs are made once here
    return ours, models


@pytest.mark.parametrize("predictors", [1, 2])
def test_the_search_is_dspys(predictors: int) -> None:
    ours, models = same(predictors, 0)
    assert models[1].asked
    assert len(ours.candidate_programs) > 2
    told = [p.signature.instructions for c in ours.candidate_programs for p in c["program"].predictors()]
    assert any("then repeat it" in text for text in told)


@pytest.mark.parametrize("options", [{"demos": True, "unread": 0.4}, {"teacher": True, "max_demos": 1}], ids="-".join)
def test_with_options(options: dict[str, Any]) -> None:
    same(2, 5, **options)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize(
    "options",
    [
        {}, {"max_demos": 0}, {"max_demos": 1}, {"unread": 0.4}, {"unread": 1.0, "max_demos": 0}, {"teacher": True},
        {"temperature_for_sampling": 1.0, "temperature_for_candidates": 0.05}, {"max_steps": 9}, {"max_steps": 1},
        {"num_candidates": 6, "bsize": 4}, {"bsize": 12}, {"demos": True},
    ],
    ids="-".join,
)  # fmt: skip
def test_with_more_options(options: dict[str, Any], seed: int) -> None:
    same(2, seed, **options)
