"""Modules of a package as its attributes, imported when first asked for: `lampc.utils.callback` without an import."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def modules_of(package: str) -> Callable[[str], Any]:
    """A `__getattr__` for the package."""

    def find(name: str) -> Any:
        if name.startswith("_") or find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"{package} has no `{name}`")
        return import_module(f"{package}.{name}")

    return find
