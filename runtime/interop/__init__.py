"""Real DSPy programs on our side: their modules lowered, and an engine for `dspy.LM(engine=...)`.

DSPy is never imported here: its objects are recognised by what they are.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.runtime.interop.engine import AsyncDspyEngine, DspyEngine
    from lampc.runtime.interop.modules import from_dspy

_HOMES = {"AsyncDspyEngine": "engine", "DspyEngine": "engine", "from_dspy": "modules"}

__all__ = ["AsyncDspyEngine", "DspyEngine", "from_dspy"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
