"""Plain code under way: pieces that suspend where they call a model, so that the calls of many go out together.

A strand is a greenlet and the runner that predictors, retrievers and tools find inside of it. It waits for calls, for
a thread, or for strands that it forked. Strands of one weaver never run in parallel, so programs need no locks.
"""

from __future__ import annotations

import contextvars
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit, getcurrent, greenlet

from lampc.ir import Assignment, Draw, Key, Sampling, thaw
from lampc.ir.adapters import Bound, ParseFailure
from lampc.ir.lookup import Hit, Lookup
from lampc.ir.modelnames import model_name
from lampc.ir.runner import Choose, NoSession, Spoken, current_runner
from lampc.ir.settings import settings
from lampc.runtime.cascades import score_of
from lampc.runtime.eager_calls import Completer, EagerAnswer, EagerCall, calls_of
from lampc.runtime.failures import RowFailure
from lampc.runtime.modelview import at_temperature
from lampc.runtime.places import user_line_here
from lampc.runtime.tool_journal import ToolJournal
from lampc.runtime.types import TraceStep, Usage

if TYPE_CHECKING:
    from lampc.ir.prog import DefRetriever

_THREADS = 8
_AT_ONCE = 0.05
"""Seconds that all wait for a task put aside: calls that come soon after still go out with those of the others."""


@dataclass(slots=True)
class Book:
    """What the strands of one row share: where its draws come from, its candidate and temperature, what it used, its
    tool journal. `unread` is the last answer that could not be read, as a step without outputs, with the exception."""

    seed: int = 0
    row: str = ""
    rollout: int = 0
    assignment: Assignment = Assignment()
    temperature: float | None = None
    tools: ToolJournal | None = None
    usage: Usage = Usage()
    counts: Counter[tuple[tuple[str, ...], str]] = field(default_factory=Counter)
    unread: tuple[Exception, TraceStep] | None = None

    def count(self, scope: tuple[str, ...], what: str) -> int:
        """How often `what` was asked in `scope` before."""
        n = self.counts[scope, what]
        self.counts[scope, what] += 1
        return n


class Threads:
    """Threads for tools that wait for the outside, made when one is needed."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None

    def run(self, task: Callable[[], Any]) -> Future[Any]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="lampc-tool")
        return self._pool.submit(task)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


class Strand:
    """One piece of plain code. `scope` names it among the strands of its row; draws are keyed by it.

    While it waits, one of `calls`, `future` and `forks` says for what. Once `done`, it has a `value` or an `error`.
    """

    def __init__(
        self,
        piece: Callable[[], Any],
        book: Book,
        completer: Completer,
        threads: Threads,
        scope: tuple[str, ...] = (),
        *,
        hub: greenlet | None = None,
    ) -> None:
        self.piece, self.book, self.scope = piece, book, scope
        self.completer, self.threads = completer, threads
        self.calls: list[EagerCall] = []
        self.wanted: Lookup | None = None
        self.future: Future[Any] | None = None
        self.joining = False
        self.forks: list[Strand] = []
        self.steps: list[TraceStep] = []
        self.value: Any = None
        self.error: Exception | None = None
        self.done = False
        self.task = greenlet(self._body, hub or getcurrent())
        self.task.gr_context = contextvars.copy_context()

    def resume(self, value: Any = None) -> None:
        """Let the code go on until it waits again or ends."""
        self.calls, self.wanted, self.future, self.forks = [], None, None, []
        self.joining = False
        self.task.switch(value)
        self.done = self.task.dead

    def kill(self) -> None:
        """End the code where it stands; `finally` blocks of it run."""
        if self.task:
            self.task.throw(GreenletExit)

    def _body(self, _: Any) -> None:
        before = current_runner.set(self)
        try:
            self.value = self.piece()
        except GreenletExit:
            raise
        except Exception as e:
            self.error = e
        finally:
            current_runner.reset(before)  # the context is the greenlet's, which is this one's

    def taken(self) -> Any:
        """What the code gave, or the exception that ended it: once, as its frames hold this strand."""
        found = self.value if self.error is None else self.error
        self.value = self.error = None
        return found

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

    def rebound(self, bound: Bound) -> Bound:
        """The parameters of a call under this row's candidate."""
        return rebound(bound, self.book.assignment)

    def predict_many(
        self,
        bound: Bound,
        inputs: Mapping[str, Any],
        sampling: Sampling,
        key: Key,
        n: int,
        spoken: Spoken | None = None,
    ) -> list[tuple[dict[str, Any], str]]:
        """`n` draws of one call, asked for together."""
        bound = self.rebound(bound)
        outer = getattr(self.completer, "lm", None)
        lm = settings.get("lm") if bound.model == "main" else outer
        if lm is not outer:
            if lm is None:
                raise NoSession(f"predictor `{bound.name}`")
            bound = replace(bound, model=model_name(lm))
        where = user_line_here()
        book, site = self.book, key.path[-1]
        spot = Key((*self.scope, f"{site}#{book.count(self.scope, site)}"))
        draws = [Draw(book.seed, spot, (i,) if n > 1 else (), book.row, book.rollout) for i in range(n)]
        sampling = at_temperature(sampling, book.temperature)
        self.calls = calls_of(bound, dict(inputs), sampling, draws, spoken)
        answers: list[EagerAnswer] = self._suspend()
        out = []
        for a in answers:
            book.usage += a.usage
            try:
                if a.error is not None:
                    raise a.error
                outputs = dict(a.outputs) if spoken is None else spoken.read(a.text)
            except ParseFailure as e:
                book.unread = e, TraceStep(bound.name, dict(inputs), {}, a.text, where)
                raise
            self.steps.append(TraceStep(bound.name, dict(inputs), dict(outputs), a.text, where, score_of(a.text)))
            out.append((outputs, a.text))
        return out

    def gather(self, pieces: Sequence[Callable[[], Any]], choose: Choose | None = None) -> list[Any]:
        """Run pieces of code at once: what each gave, or its exception. Only the trace of the chosen one is kept."""
        if not pieces:
            return []
        number = self.book.count(self.scope, "fork")
        self.forks = [
            Strand(
                p, self.book, self.completer, self.threads, (*self.scope, f"fork#{number}/{i}"), hub=self.task.parent
            )
            for i, p in enumerate(pieces)
        ]
        forks = self.forks
        self._suspend()
        out = [f.taken() for f in forks]
        chosen = choose(out) if choose is not None else None
        for i, f in enumerate(forks):
            if choose is None or i == chosen:
                self.steps += f.steps
        return out

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        raise RowFailure(f"retriever `{name}` was not declared with lampc.retriever(...)", kind="host")

    def retrieve_from(self, definition: DefRetriever, query: str, k: int) -> list[str]:
        return [h.text for h in self.lookup(Lookup(definition, query, k))]

    def lookup(self, ask: Lookup) -> list[Hit]:
        """Passages; all strands that look something up at the same time are answered by one search."""
        self.wanted = ask
        found: list[Hit] | Exception = self._suspend()
        if isinstance(found, Exception):
            raise found
        return found

    def tuned(self, name: str, default: Any) -> Any:
        return thaw(self.book.assignment.get(name, default))

    def tool(
        self, name: str, effect: str, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Call a tool, unless the journal knows what it returned to this call."""
        number = self.book.count(self.scope, f"tool {name}")
        site = "/".join((*self.scope, f"{name}#{number}"))
        journal = self.book.tools
        entry = journal.entry(name, site, run, args, kwargs) if journal is not None else None
        if entry is not None and entry.known:
            return entry.value
        if getattr(run, "__lampc_blocking__", False):
            self.future = future = self.threads.run(lambda: run(*args, **kwargs))
            self._suspend()
            value = future.result()
        else:
            value = run(*args, **kwargs)
        return value if entry is None else entry.keep(value)

    def joined(self, future: Future[Any]) -> None:
        """Wait for what another strand works out."""
        self.future, self.joining = future, True
        self._suspend()

    def aside(self, task: Callable[[], Any]) -> Any:
        """Run a task on a thread; if it is not done at once, the other strands go on meanwhile."""
        if getcurrent() is not self.task:
            return task()
        future = self.threads.run(task)
        if not wait([future], _AT_ONCE).done:
            self.future = future
            self._suspend()
        return future.result()


class Weaver:
    """Runs strands: each as far as it goes, then the calls of all together."""

    def __init__(self, completer: Completer) -> None:
        self.completer = completer
        self.threads = Threads()
        self._live: dict[Strand, tuple[int, ...]] = {}
        self._parents: dict[Strand, Strand] = {}
        self._ready: deque[tuple[Strand, Any]] = deque()

    def spawn(self, piece: Callable[[], Any], book: Book, index: int, scope: tuple[str, ...] = ()) -> Strand:
        """A new strand; `index` places its calls among those of the others."""
        strand = Strand(piece, book, self.completer, self.threads, scope)
        self._add(strand, (index,))
        return strand

    def _add(self, strand: Strand, order: tuple[int, ...]) -> None:
        self._live[strand] = order
        self._ready.append((strand, None))

    def run(self, refill: Callable[[], bool], ended: Callable[[Strand], None]) -> None:
        """Run until nothing is left. `refill` may spawn more and says whether any were; `ended` is told of each."""
        try:
            while refill() or self._live:
                while self._ready:
                    self._resume(*self._ready.popleft(), ended)
                if self._live and not refill():
                    self._ready.extend(self._answers())
        finally:
            for strand in self._live:
                strand.kill()
            self.threads.close()

    def _resume(self, strand: Strand, value: Any, ended: Callable[[Strand], None]) -> None:
        strand.resume(value)
        for i, fork in enumerate(strand.forks):
            self._parents[fork] = strand
            self._add(fork, (*self._live[strand], i))
        if not strand.done:
            return
        del self._live[strand]
        parent = self._parents.pop(strand, None)
        if parent is None:
            ended(strand)
        elif all(f.done for f in parent.forks):
            self._ready.append((parent, None))

    def _answers(self) -> list[tuple[Strand, Any]]:
        """What strands that wait may go on with: calls first, all at once, then tools that are ready."""
        waiting = sorted(self._live, key=self._live.__getitem__)
        joined = [s for s in waiting if s.joining and s.future is not None and s.future.done()]
        if joined:
            return [(s, None) for s in joined]
        looking = [(s, s.wanted) for s in waiting if s.wanted is not None]
        if looking:
            hits = self.completer.lookup([ask for _, ask in looking])
            return [(s, h) for (s, _), h in zip(looking, hits, strict=True)]
        asking = [s for s in waiting if s.calls]
        if asking:
            found = iter(self.completer.complete([c for s in asking for c in s.calls]))
            return [(s, [next(found) for _ in s.calls]) for s in asking]
        pending = [(s, s.future) for s in waiting if s.future is not None]
        if not pending:
            return []
        ready, _ = wait({f for _, f in pending}, return_when=FIRST_COMPLETED)
        return [(s, None) for s, f in pending if f in ready]


def weave(completer: Completer, pieces: Iterable[Callable[[], Any]], book: Book, scope: tuple[str, ...]) -> list[Any]:
    """Run pieces of plain code at once; what each gave, or the exception that ended it, in order."""
    weaver = Weaver(completer)
    strands = [weaver.spawn(p, book, i, (*scope, str(i))) for i, p in enumerate(pieces)]
    weaver.run(lambda: False, lambda _: None)
    return [s.taken() for s in strands]


def rebound(bound: Bound, assignment: Assignment) -> Bound:
    """The parameters of a call under a candidate: what it does not assign stays as the program has it."""
    if not assignment.values:
        return bound
    n = bound.name
    return replace(
        bound,
        instruction=bound.keep.instruction(assignment.get(f"{n}.instruction", bound.instruction)),
        demos=bound.keep.shown(assignment.get(f"{n}.demos", bound.demos)),
        layout=assignment.get(f"{n}.layout", bound.layout),
        model=assignment.get(f"{n}.model", bound.model),
    )
