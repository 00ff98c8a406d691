"""Fields of a signature: `InputField(...)`, `OutputField(...)`, and what is known of a declared field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from lampc.ir import Field
from lampc.ir.types import Type

_MISSING: Any = object()
_CONSTRAINTS = {
    "gt": "greater than: ",
    "ge": "greater than or equal to: ",
    "lt": "less than: ",
    "le": "less than or equal to: ",
    "min_length": "minimum length: ",
    "max_length": "maximum length: ",
    "multiple_of": "a multiple of the given number: ",
    "allow_inf_nan": "allow 'inf', '-inf', 'nan' values: ",
}
_IGNORED = ("prefix", "format", "parser")


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field: `kind` is `input` or `output`; `annotation` is what the user wrote, `type` its IR type."""

    kind: str
    name: str = ""
    annotation: Any = str
    type: Type | None = None
    desc: str = ""
    constraints: str = ""
    max_tokens: int = 0
    default: Any = _MISSING

    @property
    def json_schema_extra(self) -> dict[str, Any]:
        """The description under DSPy's keys."""
        title = self.name.replace("_", " ").title() + ":"
        return {"desc": self.desc or f"${{{self.name}}}", "__dspy_field_type": self.kind, "prefix": title}

    def has_default(self) -> bool:
        return self.default is not _MISSING

    def ir(self) -> Field:
        """The field as the IR has it. A description `${name}` says nothing and is left out."""
        assert self.type is not None
        desc = "" if self.desc == f"${{{self.name}}}" else self.desc
        return Field(self.name, self.type, desc, self.constraints, self.max_tokens)

    def updated(self, **changes: Any) -> FieldInfo:
        """A copy with options changed, under the names that `InputField` takes. Raises TypeError."""
        return replace(self, **_options(changes))


def InputField(**options: Any) -> Any:
    """Declare an input: `q: str = InputField(desc="...")`.

    Options: `desc`, `default`, `max_tokens` (outputs), and the constraints `gt ge lt le min_length
    max_length multiple_of`, which become prose in the prompt.
    """
    return FieldInfo("input", **_options(options))


def OutputField(**options: Any) -> Any:
    """Declare an output; the options are those of `InputField`."""
    return FieldInfo("output", **_options(options))


def _options(options: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    parts = []
    for name, value in options.items():
        if name in ("desc", "description"):
            out["desc"] = str(value)
        elif name in ("default", "max_tokens"):
            out[name] = value
        elif name == "default_factory":
            out["default"] = value()
        elif name in _CONSTRAINTS:
            parts.append(_CONSTRAINTS[name] + str(value))
        elif name not in _IGNORED:
            known = ["desc", "default", "default_factory", "max_tokens", *_CONSTRAINTS]
            raise TypeError(f"a field has no option `{name}`; there are {', '.join(known)}")
    if parts:
        out["constraints"] = ", ".join(parts)
    return out
