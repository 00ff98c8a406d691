"""Python programs: DSPy-style signatures and modules, `@lampc.program` functions, and their way into IR.

`trace(program)` gives the Unit of a live object, `load_python(path)` that of a file. What users write is
re-exported by `lampc` itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lampc.frontend.python import codes as _codes  # noqa: F401  (registers the explanations of L07)

if TYPE_CHECKING:
    from lampc.frontend.python.load import load_python
    from lampc.frontend.python.tracing import trace

_HOMES = {"load_python": "load", "trace": "tracing"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"lampc.frontend.python.{_HOMES[name]}"), name)


__all__ = ["load_python", "trace"]
