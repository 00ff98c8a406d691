"""Model objects under names, so that a call can say which one it wants: programs and prompts hold names only.

`predictor.lm = LM(...)` gives an object; `model_name` is what the call carries, `named_model` what a session asks.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakValueDictionary

_objects: WeakValueDictionary[str, Any] = WeakValueDictionary()
_mutex = threading.Lock()


def model_name(model: Any) -> str:
    """The name of a model: `main` for None, a text as it is, for an object one that leads back to it.

    An object's name begins with its attribute `model`, which is the model's name at its provider. Raises TypeError
    for an object that has none.
    """
    if model is None:
        return "main"
    if isinstance(model, str):
        return model
    known = getattr(model, "_lampc_name", None)
    if known is not None and _objects.get(known) is model:
        return str(known)
    base = getattr(model, "model", None)
    if not isinstance(base, str):
        raise TypeError(f"a model is an LM or the name of one, not {type(model).__name__}")
    with _mutex:
        known = getattr(model, "_lampc_name", None)
        if known is not None and _objects.get(known) is model:
            return str(known)
        name, n = base, 1
        while name == "main" or _objects.get(name) is not None:
            n += 1
            name = f"{base}#{n}"
        _objects[name] = model
        model._lampc_name = name
    return name


def named_model(name: str) -> Any:
    """The object that `model_name` named so, if it still lives; else None."""
    return _objects.get(name)
