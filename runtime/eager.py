"""Fused eager mode: many rows of a program that could not be traced, as plain Python, their calls in batches.

Each row is a greenlet. A call of a predictor suspends its row; when every live row waits, their calls go out
together. Code of the rows never runs in parallel, so a program needs no locks; tools that are declared as
blocking run on threads meanwhile. What tools returned is journaled: a resumed run does not call them again.
"""

from __future__ import annotations

import contextvars
import json
import os
import sysconfig
import traceback
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from greenlet import GreenletExit, getcurrent, greenlet

from lampc.ir import Assignment, Draw, Key, Sampling, digest, thaw
from lampc.ir.adapters import Bound, ParseFailure, parse_answer
from lampc.ir.runner import current_runner
from lampc.ir.unit import Unit
from lampc.runtime.failures import RowFailure, unwritable_output
from lampc.runtime.host_sources import host_identity
from lampc.runtime.hosts import plain
from lampc.runtime.types import Cell, Outcome, RowError, TraceStep, Usage

if TYPE_CHECKING:
    from lampc.ir.prog import DefRetriever
    from lampc.runtime.session import Session
    from lampc.runtime.store import Store

LIVE = 64
"""Most rows that are under way at a time."""
_THREADS = 8
_NOT_THE_USERS = (
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep,
    sysconfig.get_paths()["stdlib"] + os.sep,
)


@dataclass(frozen=True, slots=True)
class EagerCall:
    """One LM call that a row waits for."""

    bound: Bound
    inputs: Mapping[str, Any]
    sampling: Sampling
    draw: Draw


@dataclass(frozen=True, slots=True)
class EagerAnswer:
    """Its answer: outputs and the model's text, or the exception that ends the row."""

    outputs: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    error: Exception | None = None
    usage: Usage = Usage(calls=1)


class Completer(Protocol):
    """What answers the calls of all rows."""

    def complete(self, calls: Sequence[EagerCall]) -> list[EagerAnswer]:
        """Answers in the order of the calls; a failure is an answer, not an exception."""
        ...

    def retrieve(self, definition: DefRetriever, query: str, k: int) -> list[str]: ...


class SessionCompleter:
    """Answers from a session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def complete(self, calls: Sequence[EagerCall]) -> list[EagerAnswer]:
        found = self.session.answered([(c.bound, c.inputs, c.sampling, c.draw) for c in calls])
        out = []
        for call, (a, usage) in zip(calls, found, strict=True):
            if a.error:
                out.append(EagerAnswer(error=RowFailure(a.error, kind="model"), usage=usage))
                continue
            try:
                out.append(EagerAnswer(dict(parse_answer(call.bound, a.text)), a.text, usage=usage))
            except ParseFailure as e:
                message = f"{call.bound.name}: {e}; the model wrote {e.text[:200]!r}"
                out.append(EagerAnswer({}, a.text, RowFailure(message, kind="parse"), usage))
        return out

    def retrieve(self, definition: DefRetriever, query: str, k: int) -> list[str]:
        from lampc.ir import Module

        holder = Module()
        holder.add(definition)
        return self.session.retriever(holder, definition.symbol).search(query, k)


def run_eager(
    session: Session, unit: Unit, cells: Sequence[Cell], on_done: Callable[[int, Outcome], None] | None = None
) -> list[Outcome]:
    """Run all cells of a dynamic unit in a session; outcomes in the order of the cells."""
    if unit.host_entry is None:
        raise ValueError(f"`{unit.entry}` has no function to run: it was not made by the Python frontend")
    run = EagerRun(unit.host_entry, SessionCompleter(session), session.store, seed=session.seed, identity=unit.entry)
    return run.run(cells, on_done)


class EagerRun:
    """One table of cells of one program. `identity` keeps journaled tool results of programs apart."""

    def __init__(
        self,
        entry: Callable[..., dict[str, Any]],
        completer: Completer,
        store: Store | None = None,
        *,
        seed: int = 0,
        identity: str = "",
        live: int = LIVE,
    ) -> None:
        self.entry, self.completer, self.store = entry, completer, store
        self.seed, self.identity, self.live = seed, identity, live
        self._threads: ThreadPoolExecutor | None = None

    def run(self, cells: Sequence[Cell], on_done: Callable[[int, Outcome], None] | None = None) -> list[Outcome]:
        """Outcomes in the order of the cells. What stops this stops all rows."""
        outcomes = [Outcome(c) for c in cells]
        coming = deque(enumerate(outcomes))
        live: set[_Row] = set()
        ready: deque[tuple[_Row, Any]] = deque()
        try:
            while coming or live:
                while coming and len(live) < self.live:
                    row = _Row(self, *coming.popleft())
                    live.add(row)
                    ready.append((row, None))
                while ready:
                    row, value = ready.popleft()
                    row.resume(value)
                    if row.done:
                        live.discard(row)
                        if on_done is not None:
                            on_done(row.index, row.outcome)
                if not (coming and len(live) < self.live):
                    ready.extend(self._answers(live))
        finally:
            for row in live:
                row.kill()
            if self._threads is not None:
                self._threads.shutdown(wait=False, cancel_futures=True)
                self._threads = None
        return outcomes

    def _answers(self, live: set[_Row]) -> list[tuple[_Row, Any]]:
        """What rows that wait may go on with: calls first, all at once, then tools that are ready."""
        rows = sorted(live, key=lambda r: r.index)
        asking = [r for r in rows if r.calls]
        if asking:
            found = iter(self.completer.complete([c for r in asking for c in r.calls]))
            return [(r, [next(found) for _ in r.calls]) for r in asking]
        pending = {r.future: r for r in rows if r.future is not None}
        if not pending:
            return []
        ready, _ = wait(list(pending), return_when=FIRST_COMPLETED)
        return [(r, None) for f, r in pending.items() if f in ready]

    def thread(self, run: Callable[[], Any]) -> Future[Any]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lampc-tool")
        return self._threads.submit(run)


class _Row:
    """One cell under way: its greenlet, what it waits for, and the runner that its predictors find."""

    def __init__(self, run: EagerRun, index: int, outcome: Outcome) -> None:
        self.eager, self.index, self.outcome = run, index, outcome
        self.cell = outcome.cell
        self.counts: Counter[str] = Counter()
        self.calls: list[EagerCall] = []
        self.future: Future[Any] | None = None
        self.done = False
        self.task = greenlet(self._body)
        self.task.gr_context = contextvars.copy_context()

    def resume(self, value: Any) -> None:
        """Let the row go on until it waits again or ends."""
        self.calls, self.future = [], None
        self.task.switch(value)
        self.done = self.task.dead

    def kill(self) -> None:
        if self.task:
            self.task.throw(GreenletExit)

    def _body(self, _: Any) -> None:
        current_runner.set(self)
        try:
            value = plain(self.eager.entry(**self.cell.row.inputs))
            why = unwritable_output(value)
            if why:
                place = getattr(self.eager.entry, "__lampc_place__", "")
                self.outcome.error = RowError(why, place, self.cell.row.id, "value")
            else:
                self.outcome.value = value
        except GreenletExit:
            raise
        except Exception as e:
            self.outcome.error = row_error(e, self.cell.row.id)

    def _suspend(self) -> Any:
        if getcurrent() is not self.task:
            raise RuntimeError(
                "a predictor was called from a thread of the program's own; call it from the function itself "
                "(the calls of all rows are batched anyway)"
            )
        assert self.task.parent is not None
        return self.task.parent.switch()

    # -- what predictors, retrievers and tools ask for ------------------------------------------------------

    def predict(
        self, bound: Bound, inputs: Mapping[str, Any], sampling: Sampling, key: Key
    ) -> tuple[dict[str, Any], str]:
        return self.predict_many(bound, inputs, sampling, key, 1)[0]

    def predict_many(
        self, bound: Bound, inputs: Mapping[str, Any], sampling: Sampling, key: Key, n: int
    ) -> list[tuple[dict[str, Any], str]]:
        """`n` draws of one call, asked for together."""
        bound = rebound(bound, self.cell.assignment)
        site = key.path[-1]
        where = user_line(traceback.extract_stack())
        spot = Key((f"{site}#{self._count(site)}",))
        row = self.cell.row.id
        draws = [Draw(self.eager.seed, spot, (i,) if n > 1 else (), row, self.cell.rollout) for i in range(n)]
        self.calls = [EagerCall(bound, dict(inputs), sampling, d) for d in draws]
        answers: list[EagerAnswer] = self._suspend()
        out = []
        for a in answers:
            self.outcome.usage += a.usage
            if a.error is not None:
                raise a.error
            self.outcome.trace.append(TraceStep(bound.name, dict(inputs), dict(a.outputs), a.text, where))
            out.append((dict(a.outputs), a.text))
        return out

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        raise RowFailure(f"retriever `{name}` was not declared with lampc.retriever(...)", kind="host")

    def retrieve_from(self, definition: DefRetriever, query: str, k: int) -> list[str]:
        return self.eager.completer.retrieve(definition, query, k)

    def tuned(self, name: str, default: Any) -> Any:
        return thaw(self.cell.assignment.get(name, default))

    def tool(
        self, name: str, effect: str, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Call a tool, unless the journal knows what it returned to this call."""
        number = self._count(f"tool {name}")
        store = self.eager.store
        spot = self._tool_key(f"{name}#{number}", run, args, kwargs) if store is not None else None
        if store is not None and spot is not None and (known := store.get("tool", spot)) is not None:
            return known["value"]
        if getattr(run, "__lampc_blocking__", False):
            self.future = future = self.eager.thread(lambda: run(*args, **kwargs))
            self._suspend()
            value = future.result()
        else:
            value = run(*args, **kwargs)
        if store is not None and spot is not None:
            kept = as_json(value)
            if kept is not None:
                store.put("tool", spot, kept)
                return kept["value"]
        return value

    def _count(self, what: str) -> int:
        n = self.counts[what]
        self.counts[what] += 1
        return n

    def _tool_key(self, site: str, run: Callable[..., Any], args: Any, kwargs: Any) -> str | None:
        import hashlib

        given = as_json([list(args), dict(kwargs)])
        if given is None:
            return None
        c = self.cell
        parts = [self.eager.identity, self.eager.seed, digest(c.assignment), c.row.id, c.rollout, site]
        text = json.dumps([*parts, host_identity(run), given["value"]], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def rebound(bound: Bound, assignment: Assignment) -> Bound:
    """The parameters of a call under a candidate: what it does not assign stays as the program has it."""
    n = bound.name
    return replace(
        bound,
        instruction=assignment.get(f"{n}.instruction", bound.instruction),
        demos=assignment.get(f"{n}.demos", bound.demos),
        layout=assignment.get(f"{n}.layout", bound.layout),
        model=assignment.get(f"{n}.model", bound.model),
    )


def as_json(value: Any) -> dict[str, Any] | None:
    """`{"value": ...}` if a value survives being written as JSON, else None."""
    kept = plain(value)
    try:
        return {"value": kept} if json.loads(json.dumps(kept)) == kept else None
    except (TypeError, ValueError):
        return None


def row_error(error: Exception, row: str) -> RowError:
    """Why a row failed, at the innermost line that is the user's."""
    where = user_line(traceback.extract_tb(error.__traceback__))
    if isinstance(error, RowFailure):
        return RowError(error.message, where, row, error.kind)
    return RowError(f"{type(error).__name__}: {error}", where, row, "host")


def user_line(frames: Sequence[traceback.FrameSummary]) -> str:
    """`file:line` of the innermost frame of the user's own, "" if there is none."""
    for f in reversed(frames):
        name = os.path.abspath(f.filename)
        if not name.startswith(_NOT_THE_USERS) and "site-packages" not in name and not f.filename.startswith("<"):
            return f"{f.filename}:{f.lineno}"
    return ""
