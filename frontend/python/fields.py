"""Fields of a signature: `InputField(...)`, `OutputField(...)`, and what is known of a declared field."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

from lampc.ir import STR, Field, Maybe, Obj, Shape, freeze
from lampc.ir.types import Type

if TYPE_CHECKING:
    from lampc.frontend.python.values.reading import Reading

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
_DEPRECATED = ("prefix", "format", "parser")
_UNDEFINED = "IS_TYPE_UNDEFINED"
_OWN = ("desc", "description", "default", "default_factory", "max_tokens", "pattern", *_CONSTRAINTS)
_OF_PYDANTIC = frozenset(
    {
        "alias", "alias_priority", "annotation", "coerce_numbers_to_str", "decimal_places", "deprecated",
        "discriminator", "examples", "exclude", "fail_fast", "field_title_generator", "frozen", "init", "init_var",
        "json_schema_extra", "kw_only", "max_digits", "repr", "serialization_alias", "strict", "title", "union_mode",
        "validate_default", "validation_alias",
    }
)  # fmt: skip
"""Options of `pydantic.Field` that DSPy's fields accept and that say nothing to a model."""


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"  # copies and pickles are this very object


_NO_LIMITS = Obj()
MISSING: Any = _Missing()
"""The default of a field that has none."""


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field: `kind` is `input` or `output`; `annotation` is what the user wrote, `reading` what it means.

    Fields never change; `updated(...)` gives another. `undefined` is DSPy's mark of a field whose type nobody wrote
    (None where DSPy leaves the mark out).
    """

    kind: str
    name: str = ""
    annotation: Any = None
    reading: Reading | None = None
    description: str | None = None
    constraints: str = ""
    limits: Obj = _NO_LIMITS
    max_tokens: int = 0
    default: Any = MISSING
    default_factory: Callable[[], Any] | None = None
    own_prefix: str | None = None
    undefined: bool | None = None

    @property
    def type(self) -> Type:
        """The IR type of the field's values."""
        return STR if self.reading is None else self.reading.type

    @property
    def desc(self) -> str:
        """The description; `${name}` where nobody wrote one, which is never shown."""
        return f"${{{self.name}}}" if self.description is None else self.description

    @property
    def prefix(self) -> str:
        return self.own_prefix if self.own_prefix is not None else infer_prefix(self.name) + ":"

    @property
    def json_schema_extra(self) -> Mapping[str, Any]:
        """What DSPy keeps of a field, under DSPy's keys. Read only: change a field by `with_updated_fields`."""
        extra: dict[str, Any] = {"__dspy_field_type": self.kind, "desc": self.desc, "prefix": self.prefix}
        if self.constraints:
            extra["constraints"] = self.constraints
        if self.undefined is not None:
            extra[_UNDEFINED] = self.undefined
        return MappingProxyType(extra)

    def is_required(self) -> bool:
        """Whether the field has no default."""
        return self.default is MISSING and self.default_factory is None

    def get_default(self, *, call_default_factory: bool = True) -> Any:
        """A fresh default. Raises ValueError if there is none."""
        if self.default_factory is not None and call_default_factory:
            return self.default_factory()
        if self.default is MISSING:
            raise ValueError(f"field `{self.name}` has no default")
        return copy.deepcopy(self.default)

    def optional(self) -> bool:
        """Whether the model may leave this output out."""
        return not self.is_required() or isinstance(self.type, Maybe)

    def ir(self) -> Field:
        """The field as the IR has it. A description `${name}` says nothing and is left out."""
        from lampc.frontend.python.values.plain import plain

        desc = "" if self.desc == f"${{{self.name}}}" else self.desc
        default = () if self.is_required() else (freeze(plain(self.get_default())),)
        return Field(self.name, self.type, desc, self.constraints, self.max_tokens, self._shape(), self.limits, default)

    def _shape(self) -> Shape | None:
        return None if self.reading is None else self.reading.shape(self.kind == "output")

    def __str__(self) -> str:
        annotation = self.annotation
        plain = isinstance(annotation, type) and not get_args(annotation)
        said = annotation.__name__ if plain else str(annotation).replace("typing.", "")
        default = "" if self.default is MISSING else f" default={self.default!r}"
        extra = dict(self.json_schema_extra)
        return f"annotation={said} required={self.is_required()}{default} json_schema_extra={extra}"

    def updated(self, **changes: Any) -> FieldInfo:
        """A copy with options changed, under the names that `InputField` takes. Raises TypeError, ValueError."""
        return replace(self, **_options(changes))


def InputField(**options: Any) -> Any:
    """Declare an input: `q: str = InputField(desc="...")`.

    Options: `desc`, `default`, `default_factory`, `max_tokens` (outputs), and the constraints `gt ge lt le min_length
    max_length multiple_of allow_inf_nan`, which become prose in the prompt and are checked in answers, as `pattern`
    is, which is not shown. `prefix`, `format` and `parser` have no effect, as in DSPy. Raises TypeError for others,
    ValueError for a bound that is none.
    """
    return FieldInfo("input", **_options(options))


def OutputField(**options: Any) -> Any:
    """Declare an output; the options are those of `InputField`."""
    return FieldInfo("output", **_options(options))


def _options(options: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    prose, limits = [], {}
    for name, value in options.items():
        if name in ("desc", "description"):
            if name == "desc" or "desc" not in options:
                out["description"] = None if value is None else str(value)
        elif name == "max_tokens":
            if type(value) is not int or value < 0:
                raise ValueError(f"max_tokens is how many tokens an output may have (0: no bound), not {value!r}")
            out[name] = value
        elif name == "default_factory":
            out[name] = value
        elif name == "default":
            out["default"] = MISSING if value is ... else value
        elif name in _CONSTRAINTS or name == "pattern":
            limits[name] = value
            if name != "pattern":
                prose.append(_CONSTRAINTS[name] + str(value))
        elif name in _DEPRECATED:
            warnings.warn(f"the field option `{name}` has no effect", DeprecationWarning, stacklevel=4)
            if name == "prefix":
                out["own_prefix"] = value
        elif name == _UNDEFINED:
            out["undefined"] = value
        elif name not in _OF_PYDANTIC:
            raise TypeError(f"a field has no option `{name}`; there are {', '.join(_OWN)}")
    if prose:
        out["constraints"] = ", ".join(prose)
    if limits:
        out["limits"] = freeze(limits)
    return out


_WORDS = re.compile(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z0-9])(?=[A-Z])|(?<=[a-zA-Z])(?=\d)|(?<=\d)(?=[a-zA-Z])")


def infer_prefix(attribute_name: str) -> str:
    """A name as words with capitals: `camelCaseText` gives `Camel Case Text`, `top5HTML` gives `Top 5 HTML`."""
    words = _WORDS.sub("_", attribute_name).split("_")
    return " ".join(w if w.isupper() else w.capitalize() for w in words)
