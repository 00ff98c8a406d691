"""Write `docs/ir.md` from the declarations: `PYTHONPATH=src python tools/make_ir_docs.py`. A test compares the two."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from pathlib import Path
from typing import Any

import lampc.ir.kv
import lampc.ir.prog
import lampc.ir.requests  # noqa: F401  (importing registers the ops)
from lampc.ir.attrs import ATTRIBUTES
from lampc.ir.builtins import BUILTINS
from lampc.ir.define import OPS, REQUIRED, SPECS
from lampc.ir.effects import EFFECTS, Trait
from lampc.ir.text import print_attr

ROOT = Path(__file__).resolve().parent.parent

_HEAD = """# The IR

Made by `tools/make_ir_docs.py` from the declarations in `ir/`; do not edit by hand.

A module is a list of definitions. A function holds one region; a region holds arguments and ops; an op has operands,
attributes, results and regions. Values are defined once and are visible in the region that defines them and in those
nested in it. Three levels share the one form: `prog.*` says what a program means, `prompt.*` which text is sent and
what is read back, `kv.*` which context grows out of which.

## A small program

```
module @hop {
  prog.def_predictor @answer() {signature = #signature<inputs = [#field<name = "question", type = !str>], \
outputs = [#field<name = "answer", type = !str>], instruction = "Answer.">} : ()
  prog.func @hop() {returns = !{answer: str}} do (%question: str) {
    %r = prog.predict(%question) {key = #key<path = ["answer#0"]>, predictor = @answer, signature = #signature<...>} \
: ({answer: str})
    %answer = prog.field(%r) {field = "answer"} : (str)
    %0 = prog.pack(%answer) {names = ["answer"]} : ({answer: str})
    prog.return(%0) : ()
  } : ()
}
```

(`#signature<...>` stands for the signature above.) `print_module(m)` writes this form and `parse_module` reads it back:
`parse_module(print_module(m)) == m` for every module. Attributes are written in alphabetical order, those equal to
their default are left out; names of values are the frontend's hints made unique, or numbers. `;` starts a comment.
With `locs=True` each op is followed by `loc([path, line, column, end line, end column, function])`, or by
`loc([pass, [places it was made from]])`.

## Types

| type | values |
|---|---|
| `str` `int` `float` `bool` | as in JSON; an `int` may stand where a `float` is expected |
| `any` | any JSON value; checked when the program runs |
| `none` | the absent value |
| `choice["a", "b"]` | one of these strings |
| `list[T]` | a list |
| `map[T]` `map[K, T]` | values by names not known before; `K` says what the names spell |
| `opt[T]` | `T` or `none` |
| `{a: T, b: U}` | a record of these fields; `{}` is a record of any fields |
| `media` | content that is no text: `{"$media": [part, ...]}`, parts as chat messages have them |
| `kv` | a context: a token prefix together with its keys and values |

`"module:Class"{a: T}` and `choice "module:Class"["a", "b"]` name the Python class whose objects such values are on the
Python side; that says nothing about the values themselves.
"""


def render() -> str:
    """The whole page."""
    parts = [_HEAD, _grammar(), _traits(), _ops(), _attributes(), _builtins()]
    return "\n".join(parts)


def _grammar() -> str:
    text = (ROOT / "ir" / "text" / "lir.lark").read_text(encoding="utf-8")
    return f"## Grammar\n\nLark, LALR(1); one rule for the ops of all levels.\n\n```lark\n{text}```\n"


def _traits() -> str:
    notes = {
        Trait.PURE: "may be merged with its equal, moved, or dropped",
        Trait.SAMPLES: "draws from a model: may be dropped; merged with its equal if greedy",
        Trait.CALLS: f"runs code; its `effect` ({', '.join(EFFECTS)}) says what that code may do",
        Trait.TERMINATOR: "ends a region",
        Trait.DEFINITION: "stands at the top of a module and has a symbol",
    }
    rows = "".join(f"| {t.value} | {notes[t]} |\n" for t in Trait)
    return (
        "## Traits\n\nWhat a pass may do with an op. Ops with none of the first three (`prog.assert`) stay where they "
        f"are; terminators end their region.\n\n| trait | meaning |\n|---|---|\n{rows}"
    )


def _ops() -> str:
    out = ["## Ops\n\n`...` marks operands, results or regions of which there may be any number; `= x` a default."]
    levels = {"prog": "`prog.*`", "prompt": "`prompt.*`", "kv": "`kv.*`"}
    for level, title in levels.items():
        out.append(f"\n### {title}\n")
        out += [_op(name) for name in OPS if name.startswith(f"{level}.")]
    return "\n".join(out)


def _op(name: str) -> str:
    spec, cls = SPECS[name], OPS[name]
    listed = [
        ("operands", [*spec.operands, *_many(spec.variadic)]),
        ("results", [*spec.results, *_many(spec.variadic_results)]),
        ("regions", [*spec.regions, *_many(spec.variadic_regions)]),
    ]
    traits = ", ".join(sorted(t.value for t in cls.traits))
    rows = [f"- {what}: {', '.join(f'`{n}`' for n in names)}" for what, names in listed if names]
    if spec.attributes:
        rows.append("- attributes: " + ", ".join(_attribute(*a) for a in spec.attributes))
    head = f"#### `{name}`" + (f" ({traits})" if traits else "")
    return f"{head}\n\n{inspect.getdoc(cls)}\n\n" + "\n".join(rows) + "\n"


def _many(name: str) -> list[str]:
    return [f"{name}..."] if name else []


def _attribute(name: str, hint: Any, default: Any) -> str:
    shown = f"`{name}`: {_type(hint)}"
    return shown if default is REQUIRED else f"{shown} `= {print_attr(default)}`"


def _type(hint: Any) -> str:
    if hint is Any:
        return "any attribute"
    if typing.get_origin(hint) is tuple and Ellipsis not in typing.get_args(hint):
        return f"({', '.join(map(_type, typing.get_args(hint)))})"
    if typing.get_origin(hint) is tuple:
        return f"list of {_type(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is not None:
        return " or ".join(_type(a) for a in typing.get_args(hint))
    declared = getattr(hint, "attr_name", "")
    return f"`#{declared}`" if declared else {"Symbol": "symbol", "Type": "type", "Obj": "object"}.get(
        hint.__name__, hint.__name__
    )  # fmt: skip


def _attributes() -> str:
    out = [
        "## Attributes\n\nLiterals are JSON's, lists `[...]`, objects `{...}`, types `!type`, symbols `@name`, and "
        "declared attributes `#name<field = value, ...>`, fields equal to their default left out."
    ]
    for name, cls in sorted(ATTRIBUTES.items()):
        hints = typing.get_type_hints(cls)
        rows = []
        for f in dataclasses.fields(cls):
            missing = f.default is dataclasses.MISSING
            rows.append(_attribute(f.name, hints[f.name], REQUIRED if missing else f.default))
        out.append(f"\n#### `#{name}`\n\n{inspect.getdoc(cls)}\n\n- " + "\n- ".join(rows))
    return "\n".join(out) + "\n"


def _builtins() -> str:
    rows = []
    for b in BUILTINS.values():
        low, high = b.arity
        takes = str(low) if low == high else f"{low} to {high}"
        rows.append(f"| `{b.name}` | {takes} | {b.doc.replace('|', '/')} |")
    return (
        "## Built-in functions of `prog.apply`\n\n| name | operands | gives |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


if __name__ == "__main__":
    path = ROOT / "docs" / "ir.md"
    path.write_text(render(), encoding="utf-8")
    print(f"{path}: {len(render().splitlines())} lines")
