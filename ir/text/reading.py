"""Reading `.lir`: its parser is loaded when the first text is read, since Lark costs more than the rest of the IR."""

from __future__ import annotations

from lampc.ir.core import Module


def parse_module(text: str, path: str = "<lir>") -> Module:
    """Parse a module. Raises CompileError (L0901 syntax, L0902 unknown name) with the place in `text`."""
    from lampc.ir.text.parser import parse_module as parse

    return parse(text, path)
