"""The grammar that engines of ours keep: answers as the layout itself would write them, in one way, and no others.

    constrained(signature, "chat")     'start: "[[ ## n ## ]]\\n" LINE_LEAD v0 "\\n\\n[[ ## completed ## ]]"\\nv0: ...'

`lampc.ir.adapters.grammar` takes all that a layout reads; here what can be certain is: spaces in JSON, how a truth
value is spelled, that all outputs are there in their order. And a text cannot say a mark of the layout by itself, so
that what was written under a field is what is read there. `LEAD` and `LINE_LEAD` stand for the space that some
tokenizers put before a text and after a line break.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from lampc.ir.adapters.grammar import json_of, listed, pattern, quoted, rule_of, value_schema
from lampc.ir.adapters.grammar_xml import xml_rules
from lampc.ir.adapters.lax import resolved
from lampc.ir.adapters.registry import kind_of
from lampc.ir.adapters.schema import is_text, options_of
from lampc.ir.content import Field, Signature

_HEADER = r"\[\[ ## [A-Za-z0-9_]+ ## \]\](?s:.+)"
_SLOPPY = r"\[[^\S\n]*#{0,3}[^\S\n]*[A-Za-z0-9_][A-Za-z0-9_ -]*#{0,3}[^\S\n]*\]{1,2}[^\]](?s:.*)"
"""A mark, or a misspelled one, and something behind it."""
_SPACE = r"[^\S\n]*"
_ITEM = r"[^\n\r\x0b\x0c\x1c-\x1e\x85\u{2028}\u{2029}]"
"""Of a line, as `str.splitlines` cuts them."""


@functools.lru_cache(maxsize=1024)
def constrained(signature: Signature, layout: str) -> str | None:
    """The grammar of a layout's answers for engines of ours; None if an answer may be any text. Raises ValueError."""
    if not signature.outputs:
        return None
    match kind_of(layout):
        case "json" | "baml":
            return _object(signature)
        case "chat":
            return _marked(signature)
        case "xml":
            return _elements(signature)
        case "compact":
            return _lines(signature)
    return None


@functools.lru_cache(maxsize=1024)
def closed_outputs(signature: Signature, layout: str) -> tuple[str, ...]:
    """Names of outputs whose grammar leaves few choices: truth values, enums, literals, or nothing at all."""
    if kind_of(layout) not in ("chat", "json", "baml", "compact", "xml"):
        return ()
    return tuple(f.name for f in signature.outputs if _closed(f))


def _closed(field: Field) -> bool:
    if options_of(field):
        return True
    schema = value_schema(field)
    return not (_free(field) or listed(field)) and _few(schema, schema.get("$defs", {}))


def _few(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> bool:
    """Whether a schema has only few values."""
    found = resolved(schema, defs)
    if "enum" in found or "const" in found:
        return True
    choices = found.get("anyOf") or found.get("oneOf")
    if choices:
        return all(_few(c, defs) for c in choices)
    return found.get("type") in ("boolean", "null")


def _object(signature: Signature) -> str:
    """One output a line, as `json.dumps` does with an indent of two."""
    line, rules = ["LEAD"], []
    for i, f in enumerate(signature.outputs):
        line += [quoted(("," if i else "{") + f"\n  {json.dumps(f.name, ensure_ascii=False)}: "), f"v{i}"]
        rules.append(f"v{i}: {json_of(value_schema(f), True)}")
    return "\n".join([f"start: {' '.join(line)} {quoted(chr(10) + '}')}", *rules, ""])


def _elements(signature: Signature) -> str:
    """An empty list or nothing is written with an end of its own, as it is read at the top."""
    rules = xml_rules(signature)
    for f in signature.outputs:
        rules = rules.replace(f'"<{f.name} />"', f'"<{f.name}></{f.name}>"')
    return rules


def _marked(signature: Signature) -> str:
    line, rules = [quoted(f"[[ ## {signature.outputs[0].name} ## ]]\n")], []
    header = _HEADER
    if any(f.shape is not None and f.shape.form == "enum" for f in signature.outputs):
        header = _SLOPPY  # members that are no texts are only read where misspelled marks are, too
    for i, f in enumerate(signature.outputs):
        last = i + 1 == len(signature.outputs)
        marker = f"[[ ## {'completed' if last else signature.outputs[i + 1].name} ## ]]"
        rule = None if _free(f) else _value(f, "None")
        if rule is None:
            text = f"/{_between(f)}{pattern(chr(10) * 2 + marker)}/"
            rules += [f"v{i}[lazy]: V{i}", f"V{i}: {text} & ~/(?s:.*){header}/"]
            line.append(f"v{i}")
        else:
            rules.append(f"v{i}: {rule}")
            line += ["LINE_LEAD", f"v{i}", quoted("\n\n" + marker)]
        if not last:
            line.append(quoted("\n"))
    return "\n".join([f"start: {' '.join(line)}", *rules, ""])


def _lines(signature: Signature) -> str:
    names = "|".join(pattern(f.name) for f in signature.outputs)
    heads = rf"((?s:.*)\n)?{_SPACE}({names}){_SPACE}:"
    line, rules, headed = ["LEAD"], [], False
    for i, f in enumerate(signature.outputs):
        if not headed:
            line += ["" if not i else f"{quoted(chr(10))} LINE_LEAD", quoted(f"{f.name}:")]
        line.append(f"v{i}")
        following = signature.outputs[i + 1].name if i + 1 < len(signature.outputs) else ""
        rule = None if is_text(f) or listed(f) else _value(f, "null")
        headed = rule is None and not listed(f) and following != ""
        if listed(f):
            rules.append(f"v{i}: (/\\n- {_ITEM}*[^\\s\\x00-\\x1f]/){_count(f)}")
        elif rule is not None:
            rules.append(f'v{i}: " " ({rule})')
        elif headed:  # the next head belongs to the rule, since nothing else ends a text
            whole = f"(/ {_between(f)}\\n/ LINE_LEAD {quoted(following + ':')})"
            rules += [f"v{i}[lazy]: V{i}", f"V{i}: {whole} & ~/{heads}(?s:.+)/"]
        else:
            rules += [f"v{i}: V{i}", f"V{i}: / {_between(f)}/ & ~/{heads}(?s:.*)/"]
    return "\n".join([f"start: {' '.join(p for p in line if p)}", *rules, ""])


def _free(field: Field) -> bool:
    form = field.shape.form if field.shape is not None else ""
    return form in ("text", "code", "history") or (
        form == "custom" and field.shape is not None and field.shape.name != "ToolCalls"
    )


def _value(field: Field, nothing: str) -> str | None:
    if options := options_of(field):
        return " | ".join(quoted(o) for o in dict.fromkeys(map(str, options)))
    return rule_of(value_schema(field), nothing, True)


def _between(field: Field) -> str:
    """Any text, within the field's limits on its length without the spaces around it."""
    least, most = field.limits.get("min_length"), field.limits.get("max_length")
    if not least and most is None:
        return "(?s:.*)"
    inner = f"{{{max(0, (least or 0) - 2)},{'' if most is None else max(0, most - 2)}}}"
    one, several = r"[^\s\x00-\x1f]", rf"[^\s\x00-\x1f](?s:.){inner}[^\s\x00-\x1f]"
    ways = [several] if most is None or most > 1 else []
    ways += [one] if (least or 0) <= 1 else []
    ways += [""] if not least else []
    return f" ?({'|'.join(ways)})"


def _count(field: Field) -> str:
    least, most = field.limits.get("min_length"), field.limits.get("max_length")
    if least is None and most is None:
        return "+"
    return f"{{{least or 1},{'' if most is None else max(1, most)}}}"
