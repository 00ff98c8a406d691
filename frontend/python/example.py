"""Rows of data and what programs give back: `Example`, `Prediction`, `Completions`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from lampc.ir.diag import there_are

_INTERNAL = "dspy_"
"""Names that begin so are kept, but not listed."""


class Example:
    """A row: values by name, with attribute access. `with_inputs` says which names are inputs.

    `Example(question="...", answer="...").with_inputs("question")`
    """

    _store: dict[str, Any]
    _input_keys: set[str] | None

    def __init__(self, base: Any = None, **values: Any) -> None:
        own = self.__dict__
        if isinstance(base, Example):
            own["_store"] = {**base._store, **values}
            own["_input_keys"] = base._kept_inputs()
        else:
            own["_store"] = {**base, **values} if base is not None else values
            own["_input_keys"] = None

    def __getattr__(self, name: str) -> Any:
        if name == "_store" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        store = self._store
        if name in store:
            return store[name]
        there = there_are(store, "no values")
        raise AttributeError(f"`{type(self).__name__}` has no `{name}`; {there}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or hasattr(type(self), name):
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
        return sum(not k.startswith(_INTERNAL) for k in self._store)

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self._store))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Example) and self._store == other._store

    def __hash__(self) -> int:
        try:
            return hash(frozenset(self._store.items()))
        except TypeError:  # a value that cannot be hashed, such as a list: equal rows still have equal names
            return hash(frozenset(self._store))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self.items())}) (input_keys={self._input_keys})"

    def keys(self, include_dspy: bool = False) -> list[str]:
        return [k for k in self._store if include_dspy or not k.startswith(_INTERNAL)]

    def values(self, include_dspy: bool = False) -> list[Any]:
        return [v for k, v in self._store.items() if include_dspy or not k.startswith(_INTERNAL)]

    def items(self, include_dspy: bool = False) -> list[tuple[str, Any]]:
        return [(k, v) for k, v in self._store.items() if include_dspy or not k.startswith(_INTERNAL)]

    def get(self, name: str, default: Any = None) -> Any:
        return self._store.get(name, default)

    def with_inputs(self, *keys: str) -> Self:
        """A copy in which exactly these names are inputs."""
        made = self.copy()
        made.__dict__["_input_keys"] = set(keys)
        return made

    def inputs(self) -> Self:
        """The inputs only. Raises ValueError if `with_inputs` was never called."""
        keys = self._input_keys
        if keys is None:
            raise ValueError("say which names are inputs first: example.with_inputs('question')")
        return self._only((k for k in self._store if k in keys), keys)

    def labels(self) -> Self:
        """Everything but the inputs. Raises ValueError as `inputs` does."""
        known = self.inputs()._store
        return self._only((k for k in self._store if k not in known), None)

    def without(self, *keys: str) -> Self:
        """A copy without these names. Raises KeyError for a name that is not there."""
        missing = [k for k in keys if k not in self._store]
        if missing:
            raise KeyError(f"there is no `{missing[0]}` to leave out; {there_are(self._store, 'no values')}")
        return self._only((k for k in self._store if k not in keys), self._kept_inputs())

    def copy(self, **values: Any) -> Self:
        """A copy, with some values changed."""
        made = self._only(self._store, self._kept_inputs())
        made._store.update(values)
        return made

    def toDict(self) -> dict[str, Any]:
        """A plain dict; examples and pydantic models inside of it, in lists and dicts too, become dicts."""
        return {k: _plain(v) for k, v in self._store.items()}

    def _kept_inputs(self) -> set[str] | None:
        """Names of inputs in a copy: as in DSPy, a row without values forgets them."""
        return None if self._input_keys is None or not len(self) else set(self._input_keys)

    def _only(self, keys: Iterable[str], inputs: set[str] | None) -> Self:
        store = self._store
        made = self._empty()
        made.__dict__["_store"] = {k: store[k] for k in keys}
        made.__dict__["_input_keys"] = None if inputs is None else set(inputs)
        return made

    def _empty(self) -> Self:
        return type(self).__new__(type(self))


class Completions:
    """Several answers to one call: by index a `Prediction`, by field the list of that field.

    Made from a list of records or from a dict of equally long lists. Raises ValueError for other shapes.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] | Mapping[str, list[Any]], signature: Any = None) -> None:
        self.signature = signature
        columns: dict[str, list[Any]] = {}
        if isinstance(rows, Mapping):
            columns = dict(rows)
        else:
            for row in rows:
                for name, value in row.items():
                    columns.setdefault(name, []).append(value)
        if not all(isinstance(v, list) for v in columns.values()):
            raise ValueError("completions are a list of records, or a dict of lists")
        if len({len(v) for v in columns.values()}) > 1:
            sizes = ", ".join(f"{k}: {len(v)}" for k, v in columns.items())
            raise ValueError(f"all completions have the same fields; here are {sizes}")
        self._completions = columns

    @overload
    def __getitem__(self, key: int) -> Prediction: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | str) -> Any:
        if not isinstance(key, int):
            return self._completions[key]
        if not 0 <= key < len(self):
            raise IndexError(f"there are {len(self)} completions, no number {key}")
        return Prediction({k: v[key] for k, v in self._completions.items()})

    def __getattr__(self, name: str) -> list[Any]:
        if name == "_completions" or name not in self._completions:
            raise AttributeError(f"`Completions` has no `{name}`", name=name, obj=self)
        return self._completions[name]

    def __len__(self) -> int:
        return len(next(iter(self._completions.values()), ()))

    def __contains__(self, name: object) -> bool:
        return name in self._completions

    def __repr__(self) -> str:
        return _repr("Completions", self._completions)

    def items(self) -> Iterable[tuple[str, list[Any]]]:
        return self._completions.items()


class Prediction(Example):
    """What a predictor or program gives: outputs by name. Compares and adds by its `score`, if it has one."""

    _completions: Completions | None = None
    _lm_usage: dict[str, Any] | None = None
    _call: Any = None
    """The call that gave it, for one that goes on from there. Pickles and copies have it too, changed copies not."""

    @classmethod
    def from_completions(
        cls, list_or_dict: Iterable[Mapping[str, Any]] | Mapping[str, list[Any]], signature: Any = None
    ) -> Self:
        """Out of a list of records, or of a dict of lists; the first is what attributes give."""
        made = cls.__new__(cls)
        completions = Completions(list_or_dict, signature)
        own = made.__dict__
        own["_store"] = {k: v[0] for k, v in completions._completions.items()}
        own["_input_keys"] = None
        own["_completions"] = completions
        return made

    @property
    def completions(self) -> Completions | None:
        """All answers, if it was made of completions."""
        return self._completions

    def copy(self, **values: Any) -> Self:
        """A copy, with some values changed: then it is no longer what a model wrote."""
        made = super().copy(**values)
        if not values and self._call is not None:
            made._call = self._call
        return made

    def get_lm_usage(self) -> dict[str, Any] | None:
        """Tokens by model, where usage is tracked."""
        return self._lm_usage

    def set_lm_usage(self, value: dict[str, Any] | None) -> None:
        self._lm_usage = value

    def __repr__(self) -> str:
        more = len(self._completions) - 1 if self._completions is not None else 0
        if more <= 0:
            return _repr("Prediction", self._store)
        return _repr("Prediction", self._store, "completions=Completions(...)") + f" ({more} completions omitted)"

    def __float__(self) -> float:
        if "score" not in self._store:
            raise ValueError("this prediction has no `score` to compare or add by")
        return float(self._store["score"])

    def __add__(self, other: Any) -> float:
        return float(self) + float(other) if isinstance(other, _NUMBER) else NotImplemented

    __radd__ = __add__

    def __truediv__(self, other: Any) -> float:
        return float(self) / float(other) if isinstance(other, _NUMBER) else NotImplemented

    def __rtruediv__(self, other: Any) -> float:
        return float(other) / float(self) if isinstance(other, _NUMBER) else NotImplemented

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other) if isinstance(other, _NUMBER) else NotImplemented

    def __le__(self, other: Any) -> bool:
        return float(self) <= float(other) if isinstance(other, _NUMBER) else NotImplemented

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other) if isinstance(other, _NUMBER) else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return float(self) >= float(other) if isinstance(other, _NUMBER) else NotImplemented


_NUMBER = (int, float, Prediction)


def _repr(name: str, values: Mapping[str, Any], *more: str) -> str:
    lines = ",\n    ".join([*(f"{k}={v!r}" for k, v in values.items()), *more])
    return f"{name}(\n    {lines}\n)"


def _plain(value: Any) -> Any:
    if hasattr(value, "toDict"):
        return value.toDict()
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump()
    return value
