"""The `.lmp` language: parser, checker, lowering to IR, formatter, and the way back from IR to source.

`compile_lmp(text, path)` gives a `Unit`; `emit_lmp(unit)` writes any unit as source; `format_lmp` lays out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lampc.frontend.lmp import codes as _codes  # noqa: F401  (registers the explanations of L01 to L06)

if TYPE_CHECKING:
    from lampc.frontend.lmp.compile import compile_lmp
    from lampc.frontend.lmp.emit import NotSayable, emit_lmp
    from lampc.frontend.lmp.format import format_lmp

_HOMES = {"NotSayable": "emit", "compile_lmp": "compile", "emit_lmp": "emit", "format_lmp": "format"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"lampc.frontend.lmp.{_HOMES[name]}"), name)


__all__ = ["NotSayable", "compile_lmp", "emit_lmp", "format_lmp"]
