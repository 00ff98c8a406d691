"""References to Python functions, and the functions of this process that they stand for."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

from lampc.ir.content import HostRef
from lampc.ir.sources import source_of

_LIVE: dict[str, Callable[..., Any]] = {}


def host_ref(function: Callable[..., Any]) -> HostRef:
    """A reference to `function`, which stays callable by it in this process (also a closure or lambda)."""
    inner = inspect.unwrap(function)
    target = f"{inner.__module__}:{inner.__qualname__}"
    try:
        source = hashlib.blake2b(source_of(inner).encode(), digest_size=8).hexdigest()
    except (OSError, TypeError):
        source = ""
    if is_closure(target) and _LIVE.get(target, function) is not function:
        target = f"{target}#{id(function):x}"  # two closures of one place are two functions
    _LIVE[target] = function
    return HostRef(target, source)


def live(target: str) -> Callable[..., Any] | None:
    """The function of this process that `target` stands for, or None."""
    return _LIVE.get(target)


def is_closure(target: str) -> bool:
    """Whether `target` can only be called in the process that made it."""
    return "<locals>" in target or "<lambda>" in target
