"""Code out of what a model wrote, and how its run is told to the next call."""

from __future__ import annotations

import json
import re
from typing import Any

from lampc.frontend.python.tools.interpreter import CodeInterpreter, failed, submitted

_FENCE = re.compile(r"```python[ \n](.*?)[ \n]```?", re.DOTALL)
_ASSIGNED = re.compile(r"(\w+)\s*=")
_PYTHON = frozenset({"", "python", "py", "python3", "py3"})


def fenced(text: str) -> tuple[str, str | None]:
    """(the code of an answer, None), or (its text, why there is none). Code that ends by assigning shows the value.

    What DSPy's ProgramOfThought takes for code.
    """
    text = text.split("---", 1)[0].split("\n\n\n", 1)[0]
    found = _FENCE.search(text)
    code = found.group(1) if found else text
    if not code:
        return text, "Error: Empty code after parsing."
    if "\n" not in code and code.count("=") > 1:
        return text, "Error: Code format is not correct."
    last = _ASSIGNED.match(code.split("\n")[-1].strip())
    return (f"{code}\n{last.group(1)}" if last else code), None


def unfenced(text: str) -> str:
    """The code in an answer, whatever fences are around it. Raises SyntaxError for a fence of another language."""
    lines = text.strip().splitlines()
    while len(lines) >= 2 and lines[0].strip() == lines[-1].strip() == "```":
        lines = lines[1:-1]
    code = "\n".join(lines).strip()
    _, fence, after = code.partition("```")
    if not fence:
        return code
    tag, newline, rest = after.partition("\n")
    if not newline:
        return code
    language = (tag.split() or [""])[0].lower()
    if language not in _PYTHON:
        raise SyntaxError(f"Expected Python code but got ```{language} fence. Write Python code, not {language}.")
    return rest.partition("```")[0].strip()


def ran(interpreter: CodeInterpreter, code: str) -> tuple[str | None, str | None]:
    """(what code gave, as JSON, None), or (None, why it failed). Raises CodeInterpreterError for the interpreter."""
    if not code:
        return None, "Error: Empty code before execution."
    try:
        result: Any = interpreter.execute(code)
    except Exception as e:
        if failed(e):
            return None, str(e)
        raise
    return json.dumps(result.output if submitted(result) else result), None
