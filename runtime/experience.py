"""What predictors answered in earlier runs, in numbers: how long, which option how often, how many items.

Kept beside the costs of engines; plans guess by it. No text is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import digest
from lampc.ir.types import Choice, Scalar
from lampc.runtime.cache import default_folder

if TYPE_CHECKING:
    from lampc.ir import Module
    from lampc.ir.adapters import Bound
    from lampc.runtime.session import Session
    from lampc.runtime.types import Outcome

_MOST = 4096


@dataclass(slots=True)
class Known:
    """Of one predictor on one model: `calls` that generated `tokens`; how often each option of a closed output was
    chosen (`true` and `false` for a bool); lists by output: how many, and items in all."""

    calls: int = 0
    tokens: int = 0
    options: dict[str, Counter[str]] = field(default_factory=dict)
    lists: dict[str, list[int]] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """Mean tokens of an answer; None if there was none."""
        return self.tokens / self.calls if self.calls else None

    def items(self, name: str) -> int | None:
        """Mean number of items of a list; None if there was none."""
        count, total = self.lists.get(name, (0, 0))
        return round(total / count) if count else None

    def see(self, bound: Bound, outputs: Mapping[str, Any]) -> None:
        """One answer's values."""
        for f in bound.signature.outputs:
            value = outputs.get(f.name)
            if isinstance(value, list):
                before = self.lists.setdefault(f.name, [0, 0])
                before[0] += 1
                before[1] += len(value)
            elif isinstance(f.type, Choice) or f.type == Scalar("bool"):
                self.options.setdefault(f.name, Counter())[option(value)] += 1


def option(value: object) -> str:
    """An option as it is counted."""
    return str(value).lower() if isinstance(value, bool) else str(value)


class Experience:
    """All that is known. A file that cannot be read is as if it were empty, one that cannot be written stays as it is;
    beyond some thousand predictors, those that were not met for longest are forgotten."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder if folder is not None else default_folder()) / "costs" / "answers.json"
        self._known: dict[str, Known] = {}
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            self._known = {str(key): _read(record) for key, record in found.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._known = {}

    def of(self, bound: Bound, model: str) -> Known:
        """What is known of a predictor on the model with this digest; nothing, if it was never met."""
        return self._known.get(_key(bound, model), Known())

    def meet(self, bound: Bound, model: str) -> Known:
        """The same, to be added to."""
        key = _key(bound, model)
        known = self._known[key] = self._known.pop(key, Known())
        return known

    def save(self) -> None:
        """Write the file, whole or not at all."""
        kept = dict(list(self._known.items())[-_MOST:])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_suffix(f".{os.getpid()}.part")
            part.write_text(json.dumps({key: _record(known) for key, known in kept.items()}), encoding="utf-8")
            part.replace(self.path)
        except OSError:
            return


def remember(
    session: Session,
    module: Module,
    bounds: Mapping[str, Bound],
    outcomes: Iterable[Outcome],
    folder: Path | None = None,
) -> None:
    """Keep what a session's calls of a program answered; what a cache gave was counted when it was computed."""

    def met(bound: Bound) -> Known:
        return experience.meet(bound, session.models.get(bound.model, module).target.info.digest)

    experience = Experience(folder)
    fresh = set()
    for node, used in session.usage_by_node.items():
        bound, count = bounds.get(node), used.calls - used.stored_calls
        if bound is None or not count:
            continue
        fresh.add(node)
        known = met(bound)
        known.calls += count
        known.tokens += used.generated_tokens
    for outcome in outcomes:
        for step in outcome.trace:
            if step.predictor in fresh:
                met(bounds[step.predictor]).see(bounds[step.predictor], step.outputs)
    if fresh:
        experience.save()


def _key(bound: Bound, model: str) -> str:
    parts = [model, digest(bound.signature), bound.layout]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()


def _record(known: Known) -> list[Any]:
    return [known.calls, known.tokens, {n: dict(c) for n, c in known.options.items()}, known.lists]


def _read(record: Any) -> Known:
    calls, tokens, options, lists = record
    counted = {str(n): Counter({str(o): int(k) for o, k in c.items()}) for n, c in options.items()}
    return Known(int(calls), int(tokens), counted, {str(n): [int(a), int(b)] for n, (a, b) in lists.items()})
