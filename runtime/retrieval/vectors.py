"""Stores by nearness of vectors: the vectors of the corpus in memory, or in an index of FAISS."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from lampc.ir.lookup import Hit
from lampc.runtime.retrieval.embedder import Embedding, as_matrix
from lampc.runtime.retrieval.protocol import RetrieverError, Store

_CELLS = 16_000_000
"""Most scores held at a time."""


class Vectors(Store):
    """Exact search: the passages whose vectors have the largest dot products with the query's.

    With `normalize` that is the cosine. Equal scores keep the order of the corpus. `vectors` are those of the passages,
    computed by `embedder` if not given. Raises ValueError if they do not fit.
    """

    def __init__(
        self, passages: Sequence[str], embedder: Embedding, *, normalize: bool = True, vectors: Any = None
    ) -> None:
        self.passages = tuple(passages)
        if not self.passages:
            raise ValueError("a store needs at least one passage")
        self.embedder, self.normalize = embedder, normalize
        self.vectors = self._prepared(embedder(list(self.passages)) if vectors is None else vectors)
        if len(self.vectors) != len(self.passages):
            raise ValueError(f"{len(self.passages)} passages, but {len(self.vectors)} vectors")
        total = hashlib.blake2b(self.vectors.tobytes(), digest_size=16)
        total.update("\0".join(self.passages).encode("utf-8", "surrogatepass"))
        self.identity = f"vectors {total.hexdigest()} {getattr(embedder, 'identity', '')}"

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Raises ValueError if `k` is negative."""
        if k < 0:
            raise ValueError(f"k is {k}; give 0 or more")
        if not queries or not k:
            return [[] for _ in queries]
        wanted = self._queries(queries)
        step = max(1, _CELLS // len(self.passages))
        out: list[list[Hit]] = []
        for at in range(0, len(wanted), step):
            out += self._nearest(wanted[at : at + step], k)
        return out

    def _nearest(self, queries: Any, k: int) -> list[list[Hit]]:
        import numpy as np

        # einsum adds in one order whatever the number of queries, so a query finds the same alone and among others
        scores = np.einsum("qd,kd->qk", queries, self.vectors)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return [self._hits(row, scores[q, row]) for q, row in enumerate(order)]

    def _hits(self, rows: Any, scores: Any) -> list[Hit]:
        return [Hit(self.passages[i], float(s), int(i)) for i, s in zip(rows, scores, strict=True) if i >= 0]

    def _queries(self, queries: Sequence[str]) -> Any:
        found = self._prepared(self.embedder(list(queries)))
        if found.shape[1] != self.vectors.shape[1]:
            raise RetrieverError(
                f"the query's vector has {found.shape[1]} numbers, those of the corpus {self.vectors.shape[1]}: "
                "both must come from one model"
            )
        return found

    def _prepared(self, vectors: Any) -> Any:
        import numpy as np

        made = as_matrix(vectors)
        if self.normalize:
            lengths = np.linalg.norm(made, axis=1, keepdims=True)
            made = made / np.maximum(lengths, 1e-10)
        return np.ascontiguousarray(made, dtype=np.float32)


class FaissStore(Vectors):
    """Vectors in an index of FAISS (extra `faiss`), for corpora that are too large to be looked through.

    `factory` is FAISS's description of an index, such as `IVF256,Flat` or `HNSW32`; by default exact search. `nprobe`
    is how many cells of an IVF index are looked into. From `k` times `candidates` passages that the index finds, the
    exact dot products choose the best, as in DSPy. Raises ImportError without the package.
    """

    def __init__(
        self, passages: Sequence[str], embedder: Embedding, *, normalize: bool = True, vectors: Any = None,
        factory: str = "Flat", nprobe: int = 16, candidates: int = 10,
    ) -> None:  # fmt: skip
        try:
            import faiss
        except ImportError:
            raise ImportError("FaissStore needs the package faiss-cpu: pip install 'lampc[faiss]'") from None
        super().__init__(passages, embedder, normalize=normalize, vectors=vectors)
        self.factory, self.candidates = factory, candidates
        self.index = faiss.index_factory(self.vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not self.index.is_trained:
            self.index.train(self.vectors)
        self.index.add(self.vectors)
        if hasattr(self.index, "nprobe"):
            self.index.nprobe = nprobe
        self.identity = f"faiss {factory} {nprobe} {candidates} {self.identity}"

    def _nearest(self, queries: Any, k: int) -> list[list[Hit]]:
        import numpy as np

        _, found = self.index.search(queries, min(k * self.candidates, len(self.passages)))
        out = []
        for query, rows in zip(queries, found, strict=True):
            rows = np.sort(rows[rows >= 0])
            scores = np.einsum("d,kd->k", query, self.vectors[rows])
            order = np.argsort(-scores, kind="stable")[:k]
            out.append(self._hits(rows[order], scores[order]))
        return out
