"""`@continue(d)`: which earlier call is meant, and whether another can go on from it."""

from __future__ import annotations

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.attributes import bad, words
from lampc.frontend.lmp.body import Body
from lampc.frontend.lmp.program import Predictor
from lampc.frontend.lmp.report import suggest
from lampc.ir import Value
from lampc.ir.prog import Call, DefPredictor, If, Map, Match, Predict


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
        b.report.error("L0419", f"`{name}` is no answer that a call can go on from", span, help=_why(made))
        return None
    ours, theirs = _definition(b, target.symbol), _definition(b, made.predictor.name)
    if ours is not None and theirs is not None and ours.model != theirs.model:
        help = f"`{name}` came from `{theirs.model.name}`, this call asks `{ours.model.name}`"
        b.report.error("L0419", "only the model that wrote an answer can go on from it", span, help=help)
        return None
    if ours is not None and theirs is not None and (ours.cascade or theirs.cascade):
        b.report.error("L0419", "two models may answer a call with a cascade: nothing goes on from it", span)
        return None
    return made.result


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
    return "write `let d = ask(...);`, then `@continue(d)` behind a later call"
