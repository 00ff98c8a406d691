"""Which class of models a saved state names; to import one of the user's own is to run code."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lampc.runtime.lm import BaseLM

CLASS, DSPY_LM = "_dspy_lm_class", "dspy.clients.lm.LM"
"""The entry of a saved state that names the model's class, and what DSPy calls the one that is `LM` here."""
ADDRESSES = ("api_base", "base_url", "model_list")


def saved_class(name: str, own: type[BaseLM], base: type[BaseLM], trusted: bool) -> type[BaseLM]:
    """The class of models, below `base`, that a saved state names. Raises ValueError."""
    if name == f"{own.__module__}.{own.__qualname__}":
        return own
    if not trusted:
        raise ValueError(
            f"the state names the LM class {name}, and to import it runs code; if you trust the file, load it with "
            "allow_unsafe_lm_state=True"
        )
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as e:
        raise ValueError(f"the LM class {name} of a saved state cannot be imported: {e}") from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{name}, which a saved state names, is no subclass of lampc.BaseLM")
    return found
