"""A collection of Chroma as a store (extra `chroma`): in memory, in a folder, or behind a client of one's own."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lampc.ir.lookup import Hit
from lampc.runtime.retrieval.embedder import Embedding, as_matrix
from lampc.runtime.retrieval.protocol import RetrieverError, Store

_BATCH = 1000


class ChromaStore(Store):
    """Passages of a Chroma collection, nearest by cosine.

    Without `passages` the collection is used as it is; with them, those that it lacks are added, under ids that follow
    from their text. Vectors are always made by `embedder`; Chroma's own embedding functions are not used. `path` is a
    folder, which keeps what other programs added under that name: it is found, too. `client` is any client of Chroma's;
    with neither, the collection is in memory, and this store's alone. Raises ImportError without the
    package, RetrieverError for an empty collection.
    """

    def __init__(
        self,
        name: str,
        embedder: Embedding,
        passages: Sequence[str] = (),
        *,
        path: str | Path | None = None,
        client: Any = None,
    ) -> None:
        self.embedder = embedder
        self.client = client if client is not None else _client(path)
        self.collection = self.client.get_or_create_collection(
            name if client is not None or path is not None else f"{name}-{uuid.uuid4()}",  # all in memory are one
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine"}},
        )
        self._add(list(passages))
        if not self.collection.count():
            raise RetrieverError(f"the Chroma collection `{name}` is empty: pass `passages`")
        self.identity = f"chroma {name} {self.collection.id} {getattr(embedder, 'identity', '')}"

    def _add(self, passages: list[str]) -> None:
        ids = {_id(p): (i, p) for i, p in reversed(list(enumerate(passages)))}
        for at in range(0, len(ids), _BATCH):
            part = list(ids)[at : at + _BATCH]
            known = set(self.collection.get(ids=part, include=[])["ids"])
            new = [i for i in part if i not in known]
            if new:
                texts = [ids[i][1] for i in new]
                self.collection.add(
                    ids=new,
                    documents=texts,
                    embeddings=as_matrix(self.embedder(texts)),
                    metadatas=[{"index": ids[i][0]} for i in new],
                )

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """Raises ValueError if `k` is negative."""
        if k < 0:
            raise ValueError(f"k is {k}; give 0 or more")
        if not queries or not k:
            return [[] for _ in queries]
        found = self.collection.query(
            query_embeddings=as_matrix(self.embedder(list(queries))),
            n_results=min(k, self.collection.count()),
            include=["documents", "distances", "metadatas"],
        )
        columns = zip(found["documents"], found["distances"], found["metadatas"], strict=True)
        return [
            [
                Hit(str(text), 1.0 - float(far), int((about or {}).get("index", -1)))
                for text, far, about in zip(texts, distances, metadatas, strict=True)
            ]
            for texts, distances, metadatas in columns
        ]

    def __deepcopy__(self, memo: dict[int, Any]) -> ChromaStore:
        return self


def _client(path: str | Path | None) -> Any:
    try:
        import chromadb
        from chromadb.config import Settings
    except ImportError as e:
        raise ImportError(f"ChromaStore needs the package chromadb: pip install 'lampc[chroma]' ({e})") from e
    quiet = Settings(anonymized_telemetry=False)
    return chromadb.EphemeralClient(quiet) if path is None else chromadb.PersistentClient(str(path), quiet)


def _id(passage: str) -> str:
    return hashlib.blake2b(passage.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
