"""The path of a retrieval: which store answers, is the result known, else one search for all that ask at once."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir.lookup import Hit, Lookup
from lampc.ir.prog import DefRetriever
from lampc.ir.settings import settings
from lampc.runtime.failures import RowFailure
from lampc.runtime.retrieval.build import build_retriever
from lampc.runtime.retrieval.combine import Combiner
from lampc.runtime.retrieval.protocol import NoStore, RetrieverError, Store, as_store

if TYPE_CHECKING:
    from lampc.ir import Op
    from lampc.runtime.store import Store as Records

KEPT = 20_000
"""Most results that are kept in memory."""
BOUND = "bound"
"""The kind of retrievers whose store is not in the program: the session has it, or an object brought it."""


def unfound(error: Exception, op: Op | None = None) -> RowFailure:
    """The failure of a row whose lookup raised: of errors that are not ours the class is said, too."""
    why = str(error) if isinstance(error, RetrieverError) else f"retrieval: {type(error).__name__}: {error}"
    failure = RowFailure(why, op, "host")
    failure.__cause__ = error
    return failure


class RetrievalDesk:
    """Answers lookups of one session. `stores` are its own, by the retriever's name: they go before all others.

    Lookups of one store and `k` are one `search_many`; equal ones are searched once. Results are kept in memory, those
    of stores that are `lasting` in `records` too. Any number of threads may ask.
    """

    def __init__(self, records: Records, base: Path, stores: Mapping[str, Any] | None = None) -> None:
        self.records, self.base = records, base
        self.stores = dict(stores or {})
        self.searches = 0
        self._built: dict[tuple[str, str, str], Store] = {}
        self._kept: OrderedDict[str, list[Hit]] = OrderedDict()
        self._mutex = threading.Lock()
        self._combiner: Combiner[Lookup, list[Hit]] = Combiner(self.answer)

    def store(self, definition: DefRetriever, brought: Any = None, name: str = "") -> Store:
        """The store of a retriever; `name` is that of another one of the session's. Raises RetrieverError."""
        if name:
            return self.named(name)
        if definition.symbol in self.stores:
            return as_store(self.stores[definition.symbol])
        if brought is not None:
            return as_store(brought)
        if definition.kind == BOUND:
            return self._default(definition.symbol)
        spot = (definition.kind, definition.source, definition.field)
        with self._mutex:
            if spot not in self._built:
                self._built[spot] = build_retriever(definition, self.base)
            return self._built[spot]

    def named(self, name: str) -> Store:
        """A store of the session's. Raises RetrieverError."""
        if name not in self.stores:
            known = ", ".join(self.stores) or "none"
            raise RetrieverError(f"the session has no store `{name}`; it has {known}: Session(retrievers={{...}})")
        return as_store(self.stores[name])

    def _default(self, symbol: str) -> Store:
        if settings.get("rm") is not None:
            return as_store(settings.get("rm"))
        raise NoStore(
            f"retriever `{symbol}` has no store: lampc.configure(rm=...), or Session(retrievers={{{symbol!r}: ...}})"
        )

    def identity(self, definition: DefRetriever, brought: Any = None) -> str:
        """What the results of a retriever depend on besides the program, "" where it has no store."""
        try:
            return self.store(definition, brought).identity
        except RetrieverError:
            return ""

    def answer(self, lookups: Sequence[Lookup]) -> list[list[Hit] | Exception]:
        """Hits of each, or why there are none."""
        out: list[list[Hit] | Exception | None] = [None] * len(lookups)
        wanted: dict[tuple[int, int], tuple[Store, dict[str, list[int]]]] = {}
        for i, ask in enumerate(lookups):
            try:
                store = self.store(ask.definition, ask.store, ask.name)
            except RetrieverError as e:
                out[i] = e
                continue
            known = self._recall(store, ask.query, ask.k)
            if known is not None:
                out[i] = known
            else:
                _, queries = wanted.setdefault((id(store), ask.k), (store, {}))
                queries.setdefault(ask.query, []).append(i)
        for (_, k), (store, queries) in wanted.items():
            for query, found in zip(queries, self._search(store, list(queries), k), strict=True):
                if not isinstance(found, Exception):
                    self._keep(store, query, k, found)
                for i in queries[query]:
                    out[i] = found
        return [o for o in out if o is not None]

    def one(self, ask: Lookup) -> list[Hit]:
        """Hits of one lookup, searched for with those that other threads ask for meanwhile. Raises RetrieverError, or
        what the store raises."""
        return self._combiner.ask(ask)

    def _search(self, store: Store, queries: list[str], k: int) -> list[list[Hit] | Exception]:
        """One search for all; where that fails, each by itself, so that a query spoils its own row only."""
        self.searches += 1
        try:
            found = store.search_many(queries, k)
            if len(found) != len(queries):
                raise RetrieverError(f"{type(store).__name__} gave {len(found)} results for {len(queries)} queries")
            return list(found)
        except Exception as e:
            if len(queries) == 1:
                return [e]
            return [self._search(store, [q], k)[0] for q in queries]

    def _key(self, store: Store, query: str, k: int) -> str:
        return hashlib.blake2b(json.dumps([store.identity, query, k]).encode(), digest_size=16).hexdigest()

    def _recall(self, store: Store, query: str, k: int) -> list[Hit] | None:
        if not _kept(store):
            return None
        key = self._key(store, query, k)
        with self._mutex:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        record = self.records.get("retrieve", key) if store.lasting else None
        return None if record is None else [Hit(*h) for h in record["hits"]]

    def _keep(self, store: Store, query: str, k: int, found: list[Hit]) -> None:
        if not _kept(store):
            return
        key = self._key(store, query, k)
        with self._mutex:
            self._kept[key] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        if store.lasting:
            self.records.put("retrieve", key, {"hits": [[h.text, h.score, h.index] for h in found]})


def _kept(store: Store) -> bool:
    return store.constant and bool(store.identity)
