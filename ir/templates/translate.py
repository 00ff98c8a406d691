"""One text of a template to the segments of a turn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lampc.ir.adapters.schema import is_history, type_name
from lampc.ir.content import Signature
from lampc.ir.diag import Source
from lampc.ir.prompt import Guide, Input, Instruction, Segment, Shots, Text
from lampc.ir.templates.check import Check
from lampc.ir.templates.codes import Findings
from lampc.ir.templates.scan import Part, environment, normalized, parts, unclosed
from lampc.ir.templates.slots import piece_text
from lampc.ir.types import ANY, STR, ListOf, Record, Type

if TYPE_CHECKING:
    from lampc.ir.templates.template import Template

_FIELD = Record((("name", STR), ("type", STR), ("desc", STR)))
_STATIC = ("inputs", "outputs")


def translate(template: Template, source: Source, signature: Signature, predictor: str) -> tuple[Segment, ...]:
    """The segments that a text stands for. Raises CompileError with every finding."""
    text = normalized(source.text)
    findings = Findings(Source(source.path, text))
    out: list[Segment] = []
    if not _parses(text, template, findings):
        findings.check()
    names = visible(signature)
    for part in parts(text, template.trim_blocks, template.lstrip_blocks, findings):
        if not part.tokens:
            out.append(Text(part.text))
        else:
            segment = _segment(part, template, signature, predictor, names, findings)
            out += [segment] if segment is not None else []
    findings.check()
    return _joined(out)


def visible(signature: Signature) -> dict[str, Type]:
    """What a template sees, with types; an input goes before what else has its name."""
    fields = (*signature.inputs, *signature.outputs)
    shown: dict[str, Type] = {"instruction": STR, "demos": ListOf(Record(tuple((f.name, f.type) for f in fields)))}
    shown |= dict.fromkeys(_STATIC, ListOf(_FIELD))
    return {**{f.name: f.type for f in signature.inputs}, **{n: t for n, t in shown.items() if not signature.input(n)}}


def described(signature: Signature) -> dict[str, list[dict[str, str]]]:
    """The values of `inputs` and `outputs`."""
    sides = {"inputs": signature.inputs, "outputs": signature.outputs}
    return {n: [{"name": f.name, "type": type_name(f.type), "desc": f.desc} for f in fs] for n, fs in sides.items()}


def _segment(
    part: Part,
    template: Template,
    signature: Signature,
    predictor: str,
    names: Mapping[str, Type],
    findings: Findings,
) -> Segment | None:
    tree = environment(template.trim_blocks, template.lstrip_blocks).parse(part.text)
    before = len(findings.found)
    check = Check(part, names, (f.name for f in signature.outputs), findings)
    for node in tree.body:
        check.walk(node, {})
    if len(findings.found) > before:
        return None
    used = sorted(check.used)
    if set(used) <= set(_STATIC) and not any(signature.input(n) for n in used):
        text = piece_text(part.text, template.trim_blocks, template.lstrip_blocks, dict(described(signature)))
        return Guide(text) if used else Text(text)
    if len(used) > 1:
        slots = " and ".join(f"`{n}`" for n in used)
        token = next((t for t in part.tokens if t.text == used[1]), part.tokens[0])
        help_ = "write a block for each of them"
        findings.add("L0956", f"this part depends on {slots}", token.at, len(token.text), help_)
        return None
    slot = template.slot(part.text)
    (name,) = used
    field = signature.input(name)
    if field is not None and is_history(field):
        token = next((t for t in part.tokens if t.text == name), part.tokens[0])
        help_ = "leave it out: its turns stand before the last one by themselves"
        findings.add("L0956", f"`{name}` is a conversation, not text", token.at, len(token.text), help_)
        return None
    if field is not None:
        return Input(signature.inputs.index(field), field, slot)
    return Instruction(predictor, slot) if name == "instruction" else Shots(predictor, slot)


def _parses(text: str, template: Template, findings: Findings) -> bool:
    from jinja2 import TemplateSyntaxError

    try:
        environment(template.trim_blocks, template.lstrip_blocks).parse(text)
    except TemplateSyntaxError as e:
        message = (e.message or "it cannot be read").rstrip(".")
        message = message[:1].lower() + message[1:]
        token = unclosed(text, template.trim_blocks, template.lstrip_blocks) if "to be closed" in message else None
        if token is not None:
            findings.add("L0951", f"`{{% {token.text} %}}` is never closed", token.at, len(token.text))
        else:
            findings.add("L0951", message, *_blamed(text, e.lineno, message))
        return False
    return True


def _blamed(text: str, line: int, message: str) -> tuple[int, int]:
    """Offset and length of what a message of Jinja2 is about: the last thing that it quotes, on its line."""
    lines = text.split("\n")
    start = sum(len(x) + 1 for x in lines[: line - 1])
    shown = lines[line - 1] if line <= len(lines) else ""
    for word in reversed(re.findall(r"'([^']+)'", message)):
        found = list(re.finditer(rf"\b{word}\b" if word.isidentifier() else re.escape(word), shown))
        if found:
            return start + (found[0] if word.isidentifier() else found[-1]).start(), len(word)
    return start + len(shown) - len(shown.lstrip()), max(1, len(shown.strip()))


def _joined(segments: list[Segment]) -> tuple[Segment, ...]:
    """Neighbouring texts as one, empty ones left out."""
    out: list[Segment] = []
    for s in segments:
        if isinstance(s, Text) and not s.text:
            continue
        if isinstance(s, Text) and out and isinstance(out[-1], Text):
            out[-1] = Text(out[-1].text + s.text)
        else:
            out.append(s)
    return tuple(out)


__all__ = ["ANY", "Any", "described", "translate", "visible"]
