"""`Code`: source code as input or output."""

from __future__ import annotations

import functools
import re
from typing import Any, ClassVar

import pydantic

from lampc.frontend.python.types.base import Type
from lampc.ir.types import STR
from lampc.ir.types import Type as IRType

_FENCES = (re.compile(r"```[^\n]*\n(.*?)```", re.DOTALL), re.compile(r"```(.*?)```", re.DOTALL))


class Code(Type):
    """Source code, out of its fence if it has one: `code: lampc.Code["java"] = lampc.OutputField()`; `.code` is the
    text. Without a language it is Python."""

    __ir_type__: ClassVar[IRType] = STR
    __prompt_form__: ClassVar[str] = "code"
    language: ClassVar[str] = "python"
    code: str

    def format(self) -> str:
        return self.code

    @classmethod
    def description(cls) -> str:
        return (
            "Code represented in a string, specified in the `code` field. If this is an output field, the code "
            f"field should follow the markdown code block format, e.g. \n```{cls.language.lower()}\n{{code}}\n```"
            f"\nProgramming language: {cls.language}"
        )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _validated(cls, data: Any) -> Any:
        found = data.get("code") if isinstance(data, dict) else data
        if isinstance(data, Code):
            return {"code": data.code}
        if not isinstance(found, str):
            raise ValueError(f"code is a text, or a dict with a text as `code`, not {data!r}")
        return {"code": unfenced(found)}

    def __class_getitem__(cls, language: Any) -> Any:
        """The same in another language."""
        return _in(cls, str(language))

    def __str__(self) -> str:
        return self.code


@functools.cache
def _in(cls: type[Code], language: str) -> type[Code]:
    made = pydantic.create_model(f"{cls.__name__}_{language}", __base__=cls, __module__=cls.__module__)
    made.language = language
    return made


def unfenced(text: str) -> str:
    """What stands in the first code fence; all of it if there is none."""
    for fence in _FENCES:
        found = fence.search(text)
        if found:
            return found.group(1).strip()
    return text
