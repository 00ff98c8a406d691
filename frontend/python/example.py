"""Rows of data and what programs give back: `Example`, `Prediction`, `Completions`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self


class Example:
    """A row: values by name, with attribute access. `with_inputs` says which names are inputs.

    `Example(question="...", answer="...").with_inputs("question")`
    """

    _store: dict[str, Any]
    _input_keys: frozenset[str] | None

    def __init__(self, base: Example | Mapping[str, Any] | None = None, **values: Any) -> None:
        keys: frozenset[str] | None = None
        store: dict[str, Any] = {}
        if isinstance(base, Example):
            store, keys = dict(base._store), base._input_keys
        elif base is not None:
            store = dict(base)
        store.update(values)
        object.__setattr__(self, "_store", store)
        object.__setattr__(self, "_input_keys", keys)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._store[name]
        except KeyError:
            raise AttributeError(f"there is no `{name}`; there are {', '.join(self._store) or 'no values'}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self._store[name] = value

    def __getitem__(self, name: str) -> Any:
        return self._store[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._store[name] = value

    def __delitem__(self, name: str) -> None:
        del self._store[name]

    def __contains__(self, name: object) -> bool:
        return name in self._store

    def __len__(self) -> int:
        return len(self._store)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Example) and self._store == other._store

    def __hash__(self) -> int:
        return hash(repr(sorted(self._store.items(), key=lambda kv: kv[0])))

    def __repr__(self) -> str:
        keys = f" (inputs: {', '.join(sorted(self._input_keys))})" if self._input_keys is not None else ""
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._store.items())}){keys}"

    def keys(self) -> list[str]:
        return list(self._store)

    def values(self) -> list[Any]:
        return list(self._store.values())

    def items(self) -> list[tuple[str, Any]]:
        return list(self._store.items())

    def get(self, name: str, default: Any = None) -> Any:
        return self._store.get(name, default)

    def with_inputs(self, *keys: str) -> Self:
        """A copy in which exactly these names are inputs."""
        made = self.copy()
        object.__setattr__(made, "_input_keys", frozenset(keys))
        return made

    def inputs(self) -> Self:
        """The inputs only. Raises ValueError if `with_inputs` was never called."""
        if self._input_keys is None:
            raise ValueError("say which names are inputs first: example.with_inputs('question')")
        return self._only(k for k in self._store if k in (self._input_keys or ()))

    def labels(self) -> Self:
        """Everything but the inputs. Raises ValueError as `inputs` does."""
        known = self.inputs()
        return self._only(k for k in self._store if k not in known)

    def without(self, *keys: str) -> Self:
        """A copy without these names."""
        return self._only(k for k in self._store if k not in keys)

    def copy(self, **values: Any) -> Self:
        """A copy, with some values changed."""
        made = self._only(self._store)
        made._store.update(values)
        return made

    def toDict(self) -> dict[str, Any]:
        """A plain dict, nested examples turned into dicts too."""
        return {k: _plain(v) for k, v in self._store.items()}

    def _only(self, keys: Iterable[str]) -> Self:
        made = type(self).__new__(type(self))
        object.__setattr__(made, "_store", {k: self._store[k] for k in keys})
        object.__setattr__(made, "_input_keys", self._input_keys)
        return made


class Completions:
    """Several answers to one call: by index a `Prediction`, by field the list of that field."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = [dict(r) for r in rows]

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, str):
            return [r[key] for r in self._rows]
        return Prediction(self._rows[key])

    def __getattr__(self, name: str) -> list[Any]:
        if name.startswith("_") or not any(name in r for r in self._rows):
            raise AttributeError(name)
        return [r[name] for r in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def items(self) -> list[tuple[str, list[Any]]]:
        return [(k, self[k]) for k in (self._rows[0] if self._rows else {})]


class Prediction(Example):
    """What a predictor or program gives: outputs by name. Compares and adds by its `score`, if it has one."""

    _completions: Completions | None = None

    @classmethod
    def from_completions(cls, completions: Any, signature: Any = None) -> Prediction:
        """Out of a list of records, or of a dict of lists; the first is what attributes give."""
        if isinstance(completions, Mapping):
            names = list(completions)
            columns = zip(*completions.values(), strict=True)
            completions = [dict(zip(names, row, strict=True)) for row in columns]
        rows = [dict(c) for c in completions]
        made = cls(rows[0] if rows else {})
        object.__setattr__(made, "_completions", Completions(rows))
        return made

    @property
    def completions(self) -> Completions:
        return self._completions or Completions([self._store])

    def __float__(self) -> float:
        if "score" not in self._store:
            raise ValueError("this prediction has no `score` to compare or add by")
        return float(self._store["score"])

    def __add__(self, other: Any) -> float:
        return float(self) + float(other)

    __radd__ = __add__

    def __truediv__(self, other: Any) -> float:
        return float(self) / float(other)

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    def __le__(self, other: Any) -> bool:
        return float(self) <= float(other)

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other)

    def __ge__(self, other: Any) -> bool:
        return float(self) >= float(other)


def _plain(value: Any) -> Any:
    if isinstance(value, Example):
        return value.toDict()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value
