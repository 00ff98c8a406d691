"""`@continue(d)`: which earlier call is meant, and whether another can go on from it."""

from __future__ import annotations

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.attributes import bad, words
from lampc.frontend.lmp.body import Body
from lampc.frontend.lmp.program import Predictor
from lampc.frontend.lmp.report import suggest
from lampc.ir import Value
from lampc.ir.adapters.registry import asked_once
from lampc.ir.prog import Call, DefPredictor, If, Loop, Map, Match, Predict

_CARRIED = (
    "it is an input, or a value that a loop or map hands in: go on from an answer that is given by `let` in the same "
    "body"
)


def continued(b: Body, attr: ast.Attribute, target: Predictor) -> Value | None:
    """The answer whose context the call goes on with; None after reporting (L0201, L0409, L0419)."""
    named = words(attr)
    if named is None or len(named) != 1 or "." in named[0][0]:
        bad(b.report, attr)
        return None
    ((name, span),) = named
    binding = b.find(name)
    if binding is None:
        if name in b.hidden:
            help, also = "that part may not have run: call it before", [(b.hidden[name], "it is given here")]
            b.report.error("L0419", f"`{name}` cannot be seen here", span, help=help, also=also)
        else:
            b.report.error("L0201", f"there is no value `{name}`", span, help=suggest(name, b.visible()))
        return None
    binding.used = True
    if binding.value is None:
        return None
    made = binding.value.defining_op() if isinstance(binding.value, Value) else None
    if not isinstance(made, Predict):
        carried = made is None and isinstance(binding.value, Value)
        help = _CARRIED if carried else _why(made)
        b.report.error("L0419", f"`{name}` is no answer that a call can go on from", span, help=help)
        return None
    ours, theirs = _definition(b, target.symbol), _definition(b, made.predictor.name)
    if ours is not None and theirs is not None and ours.model != theirs.model:
        help = f"`{name}` came from `{theirs.model.name}`, this call asks `{ours.model.name}`"
        b.report.error("L0419", "only the model that wrote an answer can go on from it", span, help=help)
        return None
    if ours is not None and theirs is not None and (ours.cascade or theirs.cascade):
        b.report.error("L0419", "two models may answer a call with a cascade: nothing goes on from it", span)
        return None
    for predictor in (theirs, ours):
        if predictor is not None and (why := _asks_twice(predictor)):
            help = "choose another layout for both: `@layout(chat)`"
            b.report.error("L0419", f"nothing goes on where `{predictor.symbol}` is asked: {why}", span, help=help)
            return None
    return made.result


def _asks_twice(predictor: DefPredictor) -> str:
    try:
        asked_once(predictor.layout)
    except ValueError as e:
        return str(e)
    return ""


def _definition(b: Body, symbol: str) -> DefPredictor | None:
    found = (d for d in b.program.definitions if isinstance(d, DefPredictor) and d.symbol == symbol)
    return next(found, None)


def _why(made: object) -> str:
    if isinstance(made, Map):
        return "it is a list of answers: make both calls within a `map`"
    if isinstance(made, If | Match):
        return "it is the answer of one of several calls: go on within the branch that makes it"
    if isinstance(made, Call):
        return "it is what another module gives: go on within that module"
    if isinstance(made, Loop):
        return (
            "it was made in the body of a loop, which may run several times: go on from it within that body, and carry "
            "out by `next` what comes of it"
        )
    return "write `let d = ask(...);`, then `@continue(d)` behind a later call"
