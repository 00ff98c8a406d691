"""What calls are given: inputs held against a signature, and demos as the IR has them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lampc.frontend.python.example import Example
from lampc.frontend.python.values.plain import plain
from lampc.ir import Demo, DemoSet, freeze
from lampc.ir import Signature as IRSignature
from lampc.ir.adapters.schema import is_history
from lampc.ir.settings import settings

logger = logging.getLogger(__name__)


def demo_set(demos: Any) -> DemoSet:
    """Examples, dicts or demos as the IR has them."""
    if isinstance(demos, DemoSet):
        return demos
    out = []
    for d in demos:
        values = d.toDict() if isinstance(d, Example) else dict(d)
        augmented = bool(values.pop("augmented", False))
        kept = {k: plain(v) for k, v in values.items() if not k.startswith("dspy_")}
        out.append(Demo(freeze(kept), augmented))
    return DemoSet(tuple(out))


def check_inputs(signature: IRSignature, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs in the order of the signature; what may be null and is not given is null, a conversation that is not
    given is the one of the settings, or none.

    What the signature does not have is left out, with a warning in the log: rows carry more columns than are asked
    for. Raises TypeError, naming what is missing.
    """
    names = [f.name for f in signature.inputs]
    for f in signature.inputs:
        if f.name not in given and is_history(f):
            talk = settings.get("conversation")
            given = {**given, f.name: plain(talk) if talk is not None else {"messages": []}}
    missing = [f.name for f in signature.inputs if f.name not in given and not f.optional()]
    extra = [n for n in given if n not in names]
    if missing:
        raise TypeError(input_trouble(name, names, missing, extra))
    if extra:
        logger.warning("%s", input_trouble(name, names, [], extra))
    return {f.name: given[f.name] if f.name in given else f.absent() for f in signature.inputs}


def as_given(signature: IRSignature, given: Mapping[str, Any]) -> IRSignature:
    """The signature of a call: inputs that may be null and are not given have no place in the message."""
    if all(f.name in given or f.default or is_history(f) for f in signature.inputs):
        return signature
    told = (replace(f, given=f.name in given or bool(f.default) or is_history(f)) for f in signature.inputs)
    return replace(signature, inputs=tuple(told))


def input_trouble(name: str, names: list[str], missing: list[str], extra: list[str]) -> str:
    """What is wrong with the inputs of a call, in one line."""
    parts = []
    if missing:
        parts.append(f"lacks {', '.join(f'`{n}`' for n in missing)}")
    if extra:
        parts.append(f"does not take {', '.join(f'`{n}`' for n in extra)}")
    return f"`{name}` {' and '.join(parts)}; its inputs are {', '.join(names)}"
