"""Tuned programs as files (`.lampc`): the module's text, with the chosen parameters as its attributes.

Readable and diffable; no pickle. Only what the program needs is kept: its functions (the entry last) and the
definitions. What was measured when it was tuned stands beside the parameters.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lampc.ir import Assignment, CompileError, Diagnostic, Module, Obj, check, explain, freeze, parse_module, thaw
from lampc.ir.hostref import is_closure
from lampc.ir.prog import Call, DefTool, Func, Py
from lampc.ir.unit import Unit
from lampc.passes.gate import GateRecord, read_record

explain(
    {
        "L0811": "a closure cannot be saved\nThe program calls a Python function that exists only in the process that "
        "made it (a lambda, or a function defined inside another). Move it to the top level of a module.",
        "L0812": "not a tuned program\nThe file is IR text, but it holds no chosen parameters. `lampc optimize` writes "
        "such files; a plain module is a `.lir` file.",
        "L0813": "a gate's record is damaged\nThe tuned program has changes that were tested on held-out rows, and the "
        "record of a test lacks a value or has one of the wrong type. Make the file again with the command that wrote "
        "it (`lampc layout`, `lampc optimize`).",
    }
)


@dataclass(frozen=True, slots=True)
class Saved:
    """What a `.lampc` file holds."""

    module: Module
    assignment: Assignment
    entry: str
    info: dict[str, Any]

    @property
    def gates(self) -> tuple[GateRecord, ...]:
        """Records of the program's gated changes, the latest last. Raises CompileError (L0813) for damaged ones."""
        return read_gates(self.info)


def save(path: Path, unit: Unit, assignment: Assignment, info: Mapping[str, Any] | None = None) -> None:
    """Write a tuned program. `info` are JSON values. Raises CompileError if it calls a closure, OSError."""
    text = saved_text(unit, assignment, info)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


def saved_text(unit: Unit, assignment: Assignment, info: Mapping[str, Any] | None = None) -> str:
    """Text of the file that `save` writes."""
    module = needed(unit)
    found = [op for op in module.walk() if isinstance(op, Py | DefTool) and is_closure(op.ref.target)]
    if found:
        raise CompileError(
            [
                Diagnostic("L0811", f"`{getattr(op, 'ref').target}` is a closure: the program cannot be saved")  # noqa: B009
                for op in found
            ]
        )
    module.attrs.update(assignment=assignment, entry=unit.entry, info=freeze(dict(info or {})))
    return str(module)


def needed(unit: Unit) -> Module:
    """A copy with the functions that the entry reaches, the entry last."""
    module = unit.module.clone()
    functions = {op.symbol: op for op in module.body.ops if isinstance(op, Func)}
    reached: list[str] = []
    todo = [unit.entry] if unit.entry in functions else []
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.append(name)
            todo += [
                op.callee.name for op in functions[name].walk() if isinstance(op, Call) and op.callee.name in functions
            ]
    kept = [op for op in module.body.ops if not isinstance(op, Func) or op.symbol in reached[1:]]
    module.body.ops = [*kept, *(functions[name] for name in reached[:1])]
    return module


def load_saved(path: Path) -> Saved:
    """Read a tuned program. Raises CompileError, OSError."""
    module = parse_module(path.read_text(encoding="utf-8"), str(path))
    assignment = module.attrs.pop("assignment", None)
    entry, info = module.attrs.pop("entry", ""), module.attrs.pop("info", Obj())
    if not isinstance(assignment, Assignment):
        raise CompileError([Diagnostic("L0812", f"{path}: no chosen parameters (`assignment`) in this module")])
    check(module)
    return Saved(module, assignment, str(entry), thaw(info))


def load(path: Path) -> tuple[Module, Assignment]:
    """Module (its last function is the entry) and chosen parameters of a tuned program."""
    saved = load_saved(path)
    return saved.module, saved.assignment


GATES = "gates"
"""Under which name the records of gated changes stand among what is kept with a tuned program."""


def read_gates(info: Mapping[str, Any]) -> tuple[GateRecord, ...]:
    """Records of gated changes. Raises CompileError (L0813)."""
    try:
        return tuple(read_record(values) for values in info.get(GATES, ()))
    except (ValueError, AttributeError, TypeError) as e:
        raise CompileError([Diagnostic("L0813", f"a record of a gated change cannot be read: {e}")]) from None


def with_gates(info: Mapping[str, Any], records: Sequence[GateRecord]) -> dict[str, Any]:
    """What is kept with a program, with further records of gated changes."""
    return {**info, GATES: [*info.get(GATES, ()), *(r.values() for r in records)]}


# -- differences --------------------------------------------------------------------------------------


def ir_diff(module: Module, before: Assignment, after: Assignment) -> str:
    """What changed between two candidates as a unified diff of the definitions in IR text."""
    old, new = (str(applied(module, a)).splitlines() for a in (before, after))
    lines = list(difflib.unified_diff(old, new, fromfile="before", tofile="after", lineterm="", n=0))
    return "\n".join(line for line in lines if not line.startswith("@@"))


def applied(module: Module, assignment: Assignment) -> Module:
    """A copy of the module whose predictors start from the parameters of `assignment`."""
    from lampc.ir.prog import DefPredictor

    copy = module.clone()
    for op in copy.body.ops:
        if isinstance(op, DefPredictor):
            n = op.symbol
            op.signature = op.signature.with_instruction(assignment.get(f"{n}.instruction", op.signature.instruction))
            op.demos = assignment.get(f"{n}.demos", op.demos)
            op.cascade = assignment.get(f"{n}.cascade", op.cascade)
    return copy
