"""Labelled tables: CSV and JSONL files read into typed rows, by split.

Every error is a `DataError` whose diagnostic names the file and, where there is one, the line.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lampc.ir import CompileError, Diagnostic, Field, Label, Module, Source, Span, explain
from lampc.ir.adapters.values import RepeatedKey, Uncastable, cast, read_json
from lampc.ir.prog import Func
from lampc.ir.types import ANY, STR, Maybe, Record, mismatch
from lampc.ir.unit import Dataset
from lampc.runtime.types import Row

explain(
    {
        "L0801": "data file cannot be read\nThe file of a dataset is missing, is a folder, or may not be read. "
        "Relative paths start at the folder of the program's source; `--data FILE` starts where you are.",
        "L0802": "data file has the wrong columns\nThe program's parameters and the dataset's declared columns must be "
        "in the header of a CSV file, or in every object of a JSONL file, each once.",
        "L0803": "value of the wrong type\nA cell does not hold a value of its column's type. In CSV, numbers and "
        "true/false are written plainly, lists and records as JSON, and an empty cell of an optional column is null.",
        "L0804": "data file is malformed\nA line is not JSON, a row has more or fewer cells than the header, or the "
        "file is not UTF-8 text.",
        "L0805": "split is empty\nA split that is asked for has no rows. Either the split column never holds its "
        "name, or the file has fewer rows than the sizes ask for.",
    }
)

DEFAULT_SPLIT = (("train", 0.5), ("dev", 0.25), ("test", 0.25))
"""Shares of the splits of a table that says nothing about splits."""


LONGEST_CELL = 1 << 30
"""Most characters of a CSV cell: it may hold a document, and Python's own limit is 128 KiB."""


class DataError(CompileError):
    """A table that cannot be used."""


@dataclass(frozen=True, slots=True)
class _Record:
    """One row as read: texts of CSV cells, or JSON values."""

    line: int
    values: dict[str, Any]


def load_dataset(
    data: Dataset, base: Path = Path("."), *, inputs: Sequence[str] | None = None, need: Iterable[str] = ()
) -> dict[str, list[Row]]:
    """Rows of each split. Columns named in `inputs` (the program's parameters) become inputs, others labels.

    Without `inputs` the last column is the label. Splits named in `need` must not be empty. A row's id is its
    number in the file, from 1, so that its random draws do not depend on the other rows. Raises DataError.
    """
    path = shown_path(Path(data.path) if Path(data.path).is_absolute() else base / data.path)
    records, header = read_table(path, data.kind, data.loc)
    _check_columns(path, data, header)
    names = [c.name for c in data.columns]
    given = set(inputs) if inputs is not None else set(names[:-1])
    missing = [n for n in inputs or () if n not in names]
    if missing:
        raise _error("L0802", f"{path}: the program needs `{missing[0]}`, the dataset declares {_list(names)}", path)
    rows = []
    for number, record in enumerate(records, 1):
        values = {c.name: _value(path, data.kind, record, c, header) for c in data.columns}
        mine = {k: v for k, v in values.items() if k in given}
        labels = {k: v for k, v in values.items() if k not in given}
        rows.append((record, Row(str(number), mine, labels, str(path), record.line)))
    splits = _split(path, data, rows)
    for name in need:
        if not splits.get(name):
            counts = ", ".join(f"`{n}` ({len(r)})" for n, r in splits.items()) or "none"
            raise _error("L0805", f"{path}: split `{name}` has no rows; splits: {counts}", path)
    return splits


def table_for(path: Path, module: Module, entry: str | None, *, like: Dataset | None = None, seed: int = 0) -> Dataset:
    """A dataset over the user's own file, for a program: columns typed by its parameters and outputs.

    Further columns are labels too (texts in CSV, any value in JSONL). A column `split` holds the splits, if
    there is one; else rows are dealt out by `DEFAULT_SPLIT`, or like the sizes of `like`. Raises DataError.
    """
    kind = "jsonl" if path.suffix.lower() in (".jsonl", ".ndjson", ".json") else "csv"
    records, header = read_table(path, kind)
    params, outputs = interface(module, entry)
    known = {**dict(outputs.fields), **dict(params.fields)}
    if like is not None:
        known = {**{c.name: c.type for c in like.columns}, **known}
    for name, t in params.fields:
        if name not in header and not isinstance(t, Maybe):
            raise _columns_error(path, name, header, "the program needs")
    if not any(n not in params.names() and n != "split" for n in header):
        labels = " or ".join(f"`{n}`" for n in outputs.names())
        raise _error("L0802", f"{path}: there is no label column; the program gives {labels}", path, 1)
    rest = STR if kind == "csv" else ANY
    columns = tuple(Field(n, known.get(n, rest)) for n in header if n != "split" or n in known)
    data = Dataset(like.name if like else path.stem, columns, kind, str(path.absolute()), seed=seed)
    if "split" in header and "split" not in known:
        return replace(data, split_column="split")
    if like is not None and 0 < sum(n for _, n in like.sizes) <= len(records):
        return replace(data, sizes=like.sizes, seed=like.seed)
    sizes = [(n, int(len(records) * share)) for n, share in DEFAULT_SPLIT]
    sizes[0] = (sizes[0][0], len(records) - sum(n for _, n in sizes[1:]))
    return replace(data, sizes=tuple(sizes))


def shown_path(path: Path) -> Path:
    """A path as the user would write it: from the folder that we are in, if it is there."""
    try:
        here = Path.cwd()
    except OSError:  # the folder is gone
        return path
    return path.relative_to(here) if path.is_relative_to(here) else path


def interface(module: Module, entry: str | None) -> tuple[Record, Record]:
    """Parameters and outputs of a program. An untraced one, which has no function, has none."""
    functions = [op for op in module.body.ops if isinstance(op, Func)]
    func = next((f for f in functions if entry in (None, f.symbol)), None)
    if entry is None and functions:
        func = functions[-1]
    if func is None:
        return Record(()), Record(())
    returns = func.returns if isinstance(func.returns, Record) else Record((("value", func.returns),))
    return Record(tuple((a.hint, a.type) for a in func.body.args)), returns


# -- reading ------------------------------------------------------------------------------------------


def read_table(path: Path, kind: str, loc: Any = None) -> tuple[list[_Record], list[str]]:
    """Records of a file and its column names (for JSONL those of the first object). Raises DataError."""
    if kind not in ("csv", "jsonl"):
        raise _error("L0804", f"{path}: tables are `csv` or `jsonl`, not `{kind}`", path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = e.object[: e.start].count(b"\n") + 1
        byte = e.object[e.start]
        raise _error("L0804", f"{path}:{line}: not UTF-8 text (byte 0x{byte:02x})", path, line) from None
    except OSError as e:
        raise _missing(path, e, loc) from None
    records = list(_csv(path, text) if kind == "csv" else _jsonl(path, text))
    if not records:
        raise _error("L0805", f"{path}: there are no rows", path)
    return records, list(records[0].values)


def _csv(path: Path, text: str) -> Iterator[_Record]:
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    previous = 0
    try:
        for cells in reader:
            line, previous = previous + 1, reader.line_num
            if header is None:
                header = [c.strip() for c in cells]
                twice = next((h for i, h in enumerate(header) if h in header[:i]), None)
                if twice is not None:
                    raise _error("L0802", f"{path}:{line}: column `{twice}` stands twice in the header", path, line)
            elif cells:
                if len(cells) != len(header):
                    what = f"{len(cells)} cells under {len(header)} columns"
                    help = (_separator(header[0]) if len(header) == 1 else "") or "quote cells that hold commas"
                    raise _error("L0804", f"{path}:{line}: {what}", path, line, help=help)
                yield _Record(line, dict(zip(header, cells, strict=True)))
    except csv.Error as e:
        help = _separator(text.partition("\n")[0])
        raise _error("L0804", f"{path}:{previous + 1}: {e}", path, previous + 1, help=help) from None


def _jsonl(path: Path, text: str) -> Iterator[_Record]:
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            value = read_json(content)
        except json.JSONDecodeError as e:
            raise _error(
                "L0804", f"{path}:{line}: not JSON: {e.msg} at column {e.colno}", path, line, e.colno
            ) from None
        except RepeatedKey as e:
            raise _error("L0802", f"{path}:{line}: {e}", path, line) from None
        except ValueError as e:
            raise _error("L0804", f"{path}:{line}: not JSON: {e}", path, line) from None
        if not isinstance(value, dict):
            raise _error("L0804", f"{path}:{line}: a JSON object is needed, got {json.dumps(value)[:40]}", path, line)
        yield _Record(line, value)


# -- columns, values, splits --------------------------------------------------------------------------


def _check_columns(path: Path, data: Dataset, header: list[str]) -> None:
    for name in [c.name for c in data.columns if not isinstance(c.type, Maybe)]:
        if name not in header:
            raise _columns_error(path, name, header, f"dataset `{data.name}` declares")
    if data.split_column and data.split_column not in header:
        raise _columns_error(path, data.split_column, header, f"dataset `{data.name}` is split by")


def _columns_error(path: Path, name: str, header: list[str], why: str) -> DataError:
    near = difflib.get_close_matches(name, header, 1)
    help = (_separator(header[0], name) if len(header) == 1 else "") or (
        f"rename column `{near[0]}` to `{name}`" if near else ""
    )
    what = f"{path}:1: {why} `{name}`, but there is no such column; columns: {_list(header)}"
    return _error("L0802", what, path, 1, help=help)


def _separator(header: str, name: str = "") -> str:
    """A hint if the header line looks like one whose columns (`name` among them) are not separated by commas."""
    for sign, called in ((";", "semicolons"), ("\t", "tabs")):
        parts = [part.strip().strip('"') for part in header.split(sign)]
        if len(parts) > 1 and "," not in header and (not name or name in parts):
            return f"its columns seem to be separated by {called}: separate them by commas"
    return ""


def _value(path: Path, kind: str, record: _Record, column: Field, header: list[str]) -> Any:
    if column.name not in record.values and isinstance(column.type, Maybe):
        return None
    if column.name not in record.values:
        raise _error("L0802", f"{path}:{record.line}: field `{column.name}` is missing", path, record.line)
    value = record.values[column.name]
    try:
        if kind == "csv":
            return value if column.type in (STR, ANY) else cast(value, column.type)
        why = mismatch(value, column.type)
        if why:
            raise Uncastable(why)
        return value
    except Uncastable as e:
        raise _error("L0803", f"{path}:{record.line}: column `{column.name}`: {e}", path, record.line) from None


def _split(path: Path, data: Dataset, rows: list[tuple[_Record, Row]]) -> dict[str, list[Row]]:
    splits: dict[str, list[Row]] = {}
    if data.split_column:
        for record, row in rows:
            splits.setdefault(str(record.values.get(data.split_column, "")).strip(), []).append(row)
        return splits
    plain = [row for _, row in rows]
    if not data.sizes:
        return {"all": plain}
    wanted = sum(n for _, n in data.sizes)
    if wanted > len(plain):
        sizes = ", ".join(f"{n}: {size}" for n, size in data.sizes)
        raise _error("L0805", f"{path}: {len(plain)} rows are too few for {sizes} ({wanted} in all)", path)
    random.Random(data.seed).shuffle(plain)
    at = 0
    for name, size in data.sizes:
        splits[name] = plain[at : at + size]
        at += size
    return splits


# -- errors -------------------------------------------------------------------------------------------


def _missing(path: Path, error: OSError, loc: Any) -> DataError:
    here = path.parent
    near: list[str] = []
    if here.is_dir():
        tables = [p.name for p in here.iterdir() if p.suffix not in (".lmp", ".py", ".lampc")]
        near = difflib.get_close_matches(path.name, tables, 1)
    why = "no such file" if isinstance(error, FileNotFoundError) else str(error.strerror).lower()
    help = f"did you mean {here / near[0]}?" if near and isinstance(error, FileNotFoundError) else ""
    origin = loc.origin() if loc is not None else None
    label = Label(origin, "declared here") if origin else None
    return DataError([Diagnostic("L0801", f"{path}: {why}", label, help=help)])


def _error(code: str, message: str, path: Path, line: int = 0, column: int = 1, help: str = "") -> DataError:
    if not line:
        return DataError([Diagnostic(code, message, help=help)])
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    span = Span(str(path), line, column)
    return DataError([Diagnostic(code, message, Label(span), help=help)], [Source(str(path), text)])


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names) or "none"
