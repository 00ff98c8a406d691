"""Tools as agents call them: arguments by name, checked and cast as the tool declares; errors are results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.runtime.failures import RowFailure
from lampc.runtime.hosts import HostError, plain, resolve

if TYPE_CHECKING:
    from lampc.frontend.python.tools.tool import Tool
    from lampc.ir.prog import DefTool


def observe_host(definition: DefTool, args: Mapping[str, Any], base: Path) -> Any:
    """What the tool returned, or the text of what it raised. Raises RowFailure if there is no such function."""
    from lampc.frontend.python.modules.observe import observation

    try:
        function = resolve(definition.ref.target, base)
    except HostError as e:
        raise RowFailure(str(e), kind="host") from None
    return plain(observation(_tool(function, definition.symbol), args))


@functools.lru_cache(maxsize=256)
def _tool(function: Callable[..., Any], name: str) -> Tool:
    from lampc.frontend.python.tools.tool import Tool

    return Tool(function, name)
