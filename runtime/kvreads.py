"""What attention read for each `kv.*` op of a program: by which kernel, for how many requests together, what once.

An engine tells what each step reads (`lampc.backend.reads`); the tokens of a call are told apart by the ops whose runs
they are, and what the model wrote belongs to `kv.generate` or `kv.score`.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from lampc.ir import Module, Op, Value
from lampc.ir.kv import Extend, Generate, Root, Score
from lampc.ir.prompt import Demos, Guide, Input, Instruction, Segment, Shots
from lampc.runtime.compile import models_of
from lampc.runtime.local import LocalModel
from lampc.runtime.models import ModelCall

if TYPE_CHECKING:
    from lampc.backend.reads import Read, StepReads
    from lampc.runtime.compile import Executable
    from lampc.runtime.session import Session

Piece = tuple["OpReads", int, int]
"""Whose the positions first .. end - 1 of a call are."""
Pieces = list[Piece]
Level = tuple[int, int, frozenset[int]]
"""Keys begin .. end - 1, and the requests that read them together."""


@dataclass(slots=True)
class OpReads:
    """Of one op, or of several with equal prompts: `tokens` that went through the model for it, and the bytes of K/V
    that were read for these; `alone`, had each request read for itself. `levels` are the shared stretches before the
    request that shared most, from the root down: requests and tokens of each."""

    name: str
    tokens: int = 0
    kernels: set[str] = field(default_factory=set)
    nbytes: float = 0.0
    alone: float = 0.0
    levels: tuple[tuple[int, int], ...] = ()

    def share(self, levels: Sequence[Level]) -> None:
        """Keeps them if they share more than those before."""
        found = tuple((len(who), end - begin) for begin, end, who in levels)
        if _saved(found) > _saved(self.levels):
            self.levels = found


@dataclass(frozen=True, slots=True)
class Chain:
    """The ops that the context of a `kv.generate` or `kv.score` grows by, and where their reads are added up."""

    last: Op
    extends: tuple[Extend, ...]
    places: tuple[OpReads, ...]  # one more than extends: the last is of what the model writes


class KvReads:
    """Watches the local models of a program from when it is entered until it is left."""

    def __init__(self, session: Session, module: Module, exe: Executable) -> None:
        self.ranks = 1
        self.models = 0
        self._session, self._module, self._exe = session, module, exe
        self._ops: dict[object, OpReads] = {}
        self._chains = [self._chain(op) for op in exe.func.walk() if isinstance(op, Generate | Score)]
        self._known: dict[int, tuple[ModelCall, Pieces]] = {}
        self._watching = ExitStack()

    @property
    def ops(self) -> list[OpReads]:
        """In the order of the program."""
        return list(self._ops.values())

    def __enter__(self) -> KvReads:
        from lampc.backend.errors import Unsupported
        from lampc.backend.reads import watch_reads

        names = models_of(self._exe.module)
        models = [self._session.models.get(n, self._module).model for n in sorted(names)]
        for model in {m.seats: m for m in models if isinstance(m, LocalModel)}.values():  # one of each engine
            try:
                self._watching.callback(watch_reads(model.engine, functools.partial(self._told, model)))
                self.models += 1
            except Unsupported:
                continue  # an engine that keeps no K/V in pages
        return self

    def __exit__(self, *_: object) -> None:
        self._watching.close()

    # -- the program --------------------------------------------------------------------------------------

    def _chain(self, last: Generate | Score) -> Chain:
        extends: list[Extend] = []
        value: Value = last.context
        while isinstance(below := value.defining_op(), Extend | Generate):
            if isinstance(below, Extend):
                extends.append(below)
            value = below.context
        extends.reverse()
        owner = below.predictor.name if isinstance(below, Root) else "?"
        if isinstance(last, Generate):
            owner = last.predictor.name
        places, runs = [], []
        for op in extends:
            runs.append(op.run)
            segments = [*op.run.segments, *(s for t in op.run.turns for s in t.segments)]
            places.append(self._place(("extend", *runs), f"kv.extend @{owner} {_about(segments)}".rstrip(), owner))
        places.append(self._place((last.name, owner, *runs), f"{last.name} @{owner}", owner))
        return Chain(last, tuple(extends), tuple(places))

    def _place(self, key: object, name: str, owner: str) -> OpReads:
        found = self._ops.setdefault(key, OpReads(name))
        head, _, rest = found.name.partition("@")
        owners, _, about = rest.partition(" ")
        if owner not in owners.split(","):
            found.name = f"{head}@{owners},{owner} {about}".rstrip()
        return found

    # -- its calls ----------------------------------------------------------------------------------------

    def _told(self, model: LocalModel, step: StepReads) -> None:
        self.ranks = step.ranks
        pieces: list[Pieces] = []
        for handle, start, count in step.spans:
            call = model.call_of(handle)
            pieces.append(self._pieces_of(call) if call is not None else [])
            for place, first, end in _within(pieces[-1], start, count):
                place.tokens += end - first
        levels: dict[tuple[int, int], list[Level]] = {}  # by span and piece of its call
        for read in step.reads:
            self._add(read, pieces, levels)
        for (span, i), found in levels.items():
            pieces[span][i][0].share(_merged(found))

    def _add(self, read: Read, pieces: Sequence[Pieces], levels: dict[tuple[int, int], list[Level]]) -> None:
        together = frozenset(read.spans)
        of_span: Counter[int] = Counter()
        for span, _, count in read.members:
            of_span[span] += count
        queries = of_span.total()
        for span, start, count in read.members:
            for i, (place, first, end) in enumerate(pieces[span]):
                part = min(end, start + count) - max(first, start)
                if part <= 0:
                    continue
                place.kernels.add(read.kernel)
                place.nbytes += read.nbytes * part / queries
                place.alone += read.nbytes * part / of_span[span]
                if len(together) > 1:
                    levels.setdefault((span, i), []).append((read.begin, read.end, together))

    def _pieces_of(self, call: ModelCall) -> Pieces:
        """Which positions of a call are whose; what no chain explains belongs to nobody."""
        found = self._known.get(id(call))
        if found is None or found[0] is not call:
            statics = {op: ids for (op, _), ids in self._exe.statics.items()}
            fitting = (_cut(chain, call.ids, statics) for chain in self._chains if _asks(chain, call))
            found = self._known[id(call)] = call, next((pieces for pieces in fitting if pieces), [])
        return found[1]


def _asks(chain: Chain, call: ModelCall) -> bool:
    if isinstance(chain.last, Generate):
        return not call.score and chain.last.predictor.name == call.node
    return bool(call.score)


def _cut(chain: Chain, ids: tuple[int, ...], statics: Mapping[int, tuple[int, ...]]) -> Pieces:
    """Runs that hang on no input are known; each begins at a token of its own, so it is found where it first stands."""
    pieces: Pieces = []
    at, waiting = 0, []  # runs that hang on inputs, which reach up to the next known one
    for op, place in zip(chain.extends, chain.places, strict=False):
        known = statics.get(id(op)) if not op.inputs else None
        if known is None:
            waiting.append(place)
            continue
        if not known:
            continue
        start = _find(ids, known, at) if waiting else at
        if start is None or ids[start : start + len(known)] != known:
            return []
        pieces += [(one, at, start) for one in waiting[-1:]]
        pieces.append((place, start, start + len(known)))
        at, waiting = start + len(known), []
    pieces += [(one, at, len(ids)) for one in waiting[-1:]]
    if not waiting and at < len(ids) and pieces:  # asked again: turns that no op stands for
        place, start, _ = pieces[-1]
        pieces[-1] = place, start, len(ids)
    return [*pieces, (chain.places[-1], len(ids), sys.maxsize)]


def _find(ids: tuple[int, ...], some: tuple[int, ...], start: int) -> int | None:
    places = range(start, len(ids) - len(some) + 1)
    return next((i for i in places if ids[i : i + len(some)] == some), None)


def _within(pieces: Pieces, start: int, count: int) -> Iterator[Piece]:
    """The parts of positions start .. start + count - 1, and whose they are."""
    for place, first, end in pieces:
        if first < start + count and start < end:
            yield place, max(first, start), min(end, start + count)


def _merged(levels: Iterable[Level]) -> list[Level]:
    """Of each key the largest group that reads it, neighbours with the same group as one."""
    some = sorted(set(levels), key=lambda level: len(level[2]))
    ends = sorted({end for begin, last, _ in some for end in (begin, last)})
    found: list[Level] = []
    for begin, end in pairwise(ends):
        who = next((who for first, last, who in reversed(some) if first <= begin and end <= last), None)
        if who is None:
            continue
        if found and found[-1][1] == begin and found[-1][2] == who:
            begin = found.pop()[0]
        found.append((begin, end, who))
    return found


def _saved(levels: Sequence[tuple[int, int]]) -> int:
    return sum((requests - 1) * tokens for requests, tokens in levels)


def _about(segments: Sequence[Segment]) -> str:
    """What a run holds, in a few words."""
    words = {Instruction: "instruction", Guide: "guide", Demos: "demos", Shots: "demos"}
    found = [s.field.name if isinstance(s, Input) else words.get(type(s), "") for s in segments]
    return ", ".join(dict.fromkeys(word for word in found if word))
