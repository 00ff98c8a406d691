"""Tokens by model, for whoever wants to know what a stretch of a program used: `with track_usage() as used`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from lampc.ir.settings import settings


class UsageTracker:
    """What was used since it was made. `usage_data` holds the entry of each call by the model's name."""

    def __init__(self) -> None:
        self.usage_data: dict[str, list[dict[str, Any]]] = {}

    def add_usage(self, lm: str, usage_entry: Mapping[str, Any]) -> None:
        """Note one call."""
        if usage_entry:
            self.usage_data.setdefault(lm, []).append(dict(usage_entry))

    def get_total_tokens(self) -> dict[str, dict[str, Any]]:
        """Sums by model; what is no number stays as the first call had it."""
        out: dict[str, dict[str, Any]] = {}
        for lm, entries in self.usage_data.items():
            total = out.setdefault(lm, {})
            for entry in entries:
                _add(total, entry)
        return out


def _add(total: dict[str, Any], entry: Mapping[str, Any]) -> None:
    for name, value in entry.items():
        known = total.get(name)
        if isinstance(value, Mapping):
            _add(total.setdefault(name, {}), value)
        elif _number(known) and _number(value):
            total[name] = known + value
        elif known is None and value is not None:
            total[name] = value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@contextlib.contextmanager
def track_usage() -> Iterator[UsageTracker]:
    """Track what calls inside of the block use; what an inner block tracked counts for the outer one too."""
    outer, tracker = settings.get("usage_tracker"), UsageTracker()
    with settings.context(usage_tracker=tracker):
        try:
            yield tracker
        finally:
            if outer is not None:
                for lm, entries in tracker.usage_data.items():
                    outer.usage_data.setdefault(lm, []).extend(entries)
