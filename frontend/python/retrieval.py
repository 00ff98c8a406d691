"""Retrievers in programs: passages of a file, of a store that the session has, or of a store that an object brings."""

from __future__ import annotations

import copy
from typing import Any, Self

from lampc.frontend.python.collect import declared
from lampc.frontend.python.example import Prediction
from lampc.frontend.python.frames import here
from lampc.frontend.python.module import Parameter
from lampc.frontend.python.serials import serials
from lampc.ir.lookup import Hit, Lookup, as_hit, several
from lampc.ir.prog import DefRetriever
from lampc.ir.runner import DefinedRetrieval, LookupRunner, find_runner, runner
from lampc.ir.settings import settings

BOUND = "bound"
"""The kind of retrievers whose store is no part of the program: it is configured, or an object brings it."""


class Retriever(Parameter):
    """Passages by a query. Made by `lampc.retriever(...)`; classes that bring a store of their own derive from it.

    `symbol` is the name by which a traced program knows it; `{symbol}.k` and `{symbol}.store` (the name of another
    store of the session) are parameters that an optimizer may move.
    """

    gives: tuple[str, ...] = ()
    """Fields of the record that a call gives; none: a call gives the list of passages."""

    def __init__(
        self, name: str = "", path: str = "", field: str = "text", k: int = 3, kind: str = "", store: Any = None
    ) -> None:
        self.name, self.path, self.field, self.k = name, path, field, k
        self.kind = kind or ("bm25" if path else BOUND)
        self.store = store
        self.symbol = name
        self.serial = next(serials)
        self.loc = here()
        declared(self)

    def reset(self) -> None:
        """Nothing is learnt."""

    def hits(self, query: str, k: int | None = None) -> list[Hit]:
        """The best passages for `query`, `k` of them (by default the retriever's own number). Raises NoSession."""
        ask = find_runner()
        tuned = getattr(ask, "tuned", None)
        wanted = int(k) if k is not None else int(tuned(f"{self.symbol}.k", self.k) if tuned else self.k)
        if isinstance(ask, LookupRunner):
            name = str(tuned(f"{self.symbol}.store", "") if tuned else "")
            return ask.lookup(Lookup(self.definition(), query, wanted, self.store, name))
        if self.store is not None:
            return self.found(query, wanted)
        if self.kind == BOUND and settings.get("rm") is not None:
            return [as_hit(p) for p in several(settings.get("rm")(query, k=wanted))][:wanted]
        if isinstance(ask, DefinedRetrieval):
            return [Hit(p) for p in ask.retrieve_from(self.definition(), query, wanted)]
        return [Hit(p) for p in runner(f"retriever `{self.name}`").retrieve(self.name, query, wanted)]

    def found(self, query: str, k: int) -> list[Hit]:
        """What the own store finds, where no session is at hand."""
        hits: list[Hit] = self.store.search_many([query], k)[0]
        return hits

    def search(self, query: str, k: int | None = None) -> list[str]:
        """The passages alone."""
        return [h.text for h in self.hits(query, k)]

    def __call__(self, query: str, k: int | None = None) -> Any:
        return self.search(query, k)

    def definition(self, symbol: str = "") -> DefRetriever:
        """The retriever as the IR has it."""
        return DefRetriever.make(
            symbol=symbol or self.symbol or "retriever",
            loc=self.loc,
            kind=self.kind,
            source=self.path,
            field=self.field,
            k=int(self.k),
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy over the same store: a corpus is data, not something that programs change."""
        made = copy.copy(self)
        made.serial = next(serials)
        return made

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.path!r})"


def retriever(name: str, path: str = "", *, field: str = "text", k: int = 3, kind: str = "") -> Retriever:
    """A retriever over the rows of a CSV or JSONL file, of which `field` is searched and returned (BM25).

    Without `path` the program says only that it retrieves: the session has the store, under this name.
    """
    return Retriever(name, path, field, k, kind)


class Retrieve(Parameter):
    """DSPy's module over a retriever: gives a `Prediction` with `passages`.

    It asks `retriever`, or what was configured: `lampc.configure(rm=...)`.
    """

    name = "Search"
    input_variable = "query"
    desc = "takes a search query and returns one or more potentially relevant passages from a corpus"

    def __init__(self, k: int | None = None, callbacks: Any = None, *, retriever: Retriever | None = None) -> None:
        self.retriever = retriever if retriever is not None else Retriever(k=3 if k is None else k)
        self.k = self.retriever.k if k is None else k
        self.callbacks = callbacks or []

    def reset(self) -> None:
        """Nothing is learnt."""

    def dump_state(self) -> dict[str, Any]:
        return {"k": self.k}

    def load_state(self, state: dict[str, Any]) -> None:
        self.k = state["k"]

    @property
    def asked(self) -> int | None:
        """The number of passages to ask for, None if it is the retriever's own, which may be tuned."""
        return None if self.k == self.retriever.k else self.k

    def __call__(self, query: str, k: int | None = None, **_: Any) -> Prediction:
        return self.forward(query, k)

    def forward(self, query: str, k: int | None = None) -> Prediction:
        return Prediction(passages=self.retriever.search(query, self.asked if k is None else k))
