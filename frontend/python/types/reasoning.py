"""`Reasoning`: what a model thinks before it answers; a text with a type of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pydantic

from lampc.frontend.python.types.base import Type
from lampc.ir.types import STR
from lampc.ir.types import Type as IRType


class Reasoning(Type):
    """The reasoning of a model, used as a str; where a provider gives it apart from the text, it is that."""

    __ir_type__: ClassVar[IRType] = STR
    __prompt_form__: ClassVar[str] = "text"
    __prompt_name__: ClassVar[str] = "str"
    content: str

    def format(self) -> str:
        return self.content

    @pydantic.model_validator(mode="before")
    @classmethod
    def _validated(cls, data: Any) -> Any:
        found = data.get("content") if isinstance(data, dict) else data
        if isinstance(data, Reasoning):
            return {"content": data.content}
        if not isinstance(found, str):
            raise ValueError(f"reasoning is a text, or a dict with a text as `content`, not {data!r}")
        return {"content": found}

    @classmethod
    def is_streamable(cls) -> bool:
        return True

    @classmethod
    def parse_lm_response(cls, response: Any) -> Reasoning | None:
        found = response.get("reasoning_content") if isinstance(response, dict) else None
        return cls(content=found) if isinstance(found, str) else None

    def __str__(self) -> str:
        return self.content

    def __repr__(self) -> str:
        return repr(self.content)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Reasoning):
            return self.content == other.content
        return isinstance(other, str) and self.content == other

    def __hash__(self) -> int:
        return hash(self.content)

    def __len__(self) -> int:
        return len(self.content)

    def __getitem__(self, key: Any) -> str:
        return self.content[key]

    def __contains__(self, item: str) -> bool:
        return item in self.content

    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(self.content)

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Reasoning):
            return Reasoning(content=self.content + other.content)
        return self.content + other if isinstance(other, str) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return other + self.content if isinstance(other, str) else NotImplemented

    def __getattr__(self, name: str) -> Any:
        """Methods of str."""
        if name.startswith("_") or not hasattr(str, name):
            raise AttributeError(f"reasoning has no `{name}`: it has `content` and the methods of a str")
        return getattr(self.content, name)
