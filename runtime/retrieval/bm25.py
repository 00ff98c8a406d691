"""Retrievers: passages of a corpus by words in common with a query (BM25).

Scores are Okapi BM25 as given in Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond" (2009), section 3, with the usual k1 = 1.2 and b = 0.75, and with idf = ln(1 + (N - n + 0.5) / (n + 0.5)), which
stays positive for words that most passages have.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from array import array
from collections import Counter
from collections.abc import Sequence

from lampc.ir.lookup import Hit
from lampc.runtime.retrieval.protocol import Store

K1 = 1.2
B = 0.75
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Lower-case words: runs of letters, digits and underscores."""
    return _WORD.findall(text.lower())


class BM25(Store):
    """Okapi BM25 over passages held in memory. Passages without a word of the query are never given.

    Equal scores keep the order of the corpus. `k1` bounds what repeating a word earns, `b` in [0, 1] how much long
    passages are held back. An index over words: a search touches only the passages that share one.
    """

    def __init__(self, passages: Sequence[str], k1: float = K1, b: float = B) -> None:
        self.passages = tuple(passages)
        self.k1, self.b = k1, b
        self._postings: dict[str, tuple[array[int], array[int]]] = {}  # word -> rows, counts
        self._lengths = array("l")
        for row, passage in enumerate(self.passages):
            counts = Counter(words(passage))
            self._lengths.append(sum(counts.values()))
            for word, count in counts.items():
                rows, counted = self._postings.setdefault(word, (array("l"), array("l")))
                rows.append(row)
                counted.append(count)
        total = hashlib.blake2b(f"bm25 {k1} {b}".encode(), digest_size=16)
        for passage in self.passages:
            total.update(len(passage).to_bytes(8, "big") + passage.encode("utf-8", "surrogatepass"))
        self.identity = total.hexdigest()
        self._mean = sum(self._lengths) / max(len(self._lengths), 1) or 1.0

    def scores(self, query: str) -> dict[int, float]:
        """Score of each passage (by its place in the corpus) that shares a word with the query."""
        out: dict[int, float] = {}
        total = len(self.passages)
        for word, times in sorted(Counter(words(query)).items()):
            rows, counts = self._postings.get(word, ((), ()))
            idf = math.log(1.0 + (total - len(rows) + 0.5) / (len(rows) + 0.5))
            for row, count in zip(rows, counts, strict=True):
                norm = self.k1 * (1.0 - self.b + self.b * self._lengths[row] / self._mean)
                out[row] = out.get(row, 0.0) + times * idf * count * (self.k1 + 1.0) / (count + norm)
        return out

    def hits(self, query: str, k: int) -> list[Hit]:
        """At most `k` passages, best first. Raises ValueError if `k` is negative."""
        if k < 0:
            raise ValueError(f"k is {k}; give 0 or more")
        best = heapq.nsmallest(k, self.scores(query).items(), key=lambda item: (-item[1], item[0]))
        return [Hit(self.passages[row], score, row) for row, score in best]

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.hits(q, k) for q in queries]
