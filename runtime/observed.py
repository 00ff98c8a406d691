"""Tools as agents call them: arguments by name, checked and cast as the tool declares; errors are results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.runtime.hosts import plain, resolved, tool_of

if TYPE_CHECKING:
    from lampc.ir.prog import DefTool


def observe_host(definition: DefTool, args: Mapping[str, Any], base: Path) -> Any:
    """What the tool returned, or the text of what it raised. Raises RowFailure if there is no such function."""
    from lampc.frontend.python.modules.observe import observation

    return plain(observation(tool_of(resolved(definition.ref, base), definition.symbol), args))
