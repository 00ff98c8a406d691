"""Retrievers: passages of a corpus by words in common with a query (BM25).

Scores are Okapi BM25 as given in Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond" (2009), section 3, with the usual k1 = 1.2 and b = 0.75, and with idf = ln(1 + (N - n + 0.5) / (n + 0.5)), which
stays positive for words that most passages have.
"""

from __future__ import annotations

import csv
import heapq
import math
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from lampc.ir.adapters.values import RepeatedKey, read_json
from lampc.ir.prog import DefRetriever
from lampc.runtime.data import LONGEST_CELL

K1 = 1.2
B = 0.75
MAX_BYTES = 1 << 30
"""Largest corpus that is read into memory."""

_WORD = re.compile(r"\w+")


class RetrieverError(Exception):
    """A corpus cannot be had; the message names the file, the line, and how to mend it."""


class Retriever(Protocol):
    """Gives the `k` passages that fit a query best, best first."""

    def search(self, query: str, k: int) -> list[str]: ...


def words(text: str) -> list[str]:
    """Lower-case words: runs of letters, digits and underscores."""
    return _WORD.findall(text.lower())


class BM25:
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

    def search(self, query: str, k: int) -> list[str]:
        """At most `k` passages, best first. Raises ValueError if `k` is negative."""
        if k < 0:
            raise ValueError(f"k is {k}; give 0 or more")
        best = heapq.nsmallest(k, self.scores(query).items(), key=lambda item: (-item[1], item[0]))
        return [self.passages[row] for row, _ in best]


def build_retriever(op: DefRetriever, base: Path) -> Retriever:
    """The retriever that a program declares; relative paths start at `base`. Raises RetrieverError."""
    if op.kind != "bm25":
        raise RetrieverError(f"retriever kind {op.kind!r} is not known; `bm25` is")
    return BM25(read_corpus(base / op.source, op.field))


def read_corpus(path: Path, field: str) -> list[str]:
    """One field of every row of a CSV or JSONL file. Raises RetrieverError."""
    try:
        if path.is_file() and path.stat().st_size > MAX_BYTES:
            raise RetrieverError(f"{path}: {path.stat().st_size >> 20} MiB; a corpus may have {MAX_BYTES >> 20} MiB")
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = _csv(path, file, field) if path.suffix.lower() == ".csv" else _jsonl(path, file, field)
            passages = list(rows)
    except FileNotFoundError:
        raise RetrieverError(f"{path}: no such file; the source of a retriever is a .jsonl or .csv file") from None
    except OSError as e:
        raise RetrieverError(f"{path}: cannot be read: {e.strerror}") from None
    except UnicodeDecodeError as e:
        raise RetrieverError(f"{path}: not UTF-8 at byte {e.start}") from None
    if not passages:
        raise RetrieverError(f"{path}: no rows")
    return passages


def _csv(path: Path, file: Iterator[str], field: str) -> Iterator[str]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.DictReader(file, strict=True)
    first = 1  # line where the row begins
    try:
        if field not in (reader.fieldnames or ()):
            raise RetrieverError(f"{path}:1: no column {field!r}; there are {_names(reader.fieldnames or ())}")
        first = reader.line_num + 1
        for row in reader:
            if row[field] is None:
                raise RetrieverError(f"{path}:{first}: the row ends before column {field!r}")
            yield row[field]
            first = reader.line_num + 1
    except csv.Error as e:
        raise RetrieverError(f"{path}:{first}: the row that begins here cannot be read: {e}") from None


def _jsonl(path: Path, file: Iterator[str], field: str) -> Iterator[str]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = read_json(line)
        except RepeatedKey as e:
            raise RetrieverError(f"{path}:{number}: {e}") from None
        except ValueError as e:
            raise RetrieverError(f"{path}:{number}: not JSON: {e}") from None
        if not isinstance(row, dict):
            raise RetrieverError(f"{path}:{number}: expected an object with field {field!r}")
        if field not in row:
            raise RetrieverError(f"{path}:{number}: no field {field!r}; there are {_names(row)}")
        if not isinstance(row[field], str):
            raise RetrieverError(f"{path}:{number}: field {field!r} is {type(row[field]).__name__}, not text")
        yield row[field]


def _names(names: Iterable[str]) -> str:
    listed = [repr(name) for name in names]
    return ", ".join(listed[:12]) + (", …" if len(listed) > 12 else "") if listed else "none"
