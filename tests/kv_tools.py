"""A tool that takes as long as it is told, on the simulated clock of `program_bench.tools`."""

from __future__ import annotations

from program_bench import tools


def wait(seconds: str, text: str) -> str:
    """What was found, after so many seconds."""
    tools.desk.owed += float(seconds)
    return f"found {len(text)}"


def broken(seconds: str, text: str) -> str:
    """The same, and then it fails for every other text."""
    tools.desk.owed += float(seconds)
    if len(text) % 2:
        raise ValueError("the tool is broken")
    return f"found {len(text)}"
