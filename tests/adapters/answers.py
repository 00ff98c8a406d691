"""What models write: answers in a layout's own form, and slips of all kinds."""

from __future__ import annotations

import random
import re
from typing import Any

JUNK = [
    "",
    " ",
    "\n",
    "```",
    "```json\n",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    ",",
    ":",
    "[[ ## completed ## ]]",
    "<",
    ">",
    "&",
]
JUNK += [
    "null",
    "None",
    "NaN",
    "1e999",
    "\\",
    "\u2028",
    "\ud800",
    "é",
    "Sure! Here is the answer:\n",
    "**",
    "<a>",
    "-1",
]


def mutated(rng: random.Random, text: str) -> str:
    """The text with one to four slips in it."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(text))
        to = min(len(text), at + rng.choice([1, 1, 2, 5, 20]))
        match rng.randrange(9):
            case 0:
                text = text[:at] + text[to:]
            case 1:
                text = text[:at] + rng.choice(JUNK) + text[at:]
            case 2:
                text = text[:at]
            case 3:
                text = f"```{rng.choice(['', 'json', 'xml'])}\n{text}\n```"
            case 4:
                text = rng.choice(["Here you are:\n\n", "Reasoning first. ", "<think>hm</think>\n"]) + text
            case 5:
                text += rng.choice(["\n\nI hope this helps!", "\n```", " ", "}", "\n[[ ## extra ## ]]\nx"])
            case 6:
                text = text.replace(rng.choice(['"', "##", "]]", "{", "\n", ",", "</"]), rng.choice(JUNK), 1)
            case 7:
                text = text[:at] + text[at:to] * 2 + text[to:]
            case 8:
                text = re.sub(
                    r"\w+", lambda m: rng.choice([m.group(), m.group().upper(), f'"{m.group()}"']), text, count=3
                )
    return text


ODD: list[Any] = [
    "3", " 3 ", "3.0", 3, 3.0, 3.5, "3.5", True, "true", "yes", "", None, "None", "null", [], ["a"], [1, "2"], {},
    {"k": 1}, '["a", "b"]', "['a', 'b']", "{'name': 'x', 'age': '4'}", '{"name": "x", "age": "4", "more": 1}', "red",
    "RED", "dark blue", "1", "2", "HIGH", "Literal['yes']", '"yes"', "'no'", "yes.", "a", "word [1] tail",
    "- a\n- b", "1e3", "-7", "+7", "1_000", '{"street": "s"}', '[{"name": "n", "age": 1}]', '{"x": "1"}',
    '{"id": 1, "tags": ["t"]}', "(1, 'a')", '[1, "a"]', "{1, 2}",
]  # fmt: skip
"""Values as a model may write them where another type is wanted."""
