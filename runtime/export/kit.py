"""What every exported program carries: how values are written into prompts and read out of answers.

The text of this file below the line of dashes is copied into each exported file; it may use the standard library and
the OpenAI client only.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

# ---------------------------------------------------------------------------------------------------------


_PARSING = threading.RLock()  # CPython 3.11 fails where a second thread parses meanwhile (python/cpython#106905)


@functools.cache
def client() -> Any:
    """The OpenAI client; OPENAI_BASE_URL and OPENAI_API_KEY say where it goes."""
    from openai import OpenAI

    return OpenAI(api_key=os.environ.get("OPENAI_API_KEY") or "none")


@functools.cache
def prompts() -> Any:
    """The prompts beside this file."""
    return json.loads((Path(__file__).parent / "prompts.json").read_text(encoding="utf-8"))


def ask(name: str, inputs: dict[str, Any], **sampling: Any) -> dict[str, Any]:
    """Ask the model what the prompt `name` asks, and read its outputs. Raises ValueError for an unreadable answer."""
    prompt = prompts()["predictors"][name]
    messages = [m for part in prompt["messages"] for m in said(part, inputs)]
    model = os.environ.get("MODEL") or prompts()["model"]
    answer = client().chat.completions.create(model=model, messages=messages, **sampling)
    choice = answer.choices[0]
    try:
        return read(choice.message.content or "", prompt)
    except ValueError as e:
        if choice.finish_reason != "length":
            raise
        count = getattr(answer.usage, "completion_tokens", 0)
        where = f"after {count} token{'s' * (count != 1)}" if count else "at the bound of its tokens"
        raise ValueError(f"{e} (it was cut {where}: raise `max_tokens` of the call `{name}` in this file)") from None


def said(message: dict[str, Any], inputs: dict[str, Any]) -> list[dict[str, str]]:
    """A message with its slots filled; of a conversation, the messages of all its turns."""
    if "history" in message:
        past = inputs[message["history"]] or []
        turns = past.get("messages", []) if isinstance(past, dict) else past
        return [m for turn in turns for each in message["turns"] for m in said(each, turn)]
    text = "".join(p if isinstance(p, str) else write(inputs, p) for p in message["parts"])
    return [{"role": message["role"], "content": text}]


def write(inputs: dict[str, Any], part: dict[str, str]) -> str:
    """An input's value as the prompt has it."""
    value, how = inputs[part["input"]], part["as"]
    if how == "lines" and isinstance(value, list):  # one `- item` a line
        return "".join(f"\n- {as_json(v)}" for v in value) or "\n- none"
    if how == "text" and isinstance(value, list):
        return bracketed(value)
    if how == "json":  # scalars as JSON writes them, too
        return as_json(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def bracketed(items: list[Any]) -> str:
    """A list where a text is asked for."""

    def quoted(item: Any) -> str:
        text = str(item)
        if not any(c in text for c in "\n«»"):
            return f"«{text}»"
        return "«««\n    " + text.replace("\n", "\n    ") + "\n»»»"

    if len(items) < 2:
        return quoted(items[0]) if items else "N/A"
    return "\n".join(f"[{i}] {quoted(x)}" for i, x in enumerate(items, 1))


def read(text: str, prompt: dict[str, Any]) -> dict[str, Any]:
    """The outputs of an answer. Raises ValueError, with the answer."""
    outputs = prompt["outputs"]
    parts = split(text, prompt["layout"], [o["name"] for o in outputs])
    found: dict[str, Any] = {}
    for o in outputs:
        if o["name"] not in parts:
            if "default" not in o:
                raise ValueError(f"output `{o['name']}` is missing; the model wrote {text[:500]!r}")
            found[o["name"]] = o["default"]
            continue
        try:
            found[o["name"]] = cast(parts[o["name"]], o["type"])
        except (ValueError, TypeError) as e:
            raise ValueError(f"output `{o['name']}`: {e}; the model wrote {text[:500]!r}") from None
    return found


def split(text: str, layout: str, names: list[str]) -> dict[str, Any]:
    """The text (or, of a JSON answer, the value) of each output."""
    if layout == "json":
        begin, end = text.find("{"), text.rfind("}")
        data = literal(text[begin : end + 1]) if begin >= 0 else None
        return {n: data[n] for n in names if n in data} if isinstance(data, dict) else {}
    if layout == "xml":
        found = {n: re.search(rf"<{n}>(.*?)</{n}>", text, re.DOTALL) for n in names}
        return {n: m.group(1).strip() for n, m in found.items() if m}
    head = r"^[^\S\n]*\[\[ ## (\w+) ## \]\]" if layout == "chat" else rf"^\s*({'|'.join(map(re.escape, names))})\s*:"
    heads = list(re.finditer(head, text, re.MULTILINE))
    ends = [*(h.start() for h in heads[1:]), len(text)] if heads else []
    parts: dict[str, Any] = {}
    for h, end in zip(heads, ends, strict=True):
        parts.setdefault(h.group(1), text[h.end() : end].strip())
    if not heads and len(names) == 1:
        parts[names[0]] = text.strip()
    return parts


def cast(value: Any, wanted: Any) -> Any:
    """A value of the type `wanted`. Raises ValueError."""
    kind = wanted["kind"]
    if kind == "str":
        return str(value)
    if kind == "any":
        return literal(value) if isinstance(value, str) else value
    if kind == "maybe":
        empty = value is None or (isinstance(value, str) and value.strip().lower() in ("", "none", "null", "n/a"))
        return None if empty else cast(value, wanted["item"])
    if kind == "choice":
        return choice(str(value), wanted["options"])
    if kind == "bool":
        word = str(value).strip(".!\"'`").lower()
        if word in ("true", "yes", "false", "no"):
            return word in ("true", "yes")
        raise ValueError(f"{value!r} is neither true nor false")
    if kind in ("int", "float"):
        number = float(str(value).strip("`\"' ").replace(",", "").replace("_", ""))
        if kind == "float":
            return number
        if number != int(number):
            raise ValueError(f"{value!r} is not a whole number")
        return int(number)
    data = literal(value) if isinstance(value, str) else value
    if kind == "list":
        if isinstance(data, str):
            data = re.findall(r"^\s*(?:[-*•]|\d+[.)])\s+(.*)$", data, re.MULTILINE) or ([data] if data else [])
        if not isinstance(data, list | tuple):
            raise ValueError(f"{value!r} is no list")
        return [cast(v, wanted["item"]) for v in data]
    if not isinstance(data, dict):
        raise ValueError(f"{value!r} is no object")
    if kind == "map":
        return {str(k): cast(v, wanted["item"]) for k, v in data.items()}
    if not wanted["fields"]:
        return data
    data = {**wanted.get("defaults", {}), **data}
    lacking = [k for k, t in wanted["fields"].items() if k not in data and t["kind"] not in ("maybe", "any")]
    if lacking:
        raise ValueError(f"{value!r} lacks `{lacking[0]}`")
    return {k: cast(data.get(k), t) for k, t in wanted["fields"].items()}


def choice(text: str, options: list[str]) -> str:
    """The option that a text means. Raises ValueError."""
    bare = text.strip("`\"'. \n")
    for option in options:
        if option in (text, bare):
            return option
    folded = [o for o in options if o.lower() == bare.lower()]
    if len(folded) != 1:
        raise ValueError(f"{text!r} is none of {', '.join(options)}")
    return folded[0]


def literal(text: str) -> Any:
    """A JSON value as JSON or Python writes it, perhaps inside of a fence; else the text itself."""
    body = re.sub(r"\A\s*```[a-z]*\n?|\n?```\s*\Z", "", text).strip()
    try:
        return json.loads(body)
    except ValueError:
        try:
            with _PARSING:
                return ast.literal_eval(body)  # values only: nothing is run
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text


def as_text(value: Any) -> str:
    """A value where the program makes text of it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    return as_json(value) if isinstance(value, list | dict) else str(value)


def majority(items: list[Any]) -> Any:
    """The most frequent item; the earliest of those that tie."""
    texts = [json.dumps(i, sort_keys=True) for i in items]
    return items[max(range(len(items)), key=lambda i: (texts.count(texts[i]), -i))]


def normalize(value: Any) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    kept = re.sub(r"[^\w\s]", "", as_text(value).lower())
    return " ".join(w for w in kept.split() if w not in ("a", "an", "the"))


def f1(gold: Any, pred: Any) -> float:
    """Overlap of words."""
    a, b = normalize(gold).split(), normalize(pred).split()
    if not a or not b:
        return float(a == b)
    return 2 * sum(min(a.count(w), b.count(w)) for w in set(a)) / (len(a) + len(b))


def blocks(record: dict[str, Any], layout: str) -> str:
    """The fields of a record as a layout shows them."""
    shown = {k: write({k: v}, {"input": k, "as": "text"}) for k, v in record.items()}
    if layout == "xml":
        return "\n\n".join(f"<{k}>\n{v}\n</{k}>" for k, v in shown.items())
    if layout == "compact":
        return "\n".join(f"{k}: {v}" for k, v in shown.items())
    return "\n\n".join(f"[[ ## {k} ## ]]\n{v}" for k, v in shown.items()).strip()


def numbered(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Fields of records in one record: `a_0`, `b_0`, `a_1`, ..."""
    return {f"{name}_{i}": value for i, record in enumerate(records) for name, value in record.items()}


def best(rewards: list[Any], bound: Any) -> int:
    """Index of the first reward that reaches a bound, else of the highest."""
    there = [i for i, r in enumerate(rewards) if r is not None]
    reached = (i for i in there if bound is not None and rewards[i] >= bound)
    return next(reached, max(there, key=lambda i: (rewards[i], -i)))


def observe(tool: Any, name: str, arguments: dict[str, Any]) -> Any:
    """What a tool gives, or the text that an agent is told of what it raised."""
    try:
        return tool(**arguments)
    except Exception as e:
        return f"Execution error in {name}: {type(e).__name__}: {e}"
