"""`majority`: the completion whose answer is given most often."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

from lampc.frontend.python.declare import vote
from lampc.frontend.python.example import Completions, Prediction


def normalize_text(text: str) -> str:
    """Lower case, no punctuation, no articles, single spaces, composed characters taken apart (NFD)."""
    lowered = unicodedata.normalize("NFD", text).lower()
    kept = "".join(c for c in lowered if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def default_normalize(text: str) -> str | None:
    """The same; nothing at all counts as no answer."""
    return normalize_text(text) or None


def majority(
    prediction_or_completions: Any,
    normalize: Callable[[Any], Any] | None = default_normalize,
    field: str | None = None,
) -> Any:
    """The first completion whose `field` (by default the last output) has the most frequent value.

    Of a list of plain values it gives the most frequent one. Values are compared as `normalize` gives them; those
    of which it makes None are ignored unless all are. Ties go to the earliest. Raises ValueError for none at all.
    """
    source = prediction_or_completions
    rows = source.completions if isinstance(source, Prediction) and source.completions is not None else source
    if isinstance(rows, Prediction):
        rows = [rows]
    signature = getattr(rows, "signature", None)
    listed = [rows[i] for i in range(len(rows))] if isinstance(rows, Completions) else list(rows)
    if not listed:
        raise ValueError("a majority needs at least one completion")
    if not hasattr(listed[0], "keys"):
        return vote(listed)
    outputs = list(signature.output_fields) if signature is not None else list(listed[0].keys())
    return Prediction.from_completions([dict(pick(listed, field or outputs[-1], normalize).items())], signature)


def pick(rows: Sequence[Any], field: str, normalize: Callable[[Any], Any] | None = default_normalize) -> Any:
    """The row that `majority` chooses."""
    values = [normalize(r[field]) if normalize is not None else r[field] for r in rows]
    counted = [v for v in values if v is not None] or values
    wanted = max(counted, key=lambda v: (counted.count(v), -counted.index(v)))
    return rows[values.index(wanted)]
