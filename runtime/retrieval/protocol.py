"""What every store of passages is to the rest: several queries in, hits out. Others implement `search_many` alone."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Protocol, runtime_checkable

from lampc.ir.lookup import Hit, as_hit, several
from lampc.runtime.host_sources import host_identity

_numbers = itertools.count()


class RetrieverError(Exception):
    """A store or corpus cannot be had or searched; the message names it, and how to mend it."""


@runtime_checkable
class Retriever(Protocol):
    """The protocol of all stores."""

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query at most `k` hits, best first. Raises RetrieverError where none can be had."""
        ...


class NoStore(RetrieverError, AssertionError):
    """A retriever has no store, which is an AssertionError under DSPy."""


class Store:
    """Base of our stores: what follows from `search_many`.

    `identity` changes when the same query may find something else: journals are keyed by it, and so are results that
    are kept. Those of a store that is not `constant` are not: the same query may find something else at any time.
    `lasting` says that results are worth keeping on disk, because finding them costs a request.
    """

    identity: str = ""
    constant: bool = True
    lasting: bool = False

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        raise NotImplementedError(type(self).__name__)

    def search(self, query: str, k: int) -> list[str]:
        """The passages alone."""
        return [h.text for h in self.search_many([query], k)[0]]


class FunctionStore(Store):
    """A function of (query, k) as a store: texts, or records with `long_text` or `text`, as DSPy's retrievers give.

    A function of a module is known by its source to later processes, too; closures and objects are not.
    """

    constant = False

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        if isinstance(function, FunctionType) and function.__closure__ is None:
            self.identity = f"function {host_identity(function)}"
        else:
            self.identity = f"{getattr(function, '__qualname__', type(function).__name__)} {next(_numbers)}"

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [[_read(found) for found in several(self.function(q, k=k))][:k] for q in queries]


class NamedStore(Store):
    """Another's store, with an identity for this process."""

    constant = False

    def __init__(self, inner: Retriever) -> None:
        self.inner = inner
        self.identity = f"{type(inner).__name__} {next(_numbers)}"

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [[_read(h) for h in found] for found in self.inner.search_many(queries, k)]


_made: dict[int, tuple[Any, Store]] = {}
_mutex = threading.Lock()


def as_store(thing: Any) -> Store:
    """Whatever can be searched, as a store, the same one each time: it has `search_many`, or `search(query, k)`, or is
    a function of (query, k). Raises RetrieverError for anything else."""
    if isinstance(thing, Store):
        return thing
    with _mutex:
        known = _made.get(id(thing))
        if known is not None and known[0] is thing:
            return known[1]
        if isinstance(thing, Retriever):
            made: Store = NamedStore(thing)
        elif callable(getattr(thing, "search", None)):
            made = FunctionStore(thing.search)
        elif callable(thing):
            made = FunctionStore(thing)
        else:
            raise RetrieverError(
                f"{type(thing).__name__} is no store: it has neither `search_many(queries, k)` nor `search(query, k)`"
            )
        if len(_made) >= 256:
            _made.clear()
        _made[id(thing)] = thing, made
        return made


def _read(found: Any) -> Hit:
    try:
        return as_hit(found)
    except ValueError as e:
        raise RetrieverError(str(e)) from None
