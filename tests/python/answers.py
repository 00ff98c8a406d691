"""An answer to any chat prompt of DSPy's default layout: values of the output fields' types, drawn from the prompt."""

from __future__ import annotations

import re
from typing import Any

from tests.fakes import hashed

_FIELD = re.compile(r"^\d+\. `(\w+)` \((.*?)\):", re.M)
_WORDS = ["tea", "rome", "old bread", "Seven ships", "blue", "a star"]


def answer(messages: list[dict[str, str]]) -> dict[str, Any]:
    """Outputs by name."""
    system = messages[0]["content"]
    outputs = system.partition("Your output fields are:\n")[2].partition("\nAll interactions")[0]
    rng = hashed(messages)
    return {name: value(kind, rng) for name, kind in _FIELD.findall(outputs)}


def value(kind: str, rng: Any) -> Any:
    """A value of a type as Python writes it."""
    if kind.startswith("Literal["):
        return rng.choice(re.findall(r"'([^']*)'", kind))
    if kind.startswith("list["):
        return [value(kind[5:-1], rng) for _ in range(rng.randint(1, 3))]
    if kind.startswith("dict["):
        return {rng.choice(_WORDS): rng.choice(_WORDS) for _ in range(2)}
    match kind:
        case "int":
            return rng.randint(0, 10)
        case "float":
            return rng.randint(0, 20) / 4
        case "bool":
            return rng.random() < 0.5
    return f"{rng.choice(_WORDS)} {rng.randint(0, 99)}"
