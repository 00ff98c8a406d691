"""Programs that somebody listens to inside: their rows run as plain Python, which tells of every module."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lampc.frontend.python.callbacks import heard_inside
from lampc.frontend.python.tracing import host_entry
from lampc.ir import Diagnostic, Unit


def heard(unit: Unit, program: Any) -> Unit:
    """The unit to run: a graph has no modules to tell of, so with callbacks for these it is not run as one. Calls are
    batched and drawn all the same."""
    if unit.dynamic is not None or not heard_inside(program):
        return unit
    why = Diagnostic("L0713", f"callbacks are told of the modules of `{unit.entry}`", severity="note")
    return replace(unit, dynamic=why, host_entry=host_entry(program))
