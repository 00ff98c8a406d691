"""Tools that say when they were called."""

from __future__ import annotations

CALLED: list[str] = []


def mail(text: str) -> str:
    CALLED.append("mail")
    return f"sent {text}"


def look(text: str) -> str:
    CALLED.append("look")
    return f"{text}!"
