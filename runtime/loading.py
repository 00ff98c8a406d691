"""`DataLoader`: examples out of CSV, JSON, JSONL and Parquet files, pandas frames and Hugging Face datasets.

CSV and JSON need no package. Parquet needs pyarrow, Hugging Face datasets theirs (extra `data`). Every error is a
`LoadingError` that names the place and how to mend it.
"""

from __future__ import annotations

import csv
import json
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lampc.frontend.python.example import Example
from lampc.ir.adapters.values import RepeatedKey, read_json
from lampc.ir.diag import there_are
from lampc.ir.settings import settings
from lampc.runtime.data import LONGEST_CELL

Examples = list[Example]
_INT = re.compile(r"[+-]?\d{1,18}")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BOOLS = {"true": True, "false": False}


class LoadingError(ValueError):
    """Data cannot be read."""


class DataLoader:
    """DSPy's loader: each method gives a list of examples whose inputs are `input_keys`.

    `fields` are the columns wanted, all by default. Raises LoadingError, OSError, and ImportError for a package that
    is not installed.
    """

    def from_csv(self, file_path: str | Path, fields: Sequence[str] | None = None, input_keys: Any = ()) -> Examples:
        """Columns whose cells are all whole numbers, numbers or true/false are read as such; an empty cell is None.

        Words such as `NA` stay words.
        """
        path = Path(file_path)
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                csv.field_size_limit(LONGEST_CELL)
                reader = csv.reader(file, strict=True)
                header = next(reader, [])
                rows = [r for r in reader if r]
        except csv.Error as e:
            raise LoadingError(f"{path}:{reader.line_num}: the row that ends here cannot be read: {e}") from None
        except UnicodeDecodeError as e:
            raise LoadingError(f"{path}: not UTF-8 at byte {e.start}: save it as UTF-8") from None
        if len(set(header)) != len(header) or not header:
            raise LoadingError(f"{path}:1: the first line names the columns, each once; it is {header}")
        for number, row in enumerate(rows, 1):
            if len(row) != len(header):
                raise LoadingError(f"{path}: row {number} has {len(row)} cells, the header {len(header)}")
        columns = [_typed([r[i] for r in rows]) for i in range(len(header))]
        records = [dict(zip(header, values, strict=True)) for values in zip(*columns, strict=True)]
        return _examples(records, fields, input_keys, str(path), header)

    def from_json(self, file_path: str | Path, fields: Sequence[str] | None = None, input_keys: Any = ()) -> Examples:
        """A file of JSON objects: one list of them, or one object a line. A name that an object lacks is None."""
        path = Path(file_path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as e:
            raise LoadingError(f"{path}: not UTF-8 at byte {e.start}: save it as UTF-8") from None
        return _examples(_json_records(text, path), fields, input_keys, str(path))

    def from_parquet(
        self, file_path: str | Path, fields: Sequence[str] | None = None, input_keys: Any = ()
    ) -> Examples:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise ImportError("Parquet needs the package pyarrow: pip install 'lampc[data]'") from None
        try:
            with parquet.ParquetFile(Path(file_path)) as file:
                names = list(file.schema_arrow.names)
                records = [r for batch in file.iter_batches() for r in batch.to_pylist()]
        except pyarrow.ArrowInvalid as e:
            raise LoadingError(f"{file_path}: not a Parquet file: {e}") from None
        return _examples(records, fields, input_keys, str(file_path), names)

    def from_pandas(self, df: Any, fields: Sequence[str] | None = None, input_keys: Any = ()) -> Examples:
        """Rows of a frame, as Python values; what is missing is None."""
        records = [{k: _native(v) for k, v in r.items()} for r in df.to_dict("records")]
        return _examples(records, fields, input_keys, "the frame", list(df.columns))

    def from_huggingface(
        self,
        dataset_name: Any,
        *args: Any,
        input_keys: Any = (),
        fields: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Examples] | Examples:
        """What `datasets.load_dataset(dataset_name, *args, **kwargs)` gives: a list, or one by name of its split.

        A dataset that is loaded already is taken as it is.
        """
        found = dataset_name
        if isinstance(dataset_name, str | Path):
            try:
                from datasets import load_dataset
            except ImportError:
                raise ImportError(
                    "Hugging Face datasets need the package datasets: pip install 'lampc[data]'"
                ) from None
            found = load_dataset(str(dataset_name), *args, **kwargs)
        if isinstance(found, list):
            found = dict(zip(kwargs["split"], found, strict=True))
        make: Callable[[Any], Examples] = lambda rows: _examples(  # noqa: E731
            rows, fields, input_keys, str(dataset_name if isinstance(dataset_name, str) else "the dataset")
        )
        return {name: make(rows) for name, rows in found.items()} if isinstance(found, Mapping) else make(found)

    def from_rm(self, num_samples: int, fields: Sequence[str], input_keys: Any) -> Examples:
        """Objects of the configured retriever, if it can list them. Raises LoadingError."""
        rm = settings.rm
        if rm is None or not hasattr(rm, "get_objects"):
            raise LoadingError("from_rm needs a retriever with `get_objects`: lampc.configure(rm=...)")
        return _examples(rm.get_objects(num_samples=num_samples, fields=fields), fields, input_keys, "the retriever")

    def sample(self, dataset: Sequence[Example], n: int, *args: Any, **kwargs: Any) -> Examples:
        """`n` examples drawn by Python's own random numbers. Raises LoadingError for what is no list."""
        if not isinstance(dataset, list):
            raise LoadingError(f"sample takes a list of examples, not {type(dataset).__name__}")
        return random.sample(dataset, n, *args, **kwargs)

    def train_test_split(
        self,
        dataset: Sequence[Example],
        train_size: int | float = 0.75,
        test_size: int | float | None = None,
        random_state: int | None = None,
    ) -> dict[str, Examples]:
        """Shuffled and cut; sizes are numbers of examples, or shares in (0, 1). Raises LoadingError for other sizes.

        The same `random_state` gives what DSPy gives; the state of Python's random numbers stays as it was.
        """
        rows = list(dataset)
        (random.Random(random_state) if random_state is not None else random).shuffle(rows)
        train = _size(train_size, len(rows), "train_size")
        test = len(rows) - train if test_size is None else _size(test_size, len(rows), "test_size")
        if train + test > len(rows) or test < 0:
            raise LoadingError(
                f"{train} rows to train on and {max(test, 0)} to test on are more than the {len(rows)} there are"
            )
        return {"train": rows[:train], "test": rows[train : train + test]}


def _size(size: Any, total: int, name: str) -> int:
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    if isinstance(size, float) and 0 < size < 1:
        return int(total * size)
    raise LoadingError(f"`{name}` is a number of examples, or a share between 0 and 1, not {size!r}")


def _examples(
    records: Iterable[Mapping[str, Any]], fields: Any, input_keys: Any, where: str, names: Sequence[str] = ()
) -> Examples:
    if isinstance(input_keys, str) or isinstance(fields, str):
        raise LoadingError(f"`input_keys` and `fields` are tuples of names: write ({input_keys or fields!r},)")
    rows = list(records)
    known = list(names) or list(dict.fromkeys(k for r in rows for k in r))
    wanted = list(fields) if fields else known
    for name in (*wanted, *input_keys):
        if name not in known and rows:
            raise LoadingError(f"{where} has no column `{name}`; {there_are(map(str, known))}")
    return [Example({f: r.get(f) for f in wanted}).with_inputs(*input_keys) for r in rows]


def _json_records(text: str, path: Path) -> list[dict[str, Any]]:
    if text.lstrip()[:1] == "[":
        try:
            found = read_json(text)
        except RepeatedKey as e:
            raise LoadingError(f"{path}: {e}") from None
        except json.JSONDecodeError as e:
            raise LoadingError(f"{path}:{e.lineno}: not JSON: {e.msg}") from None
        except ValueError as e:
            raise LoadingError(f"{path}: not JSON: {e}") from None
    else:
        found = []
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    found.append(read_json(line))
                except ValueError as e:
                    raise LoadingError(f"{path}:{number}: not JSON: {e}") from None
    odd = next((i for i, r in enumerate(found) if not isinstance(r, dict)), None)
    if odd is not None:
        raise LoadingError(f"{path}: item {odd + 1} is no object with names and values")
    return list(found)


def _typed(cells: list[str]) -> list[Any]:
    """The cells of a column as the narrowest type that all of them have."""
    given = [c.strip() for c in cells if c.strip()]
    read: Callable[[str], Any] = str
    if given and all(map(_INT.fullmatch, given)):
        read = int
    elif given and all(map(_FLOAT.fullmatch, given)):
        read = float
    elif given and all(c.lower() in _BOOLS for c in given):
        read = lambda c: _BOOLS[c.strip().lower()]  # noqa: E731
    return [read(c) if c.strip() else None for c in cells] if read is not str else [c or None for c in cells]


def _native(value: Any) -> Any:
    if hasattr(value, "tolist"):  # an array or a number of numpy's
        return _native(value.tolist())
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if type(value).__name__ in ("NAType", "NaTType") else value
