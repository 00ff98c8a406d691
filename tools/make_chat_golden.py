"""Write `tests/ir/golden_chat.json`: prompts as DSPy's ChatAdapter renders them, for signatures of ours.

    python -m venv /tmp/venv && /tmp/venv/bin/pip install dspy==3.4.1
    /tmp/venv/bin/python tools/make_chat_golden.py [CASES] [PATH]

Needs DSPy and nothing of lampc, so it runs in an environment of its own. Cases are drawn from a fixed seed; types are
written as the IR writes them.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any, Literal, Optional

TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "any": Any,
    "{}": dict[str, Any],
    "list[str]": list[str],
    "list[int]": list[int],
    "list[float]": list[float],
    "list[list[str]]": list[list[str]],
    "list[{}]": list[dict[str, Any]],
    'choice["yes", "no"]': Literal["yes", "no"],
    'choice["it\'s", "a \\"b\\"", "c;d"]': Literal["it's", 'a "b"', "c;d"],
    'list[choice["a", "b"]]': list[Literal["a", "b"]],
    "opt[str]": Optional[str],  # noqa: UP045  (DSPy prints both spellings, this one is the documented one)
    "opt[int]": Optional[int],  # noqa: UP045
    "opt[list[str]]": Optional[list[str]],  # noqa: UP045
    'opt[choice["x", "y"]]': Optional[Literal["x", "y"]],  # noqa: UP045
    "list[opt[int]]": list[Optional[int]],  # noqa: UP045
}
NAMES = ["question", "text", "context", "notes", "n_best", "answer", "label", "score", "ok", "rows", "why", "x1"]
TEXTS = ["red", "a b", "two\nlines", "", " spaced ", "«ö»", "[[ ## x ## ]]", '{"a": 1}', "None", "1", "tab\there"]
INSTRUCTIONS = ["Do it.", "First line.\n\n    Indented.\nLast.", "", "Ends with space ", "Ünïcode “quotes”.\n"]
DESCS = ["", "", "what it is", "two\nlines", "${NAME}"]
CONSTRAINTS: list[dict[str, Any]] = [{}, {}, {}, {"min_length": 1}, {"max_length": 9, "min_length": 2}]


def make_cases(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Signatures, demos and inputs with the messages that DSPy makes of them: plain JSON."""
    rng = random.Random(seed)
    return [_case(rng) for _ in range(count)]


def _case(rng: random.Random) -> dict[str, Any]:
    import dspy

    names = rng.sample(NAMES, rng.randint(2, 6))
    split = rng.randint(1, len(names) - 1)
    fields, parts = [], {}
    for i, name in enumerate(names):
        shown = rng.choice(["str", "str", *TYPES])
        desc = rng.choice(DESCS).replace("NAME", name)
        rules = rng.choice(CONSTRAINTS) if shown in ("str", "list[str]") else {}
        make = dspy.InputField if i < split else dspy.OutputField
        made = make(desc=desc, **rules) if desc else make(**rules)
        parts[name] = (TYPES[shown], made)
        extra: dict[str, Any] = made.json_schema_extra
        fields.append(
            {
                "name": name,
                "type": shown,
                "output": i >= split,
                "desc": "" if desc == f"${{{name}}}" else desc,
                "constraints": extra.get("constraints", ""),
            }
        )
    instruction = rng.choice(INSTRUCTIONS)
    signature = dspy.Signature(parts, instruction)
    demos = [_values(rng, fields, rng.choice([1.0, 1.0, 0.6])) for _ in range(rng.choice([0, 1, 2, 3]))]
    inputs = _values(rng, fields[:split], 1.0)
    messages = dspy.ChatAdapter().format(signature, demos=[dict(d) for d in demos], inputs=dict(inputs))
    return {
        "fields": fields,
        "instruction": instruction,
        "demos": demos,
        "inputs": inputs,
        "messages": [[m["role"], m["content"]] for m in messages],
    }


def _values(rng: random.Random, fields: list[dict[str, Any]], share: float) -> dict[str, Any]:
    return {f["name"]: _value(rng, f["type"]) for f in fields if rng.random() < share}


def _value(rng: random.Random, shown: str) -> Any:
    if shown.startswith("opt["):
        return None if rng.random() < 0.3 else _value(rng, shown[4:-1])
    if shown.startswith("list["):
        return [_value(rng, shown[5:-1]) for _ in range(rng.randint(0, 3))]
    if shown.startswith("choice["):
        return rng.choice(json.loads(shown[6:]))
    if shown == "str" and rng.random() < 0.1:  # a list under a str is written in brackets
        return [rng.choice(TEXTS) for _ in range(rng.randint(0, 3))]
    return {
        "str": lambda: rng.choice(TEXTS),
        "any": lambda: rng.choice([1, "word", [1, "two"], {"k": None}, True]),
        "int": lambda: rng.randint(-9, 9),
        "float": lambda: rng.choice([0.5, 1.0, -2.25, 1e20, 3]),
        "bool": lambda: rng.random() < 0.5,
        "{}": lambda: {rng.choice("abc"): rng.choice([1, "ö", [2.5], None, {"d": True}]) for _ in range(2)},
    }[shown]()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    default = Path(__file__).parent.parent / "tests" / "ir" / "golden_chat.json"
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else default
    path.write_text(json.dumps(make_cases(count), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(f"{path}: {count} cases, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
