"""Retrievers: the passages of a corpus that fit a query.

BM25 with Okapi's weighting (Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond", 2009): a term's weight saturates with its count (`k1`) and is discounted in long passages (`b`).
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from lampc.ir.prog import DefRetriever


class RetrieverError(Exception):
    """A corpus cannot be read; the message names file and line."""


class Retriever(Protocol):
    """Finds passages."""

    def search(self, query: str, k: int) -> list[str]:
        """The `k` best passages, best first; fewer if fewer share a word with the query."""
        ...


class BM25:
    """See the module's text. Passages that score equal stand in the order of the corpus."""

    def __init__(self, passages: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        self.passages = list(passages)
        self._postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        lengths = [len(words(p)) for p in self.passages]
        mean = (sum(lengths) / len(lengths) if lengths else 0.0) or 1.0
        counts = [Counter(words(p)) for p in self.passages]
        found = Counter(w for c in counts for w in c)
        for i, count in enumerate(counts):
            for word, n in count.items():
                rarity = math.log(1 + (len(self.passages) - found[word] + 0.5) / (found[word] + 0.5))
                weight = n * (k1 + 1) / (n + k1 * (1 - b + b * lengths[i] / mean))
                self._postings[word].append((i, rarity * weight))

    def search(self, query: str, k: int) -> list[str]:
        scores: dict[int, float] = defaultdict(float)
        for word in words(query):
            for i, weight in self._postings.get(word, ()):
                scores[i] += weight
        best = sorted(scores, key=lambda i: (-scores[i], i))[: max(k, 0)]
        return [self.passages[i] for i in best]


def words(text: str) -> list[str]:
    """Runs of letters and digits, in lower case."""
    return re.findall(r"\w+", text.lower())


def build_retriever(definition: DefRetriever, base: Path) -> Retriever:
    """The retriever that a program defines; `base` is where its relative paths start.

    Raises RetrieverError for an unknown kind, a missing file or field, and a line that cannot be read.
    """
    if definition.kind != "bm25":
        raise RetrieverError(f"retriever `{definition.symbol}` is of kind `{definition.kind}`; known: bm25")
    return BM25(read_corpus(base / definition.source, definition.field))


def read_corpus(path: Path, field: str) -> list[str]:
    """Field `field` of every row of a JSONL or CSV file."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix == ".csv":
                rows = list(enumerate(csv.DictReader(file), 2))
            else:
                rows = [(n, _json(path, n, line)) for n, line in enumerate(file, 1) if line.strip()]
    except OSError as e:
        raise RetrieverError(f"{path}: {e.strerror}; a corpus is a JSONL or CSV file") from None
    except UnicodeDecodeError as e:
        raise RetrieverError(f"{path}: not UTF-8 (byte {e.start})") from None
    for n, row in rows:
        if not isinstance(row.get(field), str):
            raise RetrieverError(f"{path}:{n}: no text in field `{field}`; fields here: {', '.join(map(str, row))}")
    return [row[field] for _, row in rows]


def _json(path: Path, line: int, text: str) -> dict[str, str]:
    try:
        row = json.loads(text)
    except ValueError as e:
        raise RetrieverError(f"{path}:{line}: not JSON: {e}") from None
    if not isinstance(row, dict):
        raise RetrieverError(f"{path}:{line}: a row is a JSON object")
    return row
