"""Model objects under names, so that a call can say which one it wants: programs and prompts hold names only.

`predictor.lm = LM(...)` gives an object; `model_name` is what the call carries, `named_model` what a session asks.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from importlib import import_module
from typing import Any
from weakref import WeakValueDictionary

_objects: WeakValueDictionary[str, Any] = WeakValueDictionary()
_mutex = threading.Lock()
_NUMBERED = re.compile(r".+#[1-9][0-9]*", re.DOTALL)


def model_name(model: Any) -> str:
    """The name of a model: `main` for None, a text as it is, for an object one that leads back to it.

    An object's name is its attribute `model`, which is the model's name at its provider, and a number: `gpt-4#1`.
    Raises TypeError for an object that has none, ValueError for a text that is the name of an object.
    """
    if model is None:
        return "main"
    if isinstance(model, str):
        if _NUMBERED.fullmatch(model) and _objects.get(model) is not None:
            raise ValueError(f"{model!r} is how the program calls one of its LM objects: give the object, not its name")
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
        n = 1
        while _objects.get(name := f"{base}#{n}") is not None:
            n += 1
        _objects[name] = model
        model._lampc_name = name
    return name


def named_model(name: str) -> Any:
    """The object that `model_name` named so, if it still lives; else None."""
    return _objects.get(name)


def provider_name(name: str) -> str:
    """What a model is called at its provider: the name of an object without its number, another name as it is.

    A program that was saved elsewhere names objects that do not live here.
    """
    return name.rpartition("#")[0] if _NUMBERED.fullmatch(name) else name


def saved_model(state: Any, trusted: bool = False) -> Any:
    """The model of a saved state: None, a name as it is, or an LM of what it dumped.

    Raises ValueError for a state of another form, and, unless the file is `trusted`, for an address or a class in it.
    """
    if not state:
        return None
    address = state.get("model") if isinstance(state, Mapping) else state
    if not isinstance(address, str) or not address:
        raise ValueError(f"a saved model is an object with the text `model`, or a name, not {state!r:.80}")
    if not trusted and address.startswith(("http://", "https://", "litellm:")):
        raise ValueError(
            f"the state lets calls go to {address}; if you trust the file, load it with allow_unsafe_lm_state=True"
        )
    if isinstance(state, str):
        return state
    home = import_module("lampc.runtime.lm")  # by name: only who loads a model needs the runtime
    return home.LM.load_state(state, allow_unsafe_lm_state=trusted)
