"""Settings that all layers read: the model, the adapter, callbacks and limits, under DSPy's names.

`configure` sets a value for the whole process, from any thread or task. `context` overrides values inside a
block: for the thread or task that entered it, for tasks made in it, and for threads started in it. What a block
does not override follows `configure` at once, also inside of the block.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

DEFAULTS: dict[str, Any] = {
    "lm": None,
    "adapter": None,
    "rm": None,
    "trace": None,
    "layout": "",  # the adapter, by name, of predictors that name none
    "compat": "",  # whose behaviour is wanted where ours differs by choice: "" or "dspy-3.4"
    "callbacks": (),
    "sampling": {},  # defaults under each predictor's own options
    "history_size": 100,  # calls that each module remembers
    "async_max_workers": 8,
    "send_stream": None,
    "stream_listeners": [],
    "disable_history": False,
    "track_usage": False,
    "usage_tracker": None,
    "caller_predict": None,
    "caller_modules": None,
    "provide_traceback": False,
    "num_threads": 8,
    "max_errors": 10,
    "allow_tool_async_sync_conversion": False,
    "max_history_size": 10000,
    "max_trace_size": 10000,
    "warn_on_type_mismatch": True,
    "interpreter_factory": None,
}


class _Scope:
    """The values of one `context` block and of the blocks around it."""

    __slots__ = ("merged", "open", "outer", "values", "version")

    def __init__(self, values: dict[str, Any], outer: _Scope | None) -> None:
        self.values: dict[str, Any] = values if outer is None else {**outer.values, **values}
        self.outer: _Scope | None = outer
        self.open = True
        self.merged, self.version = _values, -1


_scope: ContextVar[_Scope | None] = ContextVar("lampc_settings", default=None)
_values: dict[str, Any] = dict(DEFAULTS)
_version = 0
"""How often `_values` was changed."""
_mutex = threading.Lock()
_noting: list[bool] = []
_MISSING: Any = object()


class Settings:
    """See the module's text. Values are read as attributes, by index or by `get`."""

    def __getattr__(self, name: str) -> Any:
        found = self.view().get(name, _MISSING)
        if found is _MISSING:
            raise AttributeError(f"there is no setting `{name}`; set it with lampc.configure({name}=...)")
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        self.configure(**{name: value})

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __setitem__(self, name: str, value: Any) -> None:
        self.configure(**{name: value})

    def __contains__(self, name: str) -> bool:
        return self.get(name, _MISSING) is not _MISSING

    def get(self, name: str, default: Any = None) -> Any:
        return self.view().get(name, default)

    def view(self) -> Mapping[str, Any]:
        """All values as they are here and now, to be read at once: what is read often asks once."""
        scope = _scope.get()
        if scope is None or not scope.open:
            scope = _current() if _noting else None
        if scope is None:
            return _values
        if scope.version != _version:
            version = _version  # before the values: what changes meanwhile is read next time
            scope.merged = {**_values, **scope.values}
            scope.version = version
        return scope.merged

    def copy(self) -> dict[str, Any]:
        """All values as they are here and now."""
        return dict(self.view())

    @property
    def config(self) -> dict[str, Any]:
        return self.copy()

    def configure(self, **values: Any) -> None:
        """Set values for the whole process."""
        global _version
        with _mutex:
            _values.update(values)
            _version += 1

    @contextlib.contextmanager
    def context(self, **values: Any) -> Iterator[None]:
        """Override values inside of the block."""
        _note_threads()
        scope = _Scope(values, _current())
        token = _scope.set(scope)
        try:
            yield
        finally:
            scope.open = False
            _scope.reset(token)

    def reset(self) -> None:
        """Back to the defaults, for tests."""
        global _version
        with _mutex:
            _values.clear()
            _values.update(DEFAULTS)
            _version += 1

    def __repr__(self) -> str:
        shown = {k: v for k, v in self.copy().items() if v != DEFAULTS.get(k, _MISSING)}
        return f"Settings({', '.join(f'{k}={v!r}' for k, v in shown.items())})"


def _current() -> _Scope | None:
    scope = _scope.get()
    if scope is None and _noting:
        scope = threading.current_thread().__dict__.get("_lampc_scope")
    while scope is not None and not scope.open:  # a thread may live longer than the block it was started in
        scope = scope.outer
    return scope


def _note_threads() -> None:
    """From the first `context` on, each thread remembers the block it was started in.

    Threads begin with an empty context (until Python 3.14 can be told otherwise), so there is no other way for
    a thread that the user starts to see the settings around it. Only an attribute is added to the thread.
    """
    with _mutex:
        if _noting:
            return
        start = threading.Thread.start

        @functools.wraps(start)
        def noted(self: threading.Thread) -> None:
            scope = _current()
            if scope is not None:
                self.__dict__["_lampc_scope"] = scope
            start(self)

        threading.Thread.start = noted  # type: ignore[method-assign]
        _noting.append(True)


settings = Settings()
