"""Checked reading of `config.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lampc.backend.errors import CheckpointError, Unsupported


class Fields:
    """The entries of a config, or of a section of it. An entry that is null counts as absent.

    Every method raises CheckpointError, naming file and entry, if the value is not of the kind asked for.
    """

    def __init__(self, values: Mapping[str, Any], path: Path, section: str = "") -> None:
        self.values = values
        self.path = path
        self._section = section

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def count(self, name: str, default: int | None = None, most: int | None = None) -> int:
        """A positive integer, at most `most`; required if there is no default."""
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(name, "a positive integer")
        if most is not None and value > most:
            raise self.wrong(name, f"at most {most}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number; required if there is no default."""
        value = self._get(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise self.wrong(name, "a positive number")
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        """A list of this many positive numbers."""
        value = self._get(name, None)
        if not isinstance(value, list) or len(value) != count:
            raise self.wrong(name, f"a list of {count} numbers")
        return [Fields({name: x}, self.path, self._section).number(name) for x in value]

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def section(self, name: str) -> "Fields":
        """An object within, empty if absent."""
        value = self._get(name, {})
        if not isinstance(value, Mapping):
            raise self.wrong(name, "an object")
        return Fields(value, self.path, f"{self._section}{name}.")

    def only(self, name: str, *supported: object) -> None:
        """Raises Unsupported unless the entry is absent or has one of these values."""
        value = self.values.get(name)
        if value is not None and value not in supported:
            allowed = " or ".join(repr(x) for x in supported) or "no such entry"
            raise Unsupported(f"{self.path}: {self._section}{name} is {value!r}; supported here: {allowed}")

    def wrong(self, name: str, expected: str) -> CheckpointError:
        """The error to raise for an entry's value."""
        return CheckpointError(f"{self.path}: {self._section}{name} is {self.values.get(name)!r}; expected {expected}")

    def _get(self, name: str, default: Any) -> Any:
        value = self.values.get(name)
        return default if value is None else value
