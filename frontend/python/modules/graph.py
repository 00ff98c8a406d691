"""What the graphs of library modules are written with: plain functions here, ops where they are traced.

A module with a `_graph` method is traced by it instead of by `forward`; `lampc.frontend.python.lowered` says which ops
these functions become.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lampc.frontend.python.modules.observe import observation
from lampc.ir.builtins import apply


def numbered(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Fields of records in one record, numbered."""
    made: dict[str, Any] = apply("numbered", [records])
    return made


def shown(record: Mapping[str, Any], layout: str) -> str:
    """Fields of a record as a layout shows them to a model."""
    return str(apply("blocks", [record, layout]))


def act(tools: Mapping[str, Any], name: str, args: Mapping[str, Any]) -> Any:
    """What a tool returned, or the text of what it raised."""
    return observation(tools[name], args)


def attempt(module: Any, inputs: Mapping[str, Any], reward: Callable[..., Any], threshold: Any) -> dict[str, Any]:
    """One attempt of a module, drawn at temperature 1: `prediction`, `reward`, `reached` and `error`, null if it
    failed, or the message."""
    from lampc.frontend.python.modules.best_of_n import attempt_sampling
    from lampc.ir.settings import settings

    try:
        with settings.context(sampling=attempt_sampling(0)):
            made = module(**inputs)
        value = reward(dict(inputs), made)
    except Exception as e:
        return {"prediction": None, "reward": None, "reached": None, "error": str(e)}
    return {"prediction": made, "reward": value, "reached": value >= threshold, "error": None}


def best_of(rewards: Sequence[Any], threshold: Any) -> int:
    """Index of the first reward that reaches the threshold, else of the highest."""
    return int(apply("best", [rewards, threshold]))


def column(records: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    """One field of each record."""
    return [r[name] for r in records]
