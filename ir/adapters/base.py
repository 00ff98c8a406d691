"""The face of an adapter: how a signature becomes a prompt, and how an answer is read back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from lampc.ir.content import Demo, Field, Signature
from lampc.ir.errors import DSPyError
from lampc.ir.prompt import Prompt


class ParseFailure(DSPyError, ValueError):
    """The model's text does not give the outputs. `text` is what it wrote, `partial` what could be read.

    DSPy calls it AdapterParseError, and its parts `adapter_name`, `signature`, `lm_response` and `parsed_result`.
    """

    def __init__(
        self,
        message: str = "",
        text: str = "",
        partial: Mapping[str, Any] | None = None,
        *,
        adapter_name: str = "",
        signature: Any = None,
        lm_response: str = "",
        parsed_result: Mapping[str, Any] | None = None,
    ) -> None:
        self.text = text or lm_response
        self.partial = dict(partial or parsed_result or {})
        self.adapter_name = adapter_name
        self.signature: Any = signature
        super().__init__(message or f"the answer cannot be read: {self.text!r}")

    @property
    def lm_response(self) -> str:
        return self.text

    @property
    def parsed_result(self) -> dict[str, Any]:
        return self.partial


class Adapter(Protocol):
    """Pure functions of frozen content: no model, no state. `strict` ones read answers as DSPy does, no further."""

    name: str
    strict: bool

    def render(self, signature: Signature, predictor: str) -> Prompt:
        """The prompt of a call, with slots for the predictor's instruction and demos and for the inputs."""
        ...

    def instruction(self, text: str) -> str:
        """Text of an `Instruction` segment."""
        ...

    def demo(self, signature: Signature, demo: Demo) -> list[tuple[str, str]]:
        """Turns (role, text) of one demo; none if the demo is of no use to this signature."""
        ...

    def order(self, signature: Signature, demos: tuple[Demo, ...]) -> tuple[Demo, ...]:
        """The demos in the order in which the prompt has them."""
        ...

    def history(self, signature: Signature, value: Any) -> list[tuple[str, str]]:
        """Turns (role, text) of a conversation so far."""
        ...

    def value(self, value: Any, field: Field) -> str:
        """Text of an `Input` slot."""
        ...

    def parse(self, signature: Signature, text: str) -> dict[str, Any]:
        """Outputs by field name. Raises ParseFailure if one is missing or of the wrong type."""
        ...


@runtime_checkable
class ShowsDemos(Protocol):
    """An adapter that also writes all demos as text inside of a turn."""

    def demos(self, demos: tuple[Demo, ...]) -> str: ...


@runtime_checkable
class ReadsAs(Protocol):
    """An adapter whose answers another one reads."""

    def reads_as(self, signature: Signature) -> str:
        """The layout of its answers; "" where the whole answer is the one output."""
        ...
