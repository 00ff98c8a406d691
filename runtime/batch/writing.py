"""What all ways to work through a batch have in common: finished lines are written, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lampc.runtime.batch.lines import BadLine, Line
from lampc.runtime.batch.results import BatchError, Results


@dataclass(slots=True)
class Figures:
    """What the work came to so far: `requests` lines finished, `failed` of them with an error."""

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    computed_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0
    errors: list[tuple[int, str]] = field(default_factory=list)
    """Line numbers and messages of the first that went wrong."""

    @property
    def rate(self) -> float:
        """Generated tokens per second."""
        return self.generated_tokens / self.seconds if self.seconds > 0 else 0.0

    def __str__(self) -> str:
        if not self.requests:
            return "nothing was left to do"
        text = f"{self.requests:,} requests, {self.failed:,} failed"
        if self.prompt_tokens:
            reused = 100 * (1 - self.computed_tokens / self.prompt_tokens)
            text += f"; prompt tokens: {self.prompt_tokens:,} asked, {self.computed_tokens:,} computed"
            text += f" ({reused:.1f} % reused)"
        return f"{text}; {self.generated_tokens:,} generated in {self.seconds:.1f} s, {self.rate:,.0f} tokens/s"


class Writing:
    """Base of them. `strict` stops at the first line that fails; `on_line` hears of every line."""

    def __init__(self, results: Results, strict: bool, on_line: Callable[[Figures], None] | None) -> None:
        self.results, self.strict, self.on_line = results, strict, on_line
        self.figures = Figures()
        self.started = time.monotonic()

    def _fail(self, line: Line | BadLine, message: str) -> None:
        if self.strict:
            raise BatchError(f"line {line.number}: {message} (--strict stops at the first such line)")
        self.figures.failed += 1
        if len(self.figures.errors) < 10:
            self.figures.errors.append((line.number, message))
        self._write(line, {"error": message})

    def _write(self, line: Line | BadLine, record: dict[str, Any]) -> None:
        named = {} if line.id is None else {"id": line.id}
        self.results.add(line.number, line.key, {**named, **record})
        self.figures.requests += 1
        self.figures.seconds = time.monotonic() - self.started
        if self.on_line is not None:
            self.on_line(self.figures)
