"""Calling the user's Python: host references resolved to functions, once. Code that models write goes elsewhere: to
the sandbox, which every program that runs here finds."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import math
import pickle
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.tools.interpreter import provide_interpreter
from lampc.frontend.python.values.plain import fitted, known_plain
from lampc.ir import HostRef
from lampc.ir.hostvalues import completed
from lampc.ir.types import Type, mismatch
from lampc.runtime.failures import RowFailure
from lampc.runtime.sandbox.monty import PythonInterpreter

if TYPE_CHECKING:
    from lampc.frontend.python.tools.tool import Tool

provide_interpreter(PythonInterpreter)


class HostError(Exception):
    """A host reference that names nothing callable; the message says what was looked for."""


def call_host(ref: HostRef, args: Sequence[Any], kwargs: dict[str, Any], returns: Type, base: Path) -> Any:
    """Call the function; its result must be of type `returns`. Raises RowFailure."""
    function = resolved(ref, base)
    return _returned(ref, functools.partial(function, *args, **kwargs), returns)


def call_tool(ref: HostRef, name: str, args: Sequence[Any], returns: Type, base: Path) -> Any:
    """The same for a tool, which checks and casts its arguments as it does outside of graphs. Raises RowFailure."""
    tool = tool_of(resolved(ref, base), name)
    return _returned(ref, lambda: tool.run(tool.by_name(args, {})), returns)


def resolved(ref: HostRef, base: Path) -> Callable[..., Any]:
    """The function. Raises RowFailure."""
    try:
        return resolve(ref.target, base)
    except HostError as e:
        raise RowFailure(str(e), kind="host") from None


@functools.lru_cache(maxsize=256)
def tool_of(function: Callable[..., Any], name: str) -> Tool:
    """The tool that a function is, or is made."""
    from lampc.frontend.python.tools.tool import Tool

    return function if isinstance(function, Tool) else Tool(function, name)


def _returned(ref: HostRef, call: Callable[[], Any], returns: Type) -> Any:
    try:
        value = completed(plain(fitted(call(), returns)), returns)
    except Exception as e:
        raise RowFailure(f"{ref.target}: {type(e).__name__}: {e}", kind="host") from e
    why = mismatch(value, returns)
    if why:
        raise RowFailure(f"{ref.target} returned a value of the wrong type: {why}", kind="host")
    return value


plain = known_plain
"""Values of Python as JSON, as programs hold them; what has no JSON stays as it is."""


def described(value: Any) -> Any:
    """A value as JSON; an object that has none is a text that says which one it is: equal for objects of equal content
    that can be pickled, otherwise this object's alone, in this process."""
    found = plain(value)
    if isinstance(found, dict):
        return {str(k): described(v) for k, v in found.items()}
    if isinstance(found, list):
        return [described(v) for v in found]
    if isinstance(found, float) and not math.isfinite(found):
        return str(found)
    if isinstance(found, str | int | float | None):
        return found
    try:
        content = pickle.dumps(found)  # only ever written
    except Exception:  # whatever its class raises
        content = _own(found).encode()
    return f"<{type(found).__qualname__} {hashlib.blake2b(content, digest_size=8).hexdigest()}>"


def _own(value: Any) -> str:
    """The name of an object in this process, which holds it from now on: no other one gets its address."""
    name, _ = _NAMED.setdefault(id(value), (uuid.uuid4().hex, value))
    return name


_NAMED: dict[int, tuple[str, Any]] = {}


def resolve(target: str, base: Path) -> Callable[..., Any]:
    """The function that `module:qualname` names; modules are also looked for beside the source (`base`).

    Raises HostError.
    """
    from lampc.ir.hostref import live

    found = live(target)
    return found if found is not None else _import(target, str(base))


@functools.cache
def _import(target: str, base: str) -> Callable[..., Any]:
    name, _, qualname = target.partition(":")
    if not qualname:
        raise HostError(f"`{target}` is not of the form module:function")
    if "<locals>" in qualname:
        raise HostError(f"`{target}` is a closure: it runs only in the process that made it")
    module = _module(name, Path(base))
    value: Any = module
    for part in qualname.split("."):
        value = getattr(value, part, None)
    if not callable(value):
        raise HostError(f"`{name}` has no function `{qualname}`")
    found: Callable[..., Any] = value
    return found


def _module(name: str, base: Path) -> Any:
    if name in sys.modules:
        return sys.modules[name]
    file = base / (name.replace(".", "/") + ".py")
    if file.is_file():
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as e:
            del sys.modules[name]
            raise HostError(f"{file} cannot be loaded: {type(e).__name__}: {e}") from e
        return module
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise HostError(f"there is no module `{name}` (looked beside {base} too): {e}") from None


def majority(items: Sequence[Any]) -> Any:
    """The most frequent item; the earliest of those that tie. Raises RowFailure for no items."""
    if not items:
        raise RowFailure("a vote needs at least one item")
    texts = [repr(i) for i in items]
    counts = Counter(texts)
    return items[max(range(len(items)), key=lambda i: (counts[texts[i]], -i))]
