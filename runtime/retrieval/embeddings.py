"""`Embeddings` and `EmbeddingsWithScores`: DSPy's retrievers over a corpus, by nearness of vectors."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from lampc.frontend.python.example import Prediction
from lampc.frontend.python.retrieval import Retriever
from lampc.ir.lookup import Hit, as_record
from lampc.runtime.retrieval.combine import Combiner
from lampc.runtime.retrieval.embedder import Embedding
from lampc.runtime.retrieval.protocol import RetrieverError
from lampc.runtime.retrieval.vectors import FaissStore, Vectors


class Embeddings(Retriever):
    """`Embeddings(corpus, embedder, k=5)(query)` gives a prediction with `passages` and their `indices`.

    Below `brute_force_threshold` passages the search is exact; from there on FAISS finds candidates (extra `faiss`) and
    exact products choose among them. Queries of several threads, and of all rows of a run, are embedded and searched
    together. In a program it is a retriever like any other: the session may have another store under its name.
    """

    gives: tuple[str, ...] = ("passages", "indices")

    def __init__(
        self,
        corpus: Sequence[str],
        embedder: Embedding,
        k: int = 5,
        callbacks: Any = None,
        cache: bool = False,
        brute_force_threshold: int = 20_000,
        normalize: bool = True,
    ) -> None:
        self._take(list(corpus), embedder, k, brute_force_threshold, normalize, None)
        self.callbacks = callbacks

    def _take(
        self, corpus: list[str], embedder: Embedding, k: int, threshold: int, normalize: bool, vectors: Any
    ) -> None:
        self.corpus, self.embedder = corpus, embedder
        self.brute_force_threshold, self.normalize = threshold, normalize
        store: Vectors
        if len(corpus) >= threshold:
            factory = (
                f"IVF{max(1, int(2 * len(corpus) ** 0.5))},Flat"  # as many cells as DSPy has; vectors are kept whole
            )
            store = FaissStore(corpus, embedder, normalize=normalize, vectors=vectors, factory=factory)
        else:
            store = Vectors(corpus, embedder, normalize=normalize, vectors=vectors)
        self._combiner = Combiner(self._together)
        Retriever.__init__(self, k=k, store=store)

    @property
    def corpus_embeddings(self) -> Any:
        """The vectors of the corpus, one row a passage."""
        return self.store.vectors

    def found(self, query: str, k: int) -> list[Hit]:
        return self._combiner.ask((query, k))

    def _together(self, asked: Sequence[tuple[str, int]]) -> list[list[Hit]]:
        """One search for the queries of several threads that want as many passages."""
        out: dict[tuple[str, int], list[Hit]] = {}
        for k in {k for _, k in asked}:
            queries = list(dict.fromkeys(q for q, n in asked if n == k))
            out |= {(q, k): hits for q, hits in zip(queries, self.store.search_many(queries, k), strict=True)}
        return [out[a] for a in asked]

    def __call__(self, query: str, k: int | None = None) -> Prediction:
        return self.forward(query, k)

    def forward(self, query: str, k: int | None = None) -> Prediction:
        whole = as_record(self.hits(query, k))
        return Prediction({name: whole[name] for name in self.gives})

    def save(self, path: str | Path) -> None:
        """The corpus and its vectors into a folder: `config.json` and `corpus_embeddings.npy`."""
        import numpy as np

        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "k": int(self.k),
            "normalize": self.normalize,
            "brute_force_threshold": self.brute_force_threshold,
            "corpus": self.corpus,
            "has_faiss_index": False,  # DSPy wants to know
        }
        scratch = folder / "config.json.tmp"
        scratch.write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
        with (folder / "corpus_embeddings.npy.tmp").open("wb") as file:
            np.save(file, self.store.vectors, allow_pickle=False)
        os.replace(folder / "corpus_embeddings.npy.tmp", folder / "corpus_embeddings.npy")
        os.replace(scratch, folder / "config.json")

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = super().__deepcopy__(memo)
        made._combiner = Combiner(made._together)
        return made

    def load(self, path: str | Path, embedder: Embedding) -> Self:
        """Take over what `save` wrote, here or in DSPy; nothing is embedded anew. Raises RetrieverError."""
        import numpy as np

        folder = Path(path)
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            vectors = np.load(folder / "corpus_embeddings.npy", allow_pickle=False)
            corpus, k = list(config["corpus"]), int(config["k"])
            threshold, normalize = int(config.get("brute_force_threshold", 20_000)), bool(config["normalize"])
        except FileNotFoundError as e:
            raise RetrieverError(f"{folder}: no saved embeddings: there is no {Path(str(e.filename)).name}") from None
        except (ValueError, KeyError, TypeError) as e:
            raise RetrieverError(f"{folder}: not saved embeddings: {type(e).__name__}: {e}") from None
        self._take(corpus, embedder, k, threshold, normalize, vectors)
        return self

    @classmethod
    def from_saved(cls, path: str | Path, embedder: Embedding) -> Self:
        """A new one out of a folder. Raises RetrieverError."""
        made = cls.__new__(cls)
        made.callbacks = None
        return made.load(path, embedder)


class EmbeddingsWithScores(Embeddings):
    """The same, and the `scores` of the passages."""

    gives = ("passages", "indices", "scores")
