"""Deterministic stand-ins that need no engine: chat templates, a model that answers by hashing, a lowered twin."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lampc.ir import Glue, ModelInfo, Tokens
from lampc.ir.types import Choice, ListOf, Maybe, Record, Scalar, Type

_ROLES = ("system", "user", "assistant")


def _uniform(begin: str, before: str, after: str, generation: str, trim: bool = False) -> Glue:
    """The glue of a template that writes all roles alike; `ROLE` stands for the role."""
    return Glue(
        begin,
        tuple((r, before.replace("ROLE", r)) for r in _ROLES),
        tuple((r, after) for r in _ROLES),
        generation,
        trim=trim,
    )


TEMPLATES: dict[str, Glue | None] = {
    "firefly": _uniform("", "<|ROLE|>", "<|end|>", "<|assistant|>"),
    "chatml": _uniform("", "<|im_start|>ROLE\n", "<|im_end|>\n", "<|im_start|>assistant\n"),
    "llama": _uniform(
        "<|begin_of_text|>",
        "<|start_header_id|>ROLE<|end_header_id|>\n\n",
        "<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        trim=True,
    ),
    "soft": Glue("", tuple((r, f"{r}: ") for r in _ROLES), tuple((r, "\n") for r in _ROLES), "assistant: ", hard=False),
    "whole": None,
}
"""Chat templates as glue; `whole` cannot be cut."""


_INFO = ModelInfo("fake", "fake", 4096)


@dataclass(frozen=True)
class FakeTarget:
    """A local target with one of the templates."""

    glue: Glue | None
    local: bool = True
    info: ModelInfo = _INFO
    tokens: Tokens | None = None

    def quote(self, text: str) -> str:
        return text.replace("<|", "< |")

    def render_chat(self, turns: Sequence[tuple[str, str]]) -> str:
        if self.glue is None:
            return "".join(f"[{i}] {role} says {text!r}\n" for i, (role, text) in enumerate(turns))
        return self.glue.begin + "".join(self.glue.wrap(*t) for t in turns) + self.glue.generation


def value_of(t: Type, rng: random.Random) -> Any:
    """Some value of a type."""
    match t:
        case Scalar("int"):
            return rng.randint(0, 3)
        case Scalar("float"):
            return rng.randint(0, 8) / 4
        case Scalar("bool"):
            return rng.random() < 0.5
        case Choice(options):
            return rng.choice(options)
        case ListOf(item):
            return [value_of(item, rng) for _ in range(rng.randint(0, 3))]
        case Maybe(item):
            return value_of(item, rng) if rng.random() < 0.7 else None
        case Record(fields):
            return {n: value_of(x, rng) for n, x in fields}
    return rng.choice(["red", "a", "blue fox", "b"])


def hashed(*parts: Any) -> random.Random:
    """A random generator seeded by the content of `parts` (JSON values)."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return random.Random(hashlib.blake2b(text.encode(), digest_size=8).digest())
