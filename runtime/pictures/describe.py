"""What a box says: its label, its colour group, and the details behind a click."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lampc.ir import UNKNOWN, HostRef, Op, Symbol
from lampc.ir.adapters import Bound, adapter, demo_turns, segment_text
from lampc.ir.prompt import Demos, Input, Output, Prompt, Segment, Turn
from lampc.ir.text.printer import print_attr

_GROUPS = {
    "prog.predict": "model",
    "prog.continue": "model",
    "prompt.request": "model",
    "prompt.follow": "model",
    "kv.generate": "model",
    "kv.score": "model",
    "kv.root": "context",
    "kv.extend": "context",
    "prompt.parse": "text",
    "prog.const": "const",
    "prog.retrieve": "data",
    "prog.tool": "host",
    "prog.py": "host",
    "prog.call": "host",
    "prog.return": "io",
    "prog.yield": "io",
    "prog.next": "io",
    "prog.func": "function",
}
GROUPS = (
    "model", "context", "text", "const", "data", "host", "io", "function", "control", "definition", "region",
    "value", "broken",
)  # fmt: skip


def group_of(op: Op) -> str:
    """The colour group of an op."""
    if type(op) is Op:
        return "broken"  # not registered
    if op.op_name in _GROUPS:
        return _GROUPS[op.op_name]
    if op.op_name.startswith("prog.def_"):
        return "definition"
    return "control" if op.regions else "value"


def label_of(op: Op) -> tuple[str, str]:
    """(label, note) of an op; by its name and attributes only if it is broken."""
    try:
        return _label(op)
    except Exception:  # a missing or odd attribute must not keep a picture from being drawn
        return op.op_name, ""


def _label(op: Op) -> tuple[str, str]:
    a = op.attrs
    short = op.op_name.partition(".")[2] or op.op_name
    match op.op_name:
        case "prog.func":
            params = ", ".join(f"{v.hint}: {v.type}" for v in op.regions[0].args)
            return f"@{op.symbol}({params})", f"gives {a['returns']}"
        case "prog.predict":
            s = a["signature"]
            return a["predictor"].name, f"{_names(s.inputs)} -> {_names(s.outputs)}{_drawn(op)}"
        case "prog.continue":
            s = a["signature"]
            return a["predictor"].name, f"goes on: {_names(s.inputs)} -> {_names(s.outputs)}{_drawn(op)}"
        case "prompt.request" | "prompt.follow" | "kv.generate" | "kv.root":
            return f"{short} {a['predictor'].name}", _drawn(op).strip()
        case "prompt.parse":
            return f"parse {a['predictor'].name}", f"-> {_names(a['signature'].outputs)}"
        case "kv.extend":
            run = a["run"]
            kinds = [type(s).__name__ for s in [*run.segments, *(s for t in run.turns for s in t.segments)]]
            return "extend", " + ".join(kinds)
        case "prog.apply":
            return a["fn"], ""
        case "prog.const":
            return _clip(print_attr(a["value"]), 32), ""
        case "prog.field":
            return f".{a['field']}", ""
        case "prog.pack":
            return "{" + ", ".join(a["names"]) + "}", "record"
        case "prog.list":
            return f"[{len(op.operands)} items]", "list"
        case "prog.call":
            return f"call @{a['callee'].name}", ""
        case "prog.retrieve" | "prog.tool":
            return f"{short} @{a['retriever' if short == 'retrieve' else 'tool'].name}", ""
        case "prog.py":
            return a["ref"].target.partition(":")[2] or a["ref"].target, "Python"
        case "prog.loop":
            return "loop", f"at most {a['max']} times"
        case "prog.tune":
            return f"tune @{a['of'].name}", ""
    return (f"{short} @{op.symbol}" if op.symbol else short), ""


def region_title(op: Op, index: int) -> str:
    """What stands over a region of an op that has several."""
    if op.op_name == "prog.if":
        return ("then", "else")[index] if index < 2 else f"region {index}"
    cases = op.attrs.get("cases", ())
    if op.op_name == "prog.match":
        return f"case {print_attr(cases[index])}" if index < len(cases) else "otherwise"
    return f"region {index}"


def details(op: Op, bound: Mapping[str, Bound]) -> tuple[tuple[str, str], ...]:
    """(title, text) pairs: what the op is, its types, attributes, prompt and place."""
    out = [("Op", op.op_name + (f" @{op.symbol}" if op.symbol else ""))]
    if op.results:
        out.append(("Type", "\n".join(str(v.type) for v in op.results)))
    predictor = op.attrs.get("predictor")
    if isinstance(predictor, Symbol) and predictor.name in bound:
        out += _predictor(op, bound[predictor.name])
    out += [(name, _attr(value)) for name, value in sorted(op.attrs.items()) if name not in ("signature", "prompt")]
    if op.loc != UNKNOWN:
        out.append(("Source", str(op.loc)))
    return tuple(out)


def _predictor(op: Op, bound: Bound) -> list[tuple[str, str]]:
    try:
        prompt = op.attrs.get("prompt") or adapter(bound.layout).render(bound.signature, bound.name)
        return [
            ("Prompt", prompt_text(prompt, bound)),
            ("Demos", str(len(bound.demos.items))),
            ("Layout", bound.layout),
            ("Model", bound.model),
        ]
    except Exception as e:  # drawn all the same
        return [("Prompt", f"cannot be rendered: {type(e).__name__}: {e}")]


def prompt_text(prompt: Prompt, bound: Bound) -> str:
    """The conversation that a prompt stands for, its slots as `{input}` and `{-> outputs}`."""
    parts = []
    for turn in prompt.turns:
        for role, text in _turn(turn, bound):
            parts.append(f"--- {role}\n{text}")
    return "\n".join(parts)


def _turn(turn: Turn, bound: Bound) -> Sequence[tuple[str, str]]:
    if turn.role == "demos":
        return [t for s in turn.segments if isinstance(s, Demos) for t in demo_turns(s, bound)]
    return [(turn.role, "".join(_slot(s, bound) for s in turn.segments))]


def _slot(segment: Segment, bound: Bound) -> str:
    match segment:
        case Input(_, field, _):
            return "{" + field.name + "}"
        case Output(fields):
            return "{-> " + ", ".join(fields) + "}"
    return segment_text(segment, bound, ())


def _attr(value: object) -> str:
    if isinstance(value, HostRef):
        return value.target
    return _clip(value if isinstance(value, str) else print_attr(value), 2000)


def _drawn(op: Op) -> str:
    temperature = getattr(op.attrs.get("sampling"), "temperature", 0.0)
    return f" at {temperature:g}" if temperature else ""


def _names(fields: Sequence[object]) -> str:
    return ", ".join(getattr(f, "name", "?") for f in fields)


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
