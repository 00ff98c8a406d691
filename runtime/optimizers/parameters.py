"""Parameters of a candidate put into a module: of its predictors, of its retrievers, and values that it tunes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from lampc.frontend.python.declare import Tune
from lampc.frontend.python.example import Example
from lampc.frontend.python.module import Module, members, predictor_symbols, put
from lampc.frontend.python.retrieval import Retrieve, Retriever
from lampc.ir import DemoSet, thaw
from lampc.ir.modelnames import named_model
from lampc.passes.schedule.fuse_calls import FUSED


def changed(
    made: Module,
    parameter: str,
    value: Any,
    demos: Any = None,
) -> None:
    """Set one parameter, by its name in candidates; `demos(set, predictor)` gives demos as a predictor holds them.

    A retriever takes another store of the session by its name. Raises OptimizeError for a parameter that the module
    does not hold: a value tuned or a retriever kept outside of it is no part of what is copied and saved.
    """
    if parameter == FUSED:
        made._fused = value
        return
    symbol, _, name = parameter.rpartition(".")
    predictor = dict(predictor_symbols(made)).get(symbol)
    if predictor is not None and _of_predictor(predictor, name, value, demos):
        return
    for owner, path, held in _held(made):
        if isinstance(held, Tune) and held.name == parameter:
            own = copy.copy(held)
            own.default = thaw(value)
            put(owner, path, own)
            return
        found = held.retriever if isinstance(held, Retrieve) else held
        if isinstance(found, Retriever) and found.symbol == symbol and name in ("k", "store"):
            own_retriever = copy.copy(found)
            if name == "k":
                own_retriever.k = int(value)
            elif value:
                own_retriever.name = own_retriever.symbol = str(value)
            if isinstance(held, Retrieve):
                held = copy.copy(held)
                held.retriever, held.k = own_retriever, own_retriever.k
                put(owner, path, held)
            else:
                put(owner, path, own_retriever)
            return
    from lampc.passes.optimize import OptimizeError

    raise OptimizeError(
        f"`{parameter}` is no parameter that this module holds; it has predictors "
        f"{', '.join(n for n, _ in predictor_symbols(made))}. Retrievers and tuned values are its own if they are its "
        "attributes"
    )


def _of_predictor(predictor: Any, name: str, value: Any, demos: Any) -> bool:
    match name:
        case "instruction":
            predictor.signature = predictor.signature.with_instructions(value)
        case "demos":
            assert isinstance(value, DemoSet)
            predictor.demos = (
                [Example(thaw(d.values)) for d in value.items] if demos is None else demos(value, predictor)
            )
        case "layout":
            predictor.layout = value
        case "model":
            predictor.lm = None if value == "main" else named_model(str(value)) or value
        case "cascade":
            predictor.cascade = value
            predictor.proxy = None if value is None else named_model(value.proxy)
        case _:
            return False
    return True


def _held(module: Module) -> Sequence[tuple[Module, str, Any]]:
    """(part, name there, value) of all attributes of a module and its parts."""
    return [(part, name, value) for _, part in module.named_sub_modules() for name, value in members(part)]
