"""A program, rows and models that are the same under lampc and DSPy (`d`), to hold optimizers against each other."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import dspy

import lampc


def chance(*parts: object) -> float:
    digest = hashlib.blake2b("\x00".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def answered(**fields: str) -> str:
    """Outputs as the chat layout has them."""
    body = "\n\n".join(f"[[ ## {name} ## ]]\n{value}" for name, value in fields.items())
    return f"{body}\n\n[[ ## completed ## ]]"


def reply(model: str, *texts: str) -> Any:
    choices = [SimpleNamespace(message=SimpleNamespace(content=text)) for text in texts]
    return SimpleNamespace(choices=choices, usage={}, model=model)


def output(messages: Any) -> str:
    """The first output that is asked for."""
    return re.findall(r"starting with the field `\[\[ ## (\w+) ## \]\]`", messages[-1]["content"])[-1]


def task_model(d: Any, name: str = "task", luck: float = 0.3) -> Any:
    """Right or not by a hash of all that it is shown, more often with demos and with some instructions."""

    class Task(d.BaseLM):  # type: ignore[misc]
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            shown = "\n".join(str(m["content"]) for m in messages)
            word = messages[-1]["content"].split("[[ ## word ## ]]\n", 1)[1].split("\n", 1)[0].strip()
            good = luck + 0.08 * min(6, len(messages) - 2) + 0.1 * sum(f"variant {i}" in shown for i in (2, 4))
            right = chance(name, shown) < good
            return reply(self.model, answered(**{output(messages): word if right else "?"}))

    return Task(name, cache=False)


def prompt_model(d: Any, script: Callable[[int, str], dict[str, str]]) -> Any:
    """A model of no memory but a count: `script(n, name)` gives the outputs of the n-th call that asks for output
    `name`. `asked` are the names."""

    class Prompt(d.BaseLM):  # type: ignore[misc]
        asked: list[str]

        def copy(self, **kwargs: Any) -> Any:  # other draws, but the same count
            return self

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            texts = []
            for _ in range(kwargs.get("n") or 1):
                name = output(messages)
                texts.append(answered(**script(self.asked.count(name), name)))
                self.asked.append(name)
            return reply(self.model, *texts)

    made = Prompt("prompt", cache=False)
    made.asked = []
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


def rows(d: Any, n: int, first: int = 0) -> list[Any]:
    return [d.Example(word=f"w{i}", answer=f"w{i}").with_inputs("word") for i in range(first, first + n)]


class Judged:
    """Exact match; `asked` are the (word, answer)s that it is asked of without a trace, in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def metric(self) -> Any:
        def metric(example: Any, prediction: Any, trace: Any = None) -> float:
            if trace is None:
                self.asked.append((example.word, prediction.answer))
            return float(example.answer == prediction.answer)

        return metric


def configured(d: Any, lm: Any) -> Any:
    """Calls of library `d` go to `lm`."""
    if d is lampc:
        lampc.configure(lm=lm)
        return contextlib.nullcontext()
    return dspy.context(lm=lm, num_threads=1, disable_history=True)


def state(program: Any) -> list[Any]:
    """Instructions and demos of its predictors. Demos without any output of a predictor, which no prompt shows, are
    not kept here."""
    out = []
    for name, p in sorted(program.named_predictors()):
        demos = [dict(x.toDict()) for x in p.demos if any(n in x for n in p.signature.output_fields)]
        out.append((name, p.signature.instructions, demos))
    return out
