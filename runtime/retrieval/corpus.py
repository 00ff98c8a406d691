"""Passages out of files: one field of every row of a CSV or JSONL file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from lampc.ir.adapters.values import RepeatedKey, read_json
from lampc.ir.diag import there_are
from lampc.runtime.data import LONGEST_CELL
from lampc.runtime.retrieval.protocol import RetrieverError

MAX_BYTES = 1 << 30
"""Largest corpus that is read into memory."""


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
            raise RetrieverError(f"{path}:1: no column {field!r}; {_names(reader.fieldnames or ())}")
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
            raise RetrieverError(f"{path}:{number}: no field {field!r}; {_names(row)}")
        if not isinstance(row[field], str):
            raise RetrieverError(f"{path}:{number}: field {field!r} is {type(row[field]).__name__}, not text")
        yield row[field]


def _names(names: Iterable[str]) -> str:
    listed = [repr(name) for name in names]
    return there_are(listed[:12]) + (", …" if len(listed) > 12 else "")
