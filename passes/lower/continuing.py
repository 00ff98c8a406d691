"""Calls that go on where earlier ones ended (`prog.continue`): which do, and what keeps them from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lampc.ir.adapters.registry import asked_once
from lampc.ir.core import Module, Op
from lampc.ir.diag import Diagnostic, Label, explain
from lampc.ir.prog import Continue, DefPredictor, Predict

explain(
    {
        "L0933": "a call cannot go on where another ended\nThe model that has the context of an earlier call goes on "
        "from it: both calls ask the same model, without a cascade, in layouts that ask once.",
    }
)


def in_conversation(op: Op) -> bool:
    """Whether a call goes on from another one's context, or another one from its."""
    return isinstance(op, Continue) or any(isinstance(u, Continue) and u.after is op.result for u in op.result.users)


def conversing(module: Module) -> set[str]:
    """Predictors of such calls: one of them alone cannot ask another model, and their prompts are not all there is."""
    return {op.predictor.name for op in module.walk() if isinstance(op, Predict) and in_conversation(op)}


def apart(op: Predict, module: Module, layouts: Mapping[str, str]) -> Diagnostic | None:
    """Why a call cannot go on from the one that it names."""
    before = op.after.defining_op() if isinstance(op, Continue) else None
    if not isinstance(before, Predict):
        return None
    names = before.predictor.name, op.predictor.name
    first, second = map(module.lookup, names)
    if not (isinstance(first, DefPredictor) and isinstance(second, DefPredictor)):
        return None
    if first.model != second.model:
        return finding(op, f"`{names[0]}` asks `@{first.model.name}`, and `{names[1]}` asks `@{second.model.name}`")
    if two := next((d.symbol for d in (first, second) if d.cascade is not None), ""):
        return finding(op, f"two models may answer `{two}`, which has a cascade")
    for name in names:
        try:
            asked_once(layouts[name])
        except ValueError as e:
            return finding(op, f"`{name}`: {e}")
    return None


def joined(module: Module, same: Callable[[str, str], bool]) -> Module:
    """The module, or a copy in which calls that go on from each other name their model alike, where two names are of
    the `same` one."""
    out = module
    for op in module.walk():
        before = op.after.defining_op() if isinstance(op, Continue) else None
        if not (isinstance(op, Continue) and isinstance(before, Predict)):
            continue
        first, second = out.lookup(before.predictor.name), out.lookup(op.predictor.name)
        if not (isinstance(first, DefPredictor) and isinstance(second, DefPredictor)):
            continue
        if first.model != second.model and same(first.model.name, second.model.name):
            out = module.clone() if out is module else out
            renamed = out.lookup(second.symbol)
            assert isinstance(renamed, DefPredictor)
            renamed.model = first.model
    return out


def parted(module: Module) -> list[Diagnostic]:
    """What keeps calls of a program, with the layouts that it says, from going on from those that they name."""
    layouts = {op.symbol: op.layout for op in module.body.ops if isinstance(op, DefPredictor)}
    calls = (op for op in module.walk() if isinstance(op, Continue) and op.predictor.name in layouts)
    return [d for op in calls if (d := apart(op, module, layouts))]


def parts(module: Module, parameter: str, value: Any) -> str:
    """Why a choice for one predictor parts its calls from those that they go on from; "" if it does not."""
    symbol, _, part = parameter.rpartition(".")
    op = module.lookup(symbol) if part in ("layout", "model") and symbol in conversing(module) else None
    if not isinstance(op, DefPredictor) or value == (op.layout if part == "layout" else op.model.name):
        return ""
    if part == "model":
        return f"`{parameter}` cannot be `{value}`: calls that go on from each other ask the same model"
    try:
        asked_once(str(value))
    except ValueError as e:
        return f"`{parameter}` cannot be `{value}`: calls go on from each other there, and {e}"
    return ""


def finding(op: Op, why: str) -> Diagnostic:
    span = op.loc.origin()
    return Diagnostic("L0933", f"a call cannot go on where another ended: {why}", Label(span) if span else None)
