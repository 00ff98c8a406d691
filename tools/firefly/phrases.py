"""Many wordings from short patterns: ``(say|give) the first (word|item)``."""

from __future__ import annotations

import re
from random import Random

CHOICE = re.compile(r"\(([^()]*)\)")

SAY = "(Say|Give|Return|Write|Print|Output|Tell|Find|Pick|Choose|Select|Name|Produce|Get|Answer with)"
THE_LIST = "(list|text|words|input|items)"
OF = "(of|in|from)"

GENERIC = [
    "Complete the task.",
    "Answer.",
    "Do the task.",
    "Perform the task.",
    "Solve the task.",
    "Follow the examples.",
    "Follow the pattern.",
    "Produce the output.",
    "Give the right answer.",
    "Look at the examples and answer.",
    "Use the input to produce the output.",
    "Read the input and answer.",
    "Respond.",
    "Respond with the correct answer.",
    "Please answer.",
    "Write the answer.",
    "You are a helpful assistant.",
    "Do what the examples do.",
]


def expand(rng: Random, pattern: str) -> str:
    """Replace every ``(a|b)`` by one of its parts, innermost first."""
    while True:
        text = CHOICE.sub(lambda match: rng.choice(match[1].split("|")), pattern)
        if text == pattern:
            return " ".join(text.split())
        pattern = text
