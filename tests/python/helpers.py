"""Plain functions that traced programs call."""

from __future__ import annotations

import lampc


def clean(text: str) -> str:
    return " ".join(text.split())


@lampc.pure
def double(n: int) -> int:
    return 2 * n


@lampc.unordered
def count(text: str) -> int:
    return len(text)
