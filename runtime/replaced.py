"""Classes of models that users derive: what they replace of the library's methods, and what `super()` finds below.

A predictor asks such a model by the outermost method that its class replaces: `__call__`, else `forward` (`aforward`
where that stands alone). What the method asks by `super()` is the model one step further in.
"""

from __future__ import annotations

import copy
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lampc.runtime.models import Answer

AT_CALL, IN_CALL, IN_FORWARD = range(3)
"""How far in a model is asked: at the outside, below a `__call__` of the user's, below a `forward`."""
_METHODS = {"__call__": AT_CALL, "forward": IN_CALL, "aforward": IN_CALL}
drawing: ContextVar[int] = ContextVar("drawing", default=0)
"""The random bits of the call that a method of the user's works on: several draws of one call stay several."""


class Replaceable:
    """Base of `BaseLM`: knows which of its methods the object's class replaces."""

    _step = AT_CALL
    _origin: Any = None

    @property
    def origin(self) -> Any:
        """The object that the user made, whose methods are called."""
        return self if self._origin is None else self._origin

    def replaced(self) -> str:
        """The method of the user's by which this model is asked, "" for none."""
        mine = vars(self.origin)
        for name, step in _METHODS.items():
            if step >= self._step and (
                getattr(type(self), name) is not _own(name) or (name in mine and name != "__call__")
            ):
                return name
        return ""

    def beyond(self, step: int) -> Self:
        """This model one step further in; options and memory are the same."""
        inner: dict[int, Self] = self.__dict__.setdefault("_inner", {})
        if step not in inner:
            made = copy.copy(self)
            made.__dict__.pop("_inner", None)
            made.__dict__.pop("_lampc_name", None)
            made._step, made._origin = step, self.origin
            inner[step] = made
        return inner[step]

    @property
    def watches(self) -> bool:
        """Whether its calls are remembered at this step: once, however many steps a call takes."""
        return self._step < IN_FORWARD and self.replaced() != "__call__"


def _own(name: str) -> Any:
    from lampc.runtime.lm import BaseLM

    return getattr(BaseLM, name)


def completion(answers: Sequence[Answer], model: str) -> Any:
    """Answers as a chat completion, with the attributes that OpenAI's client gives it."""
    from lampc.runtime.answers import counts

    choices: list[SimpleNamespace] = []
    for a in answers:
        message = SimpleNamespace(role="assistant", content=a.text, tool_calls=list(a.tool_calls) or None)
        if a.reasoning:
            message.reasoning_content = a.reasoning
        choices.append(SimpleNamespace(index=len(choices), message=message, finish_reason=a.finish))
    return SimpleNamespace(choices=choices, usage=counts(answers[0]), model=model)
