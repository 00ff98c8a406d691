"""What a model is told of a REPL: the variables that are there, and what was tried so far. The texts are DSPy 3.4's."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from lampc.ir.types import STR
from lampc.ir.types import Type as IRType

_PREVIEW = 1000


@dataclass(frozen=True, slots=True)
class REPLVariable:
    """A variable that code finds: its type, its length as text and the beginning and end of that text."""

    name: str
    type_name: str
    total_length: int
    preview: str
    desc: str = ""
    constraints: str = ""

    @classmethod
    def from_value(cls, name: str, value: Any, field_info: Any = None, preview_chars: int = _PREVIEW) -> REPLVariable:
        """Of a value, and of what its field in the signature says."""
        from lampc.frontend.python.values.plain import plain

        shown = plain(value)
        text = json.dumps(shown, indent=2) if isinstance(shown, dict | list) else str(shown)
        said = getattr(field_info, "json_schema_extra", None) or {}
        desc = said.get("desc", "")
        return cls(
            name,
            type(value).__name__,
            len(text),
            _ends(text, preview_chars, "..."),
            "" if desc.startswith("${") else desc,
            said.get("constraints") or getattr(field_info, "constraints", "") or "",
        )

    def format(self) -> str:
        lines = [f"Variable: `{self.name}` (access it in your code)", f"Type: {self.type_name}"]
        if self.desc:
            lines.append(f"Description: {self.desc}")
        if self.constraints:
            lines.append(f"Constraints: {self.constraints}")
        lines += [f"Total length: {self.total_length:,} characters", f"Preview:\n```\n{self.preview}\n```"]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class REPLEntry:
    """One step: why, which code, and what it printed."""

    reasoning: str = ""
    code: str = ""
    output: str = ""

    @staticmethod
    def format_output(output: str, max_output_chars: int = 10_000) -> str:
        """Output with its length; of what is longer than `max_output_chars`, the beginning and the end."""
        omitted = len(output) - max_output_chars
        between = f"\n\n... ({omitted:,} characters omitted) ...\n\n"
        return f"Output ({len(output):,} chars):\n{_ends(output, max_output_chars, between)}"

    def format(self, index: int, max_output_chars: int = 10_000) -> str:
        why = f"Reasoning: {self.reasoning}\n" if self.reasoning else ""
        shown = self.format_output(self.output, max_output_chars)
        return f"=== Step {index + 1} ===\n{why}Code:\n```python\n{self.code}\n```\n{shown}"

    def model_dump(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class REPLHistory:
    """The steps so far; `append` gives a longer one. As the type of a field it stands in prompts as its text."""

    __ir_type__: ClassVar[IRType] = STR
    __prompt_form__: ClassVar[str] = "custom"
    entries: tuple[REPLEntry, ...] = ()
    max_output_chars: int = 10_000

    def format(self) -> str:
        if not self.entries:
            return "You have not interacted with the REPL environment yet."
        return "\n".join(e.format(i, self.max_output_chars) for i, e in enumerate(self.entries))

    def append(self, *, reasoning: str = "", code: str, output: str) -> REPLHistory:
        return replace(self, entries=(*self.entries, REPLEntry(reasoning, code, output)))

    @classmethod
    def description(cls) -> str:
        return ""

    @classmethod
    def extract_custom_type_from_annotation(cls, annotation: Any) -> list[type]:
        return [cls] if annotation is cls else []

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[REPLEntry]:
        return iter(self.entries)


class SandboxSerializable(ABC):
    """A value that code in a sandbox builds again out of text: for types that JSON does not have.

    `sandbox_setup` is code that runs before, `to_sandbox` the value as text or bytes, `sandbox_assignment` code that
    binds the name given to it to the value, out of an expression for that text, and `rlm_preview` what a model is
    told of it.
    """

    @abstractmethod
    def sandbox_setup(self) -> str: ...

    @abstractmethod
    def to_sandbox(self) -> str | bytes: ...

    @abstractmethod
    def sandbox_assignment(self, var_name: str, data_expr: str) -> str: ...

    @abstractmethod
    def rlm_preview(self, max_chars: int = 500) -> str: ...

    def to_repl_variable(self, name: str, field_info: Any = None) -> REPLVariable:
        """What a model is told of it under this name."""
        preview, setup = self.rlm_preview(), self.sandbox_setup().strip()
        known = REPLVariable.from_value(name, "", field_info)
        note = f"Sandbox imports available:\n{setup}" if setup else ""
        return replace(
            known,
            type_name=type(self).__name__,
            total_length=len(preview),
            preview=preview,
            desc="\n".join(t for t in (known.desc, note) if t),
        )

    def placing(self, name: str) -> tuple[str, dict[str, Any]]:
        """(code that binds `name` to the value, the variables it needs)."""
        made, raw = self.to_sandbox(), f"_raw_{name}"
        lines: list[str] = []
        given: dict[str, Any] = {raw: made}
        if isinstance(made, bytes):
            try:
                given = {raw: made.decode("utf-8")}
            except UnicodeDecodeError:
                import base64

                given = {f"{raw}_base64": base64.b64encode(made).decode("ascii")}
                lines += ["import base64", f"{raw} = base64.b64decode({raw}_base64)"]
        lines += [line for line in (self.sandbox_setup(), self.sandbox_assignment(name, raw)) if line]
        return "\n".join(lines), given


def _ends(text: str, most: int, between: str) -> str:
    """The beginning and the end of a text that is longer than `most` characters."""
    if len(text) <= most:
        return text
    head = most // 2
    tail = text[len(text) - (most - head) :] if most > 0 else text
    return text[:head] + between + tail
