"""`Type`: the base of types that have a text or content of their own in prompts."""

from __future__ import annotations

from typing import Any, ClassVar, get_args, get_origin

import pydantic

from lampc.ir.media import media
from lampc.ir.types import ANY
from lampc.ir.types import Type as IRType


class Type(pydantic.BaseModel):
    """Subclass it for a type of your own, and say in `format` how a value stands in a prompt.

    class Event(lampc.Type):
        name: str
        day: str
        def format(self) -> str:
            return f"{self.name} on {self.day}"

    A text stands where the value would; a list is taken for content parts of a chat message, for endpoints that
    accept them. `description` is shown beside the fields of this type.
    """

    __ir_type__: ClassVar[IRType] = ANY
    __prompt_form__: ClassVar[str] = "custom"

    def format(self) -> Any:
        """Text, content parts, or JSON; by default the fields as JSON."""
        return {n: getattr(self, n) for n in type(self).model_fields}

    @classmethod
    def description(cls) -> str:
        """What prompts say of the type; nothing by default."""
        return ""

    @classmethod
    def extract_custom_type_from_annotation(cls, annotation: Any) -> list[type[Type]]:
        """The types of this kind in an annotation, in order."""
        if isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, cls):
            return [annotation]
        return [t for a in get_args(annotation) for t in cls.extract_custom_type_from_annotation(a)]

    @classmethod
    def is_streamable(cls) -> bool:
        """Whether a stream tells of the value while it grows."""
        return False

    @classmethod
    def parse_lm_response(cls, response: Any) -> Any:
        """The value, where a provider gives it apart from the text; None where it does not."""
        return None

    @classmethod
    def parse_stream_chunk(cls, chunk: Any) -> Any:
        """The piece of the value in one chunk of a provider's stream; None if there is none."""
        return None

    @pydantic.model_serializer()
    def lowered(self) -> Any:
        """The value as JSON has it: content parts as media."""
        made = self.format()
        return media(made) if isinstance(made, list) else made
