"""The same scripted model for DSPy and for us: what it answers follows from the prompt and the call's options."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import dspy

import lampc
from lampc.ir.runner import set_default_runner
from lampc.ir.settings import settings

Reply = Callable[[list[dict[str, str]], dict[str, Any]], dict[str, str]]
"""Outputs by name, from messages and the call's options."""


class Calls(list[Any]):
    """A list that copies of a model share: DSPy copies programs with their models."""

    def __deepcopy__(self, memo: Any) -> Calls:
        return self


def scripted(d: Any, reply: Reply, name: str = "scripted") -> Any:
    """An LM of library `d`; `calls` are the messages that it was asked, with the options."""

    class Scripted(d.BaseLM):  # type: ignore[misc]
        calls = Calls()

        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            asked = [{"role": m["role"], "content": m["content"]} for m in messages]
            given = {**self.kwargs, **kwargs}
            self.calls.append((asked, given))
            made = reply(asked, given)
            text = "\n\n".join(f"[[ ## {k} ## ]]\n{v}" for k, v in made.items()) + "\n\n[[ ## completed ## ]]"
            message = SimpleNamespace(content=text)
            return SimpleNamespace(choices=[SimpleNamespace(message=message)], usage={}, model=self.model)

        def launch(self, launch_kwargs: Any = None) -> None:
            """DSPy's name for making a model ready."""

        kill = launch

    return Scripted(name, cache=False)


def outputs(messages: list[dict[str, str]]) -> list[str]:
    """The outputs that the last message asks for."""
    return re.findall(r"`\[\[ ## (\w+) ## \]\]`", messages[-1]["content"].rpartition("Respond with")[2])[:-1]


def asked(messages: list[dict[str, str]], field: str) -> str:
    """The value of an input in the last message."""
    found = re.search(rf"\[\[ ## {field} ## \]\]\n(.*?)(?:\n\n|$)", messages[-1]["content"], re.DOTALL)
    return found.group(1) if found else ""


def chance(*parts: object) -> float:
    """A number in [0, 1) that follows from the parts."""
    data = hashlib.blake2b("\x00".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(data, "big") / 2**64


@contextlib.contextmanager
def configured(d: Any, lm: Any) -> Iterator[None]:
    """`lm` as the model of library `d`, whose prints are kept quiet."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if d is lampc:
            lampc.configure(lm=lm)
            try:
                yield
            finally:
                set_default_runner(None)
                settings.reset()
        else:
            with dspy.context(lm=lm):
                yield


def demos(program: Any) -> dict[str, list[dict[str, Any]]]:
    """The demos of each predictor."""
    return {n: [x if isinstance(x, dict) else x.toDict() for x in p.demos] for n, p in program.named_predictors()}
