"""Rewriting: the one way to change ops after they are built, and a greedy driver for local rules.

    @rule(Apply)
    def fold_apply(op: Apply, rw: Rewriter) -> bool: ...

A rule changes the IR through the `Rewriter` and says whether it did. The rewriter counts events, keeps
locations and feeds the worklist.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.loc import UNKNOWN, Derived

_O = TypeVar("_O", bound=Op)


class RewriteLimit(Exception):
    """The greedy driver did not come to rest; the message names the last rules that fired."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rewrite of ops of one class."""

    op: type[Op]
    apply: Callable[[Any, Rewriter], bool]

    @property
    def name(self) -> str:
        return self.apply.__name__


def rule(op: type[_O]) -> Callable[[Callable[[_O, Rewriter], bool]], Rule]:
    """Decorator: a function `(op, rewriter) -> changed` becomes a rule for ops of that class."""
    return lambda function: Rule(op, function)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What became of an op: `into` are the values that stand for its results now."""

    kind: Literal["merged", "replaced"]
    op: Op
    into: tuple[Value, ...]


_changes: ContextVar[list[Change] | None] = ContextVar("changes", default=None)


@contextmanager
def watched() -> Iterator[list[Change]]:
    """What rewriters that are made inside of the block replace and merge, in order."""
    found: list[Change] = []
    token = _changes.set(found)
    try:
        yield found
    finally:
        _changes.reset(token)


class Rewriter:
    """Mutates IR. `by` names the pass, for locations; `events` counts inserted, erased, replaced, modified."""

    def __init__(self, by: str) -> None:
        self.by = by
        self.events: Counter[str] = Counter()
        self.touched: list[Op] = []
        self._changes = _changes.get()

    def insert_before(self, anchor: Op, op: Op) -> Op:
        """Put `op` in front of `anchor`, in its region."""
        assert anchor.parent is not None
        return self.insert(anchor.parent, anchor.parent.index(anchor), op)

    def insert(self, region: Region, index: int, op: Op) -> Op:
        self.events["inserted"] += 1
        self.touched.append(op)
        return region.insert(index, op)

    def replace(self, op: Op, values: Iterable[Value] | Op) -> None:
        """Make `values` (or the results of a new op, put in place of `op`) stand for the results of `op`."""
        if isinstance(values, Op):
            new = values
            if new.loc == UNKNOWN:
                new.loc = op.loc
            elif new.loc != op.loc:
                new.loc = Derived(self.by, (new.loc, op.loc))
            if new.parent is None:
                self.insert_before(op, new)
            for old, made in zip(op.results, new.results, strict=True):
                made.hint = made.hint or old.hint
            values = new.results
        values = list(values)
        users = [u for v in op.results for u in v.users]
        for old, made in zip(op.results, values, strict=True):
            old.replace_by(made)
        self.events["replaced"] += 1
        if self._changes is not None:
            self._changes.append(Change("replaced", op, tuple(values)))
        self.touched += users
        self._erase(op)

    def merge(self, kept: Op, dropped: Op) -> None:
        """Replace `dropped` by its equal `kept`, which then goes back to both places."""
        if kept.loc != dropped.loc:
            kept.loc = Derived(self.by, (kept.loc, dropped.loc))
        users = [u for v in dropped.results for u in v.users]
        for old, new in zip(dropped.results, kept.results, strict=True):
            old.replace_by(new)
        self.events["merged"] += 1
        self.touched += users
        if self._changes is not None:
            self._changes.append(Change("merged", dropped, tuple(kept.results)))
        self._erase(dropped)

    def erase(self, op: Op) -> None:
        """Remove an op whose results are unused."""
        self.events["erased"] += 1
        self._erase(op)

    def _erase(self, op: Op) -> None:
        self.touched += [d for v in op.operands if (d := v.defining_op()) is not None]
        op.erase()

    def move_before(self, op: Op, anchor: Op) -> None:
        """Take `op` out of its place and put it in front of `anchor`."""
        assert op.parent is not None
        op.parent.remove(op)
        assert anchor.parent is not None
        anchor.parent.insert(anchor.parent.index(anchor), op)
        self.events["moved"] += 1

    def set_attr(self, op: Op, name: str, value: Any) -> None:
        """Change one attribute of an op (by its declared property: defaults are left out)."""
        setattr(op, name, value)
        self.events["modified"] += 1
        self.touched.append(op)

    def inline_region(self, region: Region, before: Op, arguments: Iterable[Value]) -> list[Value]:
        """Move a region's ops in front of `before`, its arguments replaced; gives the terminator's operands."""
        for arg, value in zip(region.args, arguments, strict=False):
            arg.replace_by(value)
        ops, region.ops = region.ops, []
        end = ops.pop()
        values = list(end.operands)
        end.drop_operands()
        for op in ops:
            self.insert_before(before, op)
        return values


def rewrite(module: Module, rules: Iterable[Rule], by: str, limit: int = 100_000) -> Counter[str]:
    """Apply rules until none fires; gives the rewriter's event counts.

    Raises RewriteLimit after `limit` applications, naming the last ten rules.
    """
    table: dict[type[Op], list[Rule]] = {}
    for r in rules:
        table.setdefault(r.op, []).append(r)
    rewriter = Rewriter(by)
    work = deque(module.walk())
    queued = {id(op) for op in work}
    fired: deque[str] = deque(maxlen=10)
    while work:
        op = work.popleft()
        queued.discard(id(op))
        if op.parent is None:
            continue
        for r in table.get(type(op), ()):
            if r.apply(op, rewriter):
                fired.append(r.name)
                limit -= 1
                if limit <= 0:
                    raise RewriteLimit(f"{by} does not come to rest; last rules: {', '.join(fired)}")
                if op.parent is not None:
                    rewriter.touched.append(op)
                break
        for touched in rewriter.touched:
            if id(touched) not in queued and touched.parent is not None:
                queued.add(id(touched))
                work.append(touched)
        rewriter.touched.clear()
    return rewriter.events
