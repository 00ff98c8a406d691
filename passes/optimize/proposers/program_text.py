"""A program as a writer of instructions is shown it: its predictors, then what its functions do with them.

For reading only: shorter than the text form of the IR, and nothing parses it back.
"""

from __future__ import annotations

from collections.abc import Iterable

from lampc.ir import Field, Module, Region, thaw
from lampc.ir.core import Op, Value
from lampc.ir.prog import Apply, Call, Const, FieldOf, Func, Pack, Predict, Retrieve, Return, Tool
from lampc.passes.optimize.protocol import Problem


def program_text(problem: Problem, code: str = "") -> str:
    """Predictors with their fields and instructions, then `code`, or functions with their steps."""
    parts = []
    for p in problem.predictors():
        instruction = problem.instruction(problem.start, p).replace("\n", "\n    ")
        fields = f"({_fields(p.signature.inputs)}) -> ({_fields(p.signature.outputs)})"
        parts.append(f"predictor {p.symbol}{fields}:\n    {instruction}")
    return "\n\n".join([*parts, *([code] if code else _functions(problem.module))])


def _fields(fields: Iterable[Field]) -> str:
    return ", ".join(f"{f.name}: {f.shape.name if f.shape else f.type}" for f in fields)


def _functions(module: Module) -> list[str]:
    out = []
    for op in module.body.ops:
        if isinstance(op, Func):
            names = {id(a): a.hint or f"arg{i}" for i, a in enumerate(op.body.args)}
            given = ", ".join(f"{names[id(a)]}: {a.type}" for a in op.body.args)
            out.append("\n".join([f"function {op.symbol}({given}):", *_steps(op.body, names, "    ")]))
    return out


def _steps(region: Region, names: dict[int, str], indent: str) -> list[str]:
    lines = []
    for op in region.ops:
        text = _expression(op, names)
        if isinstance(op, FieldOf | Const | Pack):  # read where they are used
            names[id(op.results[0])] = text
            continue
        for value in op.results:
            names[id(value)] = _fresh(value.hint or "v", names)
        made = ", ".join(names[id(v)] for v in op.results)
        lines.append(indent + (f"{made} = {text}" if made else text))
        for inner in op.regions:
            for arg in inner.args:
                names[id(arg)] = _fresh(arg.hint or "item", names)
            lines += [indent + "  {", *_steps(inner, names, indent + "    "), indent + "  }"]
    return lines


def _fresh(hint: str, names: dict[int, str]) -> str:
    taken = set(names.values())
    return next(n for n in (hint, *(f"{hint}{i}" for i in range(2, len(taken) + 3))) if n not in taken)


def _expression(op: Op, names: dict[int, str]) -> str:
    def said(values: Iterable[Value]) -> str:
        return ", ".join(names.get(id(v), "?") for v in values)

    match op:
        case Const():
            return repr(thaw(op.value))
        case FieldOf():
            return f"{said([op.record])}.{op.field}"
        case Pack():
            return "{" + ", ".join(f"{n}: {said([v])}" for n, v in zip(op.names, op.values, strict=True)) + "}"
        case Predict():
            return f"{op.predictor.name}({said(op.inputs)})"
        case Call():
            return f"{op.callee.name}({said(op.args)})"
        case Retrieve():
            return f"search {op.retriever.name}({said([op.query])})"
        case Tool():
            return f"tool {op.tool.name}({said(op.args)})"
        case Apply():
            return f"{op.fn}({said(op.args)})"
        case Return():
            return f"return {said(op.operands)}"
    return f"{type(op).__name__.lower()} {said(op.operands)}".rstrip()
