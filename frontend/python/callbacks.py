"""Callbacks around modules, under DSPy's names: what starts and what ends, with who called whom.

An instance's own callbacks and those of `lampc.configure(callbacks=[...])` are told. One that raises is logged and
changes nothing.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lampc.ir.settings import settings

logger = logging.getLogger(__name__)

ACTIVE_CALL_ID: ContextVar[str | None] = ContextVar("lampc_active_call_id", default=None)
"""The call that is under way here: inside `on_..._start` it is still the caller's."""

KINDS = (
    "module", "lm", "adapter_format", "adapter_parse", "tool", "evaluate", "compile",
    "interpreter_execute", "interpreter_tool_call", "interpreter_startup", "interpreter_shutdown",
)  # fmt: skip
"""What can be told of: `on_<kind>_start(call_id, instance, inputs)`, `on_<kind>_end(call_id, outputs, exception)`."""


INSIDE = ("module", "adapter_format", "adapter_parse", "tool")
"""The kinds that only plain Python tells of, as a graph has none of them."""


class BaseCallback:
    """Base of callbacks: override `on_module_start`, `on_module_end` and so on, for each of `KINDS`.

    A handler that is not there is not called; the arguments are named in `KINDS`.
    """


class Told:
    """What a block came to, for the end handlers."""

    outputs: Any = None


def active(instance: Any) -> tuple[Any, ...]:
    """The callbacks that are told of a call of `instance`: the configured ones, then its own."""
    return (*settings.callbacks, *(getattr(instance, "callbacks", None) or ()))


def heard_inside(program: Any) -> bool:
    """Whether anybody is told of what happens inside of a program besides the calls of models."""
    modules = program.named_sub_modules() if hasattr(program, "named_sub_modules") else ()
    owners = [settings.adapter, *(m for _, m in modules)]
    told = [*settings.callbacks, *(c for o in owners for c in getattr(o, "callbacks", None) or ())]
    return any(hasattr(c, f"on_{kind}_{end}") for c in told for kind in INSIDE for end in ("start", "end"))


@contextmanager
def telling(kind: str, instance: Any, inputs: Mapping[str, Any], callbacks: tuple[Any, ...]) -> Iterator[Told]:
    """Tell `callbacks` of the start of a call and, whatever becomes of it, of its end."""
    call_id, told, failed = uuid.uuid4().hex, Told(), None
    for c in callbacks:
        _tell(c, f"on_{kind}_start", call_id=call_id, instance=instance, inputs=dict(inputs))
    token = ACTIVE_CALL_ID.set(call_id)
    try:
        yield told
    except BaseException as e:
        failed = e
        raise
    finally:
        ACTIVE_CALL_ID.reset(token)
        for c in callbacks:
            _tell(c, f"on_{kind}_end", call_id=call_id, outputs=told.outputs, exception=failed)


def begin(
    kind: str, instance: Any, inputs: Mapping[str, Any], callbacks: tuple[Any, ...]
) -> Callable[[Any, BaseException | None], None]:
    """As `telling`, for calls that do not end where they began: give what it returns the outputs or the error."""
    call_id = uuid.uuid4().hex
    for c in callbacks:
        _tell(c, f"on_{kind}_start", call_id=call_id, instance=instance, inputs=dict(inputs))

    def end(outputs: Any, exception: BaseException | None) -> None:
        for c in callbacks:
            _tell(c, f"on_{kind}_end", call_id=call_id, outputs=outputs, exception=exception)

    return end


def _tell(callback: Any, handler: str, **arguments: Any) -> None:
    function = getattr(callback, handler, None)
    if function is None:
        return
    try:
        function(**arguments)
    except Exception as e:
        logger.warning("callback %s.%s raised %s: %s", type(callback).__name__, handler, type(e).__name__, e)
