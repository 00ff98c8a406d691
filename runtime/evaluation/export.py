"""Rows of an evaluation as records and files."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lampc.frontend.python.example import Prediction
from lampc.runtime.evaluation.scoring import Scored


def records(scored: Sequence[Scored], metric: str) -> list[dict[str, Any]]:
    """One record a row, as DSPy writes them: a name that example and prediction both have is told apart by
    `example_` and `pred_`. What a metric gave beside its score follows as `{metric}_{name}`; `error` is there if any
    row failed."""
    failed = any(s.error is not None for s in scored)
    out = []
    for s in scored:
        example, outputs = s.example.toDict(), outputs_of(s.prediction)
        row = {f"example_{k}" if k in outputs else k: v for k, v in example.items()}
        row |= {f"pred_{k}" if k in example else k: v for k, v in outputs.items()}
        value = s.value
        if isinstance(value, Prediction | dict):
            row[metric] = s.score
            row |= {f"{metric}_{k}": v for k, v in dict(value.items()).items() if k != "score"}
        else:
            row[metric] = value
        if failed:
            row["error"] = str(s.error) if s.error is not None else ""
        out.append(row)
    return out


def outputs_of(prediction: Any) -> dict[str, Any]:
    """Outputs by name; a value that is no record under `prediction`."""
    if hasattr(prediction, "toDict"):
        return dict(prediction.toDict())
    return dict(prediction) if isinstance(prediction, dict) else {"prediction": prediction}


def write_json(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Values that JSON has no form for are written as Python shows them."""
    _write(path, json.dumps(rows, ensure_ascii=False, indent=2, default=_json) + "\n")


def write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Every column that any row has; lists and records as JSON."""
    import io

    names = list(dict.fromkeys(k for r in rows for k in r))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for r in rows:
        writer.writerow({k: _cell(v) for k, v in r.items()})
    _write(path, text.getvalue())


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=_json) if isinstance(value, list | dict) else value


def _json(value: Any) -> Any:
    if hasattr(value, "toDict"):
        return value.toDict()
    if hasattr(value, "item") and hasattr(value, "dtype"):  # a number of numpy's
        return value.item()
    return repr(value)


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    scratch = path.with_name(path.name + ".tmp")
    with scratch.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.replace(scratch, path)
