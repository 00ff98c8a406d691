"""How a call made outside of a compiled program reaches the session that answers it.

`Predict.__call__` (and a retriever's `search`, and a tool) ask `runner()` when no trace is being made. The
runtime sets `current_runner` around each row that it runs; `set_default_runner` installs what answers when
nothing is set, which is what `lampc.configure(...)` does. Nothing here knows of models.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lampc.ir.content import Key, Sampling

if TYPE_CHECKING:
    from lampc.ir.adapters.bind import Bound
    from lampc.ir.lookup import Hit, Lookup
    from lampc.ir.prog import DefRetriever


class Runner(Protocol):
    """What eager code asks of the outside: one LM call or one retrieval at a time."""

    def predict(
        self, bound: Bound, inputs: Mapping[str, Any], sampling: Sampling, key: Key
    ) -> tuple[dict[str, Any], str]:
        """Outputs by name, and the model's text. `key` names the call site; the runner adds the occurrence."""
        ...

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        """The `k` best passages of the retriever called `name`."""
        ...


@dataclass(frozen=True, slots=True)
class Spoken:
    """Messages that somebody has written for a call, and how its answer is read: `read` gives outputs as JSON, and
    raises where it cannot."""

    messages: tuple[Mapping[str, Any], ...]
    read: Callable[[str], dict[str, Any]]


@runtime_checkable
class ManyRunner(Protocol):
    """A runner that draws several answers of one call at once."""

    def predict_many(
        self,
        bound: Bound,
        inputs: Mapping[str, Any],
        sampling: Sampling,
        key: Key,
        n: int,
        spoken: Spoken | None = None,
    ) -> list[tuple[dict[str, Any], str]]:
        """Outputs and text of each draw; with `spoken` its messages are sent, and it reads the answers."""
        ...


@runtime_checkable
class DefinedRetrieval(Protocol):
    """A runner that is given a retriever's definition, not only its name."""

    def retrieve_from(self, definition: DefRetriever, query: str, k: int) -> list[str]: ...


@runtime_checkable
class LookupRunner(Protocol):
    """A runner that is given a whole retrieval, with the store that an object brings, and gives hits."""

    def lookup(self, ask: Lookup) -> list[Hit]: ...


@runtime_checkable
class ToolRunner(Protocol):
    """A runner that also wants to know of tool calls, for instance to journal what they returned."""

    def tool(
        self, name: str, effect: str, run: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any: ...


@runtime_checkable
class BatchRunner(Protocol):
    """A runner that can run a whole program over many rows at once."""

    def run_many(self, program: Any, inputs: Sequence[Mapping[str, Any]]) -> list[Any]:
        """For each row the outputs by name, or the exception that ended it."""
        ...


Choose = Callable[[list[Any]], int | None]
"""Which of several pieces counts, by what they gave; None for none of them."""


@runtime_checkable
class GatherRunner(Protocol):
    """A runner that runs several pieces of plain code at once, their LM calls in common batches."""

    def gather(self, pieces: Sequence[Callable[[], Any]], choose: Choose | None = None) -> list[Any]:
        """What each piece gave, or the exception that ended it, in order. With `choose`, only the calls of the piece
        that it chooses belong to the row's trace."""
        ...


@runtime_checkable
class AwaitingRunner(Protocol):
    """A runner for tasks of asyncio."""

    def awaiting(self, piece: Callable[[], Any]) -> Awaitable[Any]:
        """Run plain code such that its LM calls suspend this task only, and go out with those of other tasks."""
        ...


@runtime_checkable
class AsideRunner(Protocol):
    """A runner that others use too, and that goes on while one of them waits."""

    def aside(self, task: Callable[[], Any]) -> Any:
        """Run a task that asks neither models nor tools; if it takes long, on a thread, while others go on."""
        ...


@runtime_checkable
class JoinRunner(Protocol):
    """A runner of plain code that can wait for what another piece of code works out, while others go on."""

    def joined(self, future: Future[Any]) -> None:
        """Come back once it is done."""
        ...


class NoSession(ValueError):
    """An LM call was made where nothing can answer it."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: no model is set. Call lampc.configure(model=...) first "
            '(for instance model="firefly", a checkpoint folder or an http:// endpoint), '
            "or run the program through lampc.runtime.session.Session"
        )


current_runner: ContextVar[Runner | None] = ContextVar("lampc_runner", default=None)
_default: list[Runner | None] = [None]


def set_default_runner(runner: Runner | None) -> Runner | None:
    """Install what answers where `current_runner` is not set, in all threads; gives the one before."""
    before, _default[0] = _default[0], runner
    return before


def find_runner() -> Runner | None:
    """The runner of this context, else the default one, else None."""
    return current_runner.get() or _default[0]


def runner(what: str = "an LM call") -> Runner:
    """As `find_runner`, but raises NoSession, naming `what` was tried."""
    found = find_runner()
    if found is None:
        raise NoSession(what)
    return found


def gather(pieces: Sequence[Callable[[], Any]], choose: Choose | None = None) -> list[Any]:
    """What each piece of plain code gave, or the exception that ended it: together where the runner can, else one
    after another."""
    at = find_runner()
    if isinstance(at, GatherRunner):
        return at.gather(pieces, choose)
    out: list[Any] = []
    for piece in pieces:
        try:
            out.append(piece())
        except Exception as e:
            out.append(e)
    return out


def aside(task: Callable[[], Any]) -> Any:
    """What a task gives that asks neither models nor tools; where it takes long, others go on meanwhile."""
    at = find_runner()
    return at.aside(task) if isinstance(at, AsideRunner) else task()


def once(known: MutableMapping[Any, Future[Any]], key: Hashable, make: Callable[[], Any]) -> Any:
    """What `make` gives, which is called by the first who asks for `key`; others wait for that. What fails is not
    kept, and fails those that waited too."""
    found = known.get(key)
    if found is not None:
        at = find_runner()
        if not found.done() and isinstance(at, JoinRunner):
            at.joined(found)
        return found.result()
    mine = known[key] = Future()
    try:
        mine.set_result(make())
    except BaseException as e:
        del known[key]
        mine.set_exception(e if isinstance(e, Exception) else RuntimeError("the call that worked it out was ended"))
        raise
    return mine.result()
