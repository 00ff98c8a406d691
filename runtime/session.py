"""A session: models, store, events and seed under which programs run.

    with Session(model="firefly") as session:
        outcomes = session.run(unit, rows)

All entry points (run, evaluate, optimize, eager calls) go through here, so their calls share one journal,
one pool of models and one prefix cache.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lampc.ir import Assignment, Draw, Module, Sampling, Target
from lampc.ir.adapters import Bound, adapter, bind_prompt, call_sampling
from lampc.ir.lookup import Hit, Lookup
from lampc.ir.prog import DefRetriever
from lampc.ir.unit import Unit
from lampc.passes.lower.continuing import joined
from lampc.runtime.ahead import Ahead, Gamble
from lampc.runtime.blocks import Services
from lampc.runtime.cache import CallCache, default_cache
from lampc.runtime.calls import CallDesk
from lampc.runtime.client import Client
from lampc.runtime.compile import Executable, lower, structural
from lampc.runtime.dropping import settle
from lampc.runtime.events import EventBus
from lampc.runtime.execute import Executor
from lampc.runtime.failures import RowFailure
from lampc.runtime.making import Awaiter
from lampc.runtime.models import Answer
from lampc.runtime.modelview import ModelView
from lampc.runtime.odds import Odds
from lampc.runtime.pool import KEPT, ModelPool
from lampc.runtime.remote import text_turn, turn_of
from lampc.runtime.retrieval.desk import RetrievalDesk, unfound
from lampc.runtime.retrieval.protocol import RetrieverError
from lampc.runtime.retrieval.protocol import Store as PassageStore
from lampc.runtime.rounds import read_calls
from lampc.runtime.store import Store
from lampc.runtime.types import Cell, Outcome, Row, Usage


class Session:
    """See the module's text.

    `model` stands for every model of the programs that run: `firefly`, a checkpoint folder, the URL of an
    OpenAI-compatible endpoint, or an engine object. `base` is where relative paths of a program start.
    `store` journals finished calls (in memory if None). `exact` asks for outputs that do not depend on
    scheduling. `cache` answers calls that any run made before (None: the one of `configure_cache`, without a store
    at least one in memory). `retrievers` are stores by the names of retrievers: they go before those that programs
    have. `window` is how many seconds an idle engine waits for calls of other threads. `speculate` lets runs of a
    single row begin branches before they are decided, where that is worth it (see `lampc.runtime.ahead`).

    Any number of threads may use a session; what they ask for at the same time runs together. Raises the errors of
    the parts it opens, when they are first used.
    """

    def __init__(
        self,
        *,
        model: Any = None,
        base: Path = Path("."),
        store: Store | None = None,
        seed: int = 0,
        exact: bool = True,
        bus: EventBus | None = None,
        prefix_cache: bool = True,
        engine: str = "paged",
        max_live: int = 1024,
        model_options: Mapping[str, Any] | None = None,
        cache: CallCache | None = None,
        window: float = 0.0,
        retrievers: Mapping[str, Any] | None = None,
        speculate: bool | Gamble = True,
    ) -> None:
        self.base = base
        self.seed = seed
        self.bus = bus or EventBus()
        self.store = store if store is not None else Store(None)
        self.max_live = max_live
        self.models = ModelPool(
            model,
            base=base,
            exact=exact,
            prefix_cache=prefix_cache,
            engine=engine,
            options=dict(model_options or {}),
            bus=self.bus,
            store=self.store,
        )
        if cache is None:
            cache = default_cache(memory=store is None)
        self.desk = CallDesk(self.store, self.bus, cache, window=window)
        self.lock = threading.RLock()  # for what is made once and kept
        self._executables: dict[tuple[str, str, Assignment], Executable] = {}
        self.retrieval = RetrievalDesk(self.store, base, retrievers)
        gamble = speculate if isinstance(speculate, Gamble) else Gamble()
        self.ahead = Ahead(Odds(lambda: self.desk.books.by_node), gamble) if speculate else None
        self._views: dict[int, Session] = {}
        self._seconds = 0.0
        self.unkept_tools: set[str] = set()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give models back. The store stays open: it belongs to the caller."""
        self.desk.abort()
        self.models.close()

    def using(self, model: Any) -> Session:
        """This session with another `main` model for all programs: desk, models, caches and history are shared."""
        with self.lock:
            found = self._views.get(id(model))
            if found is None or found.models.override is not model:
                if len(self._views) >= KEPT:
                    self._views.clear()
                found = copy.copy(self)
                found.models = self.models.using(model)
                found._executables = {}
                self._views[id(model)] = found
            return found

    def cold(self) -> Session:
        """This session as if nothing had run: its models with empty prefix caches, a journal and accounts of its own,
        no cache of calls. What this one holds on to is not dropped; it must be idle."""
        made = copy.copy(self)
        made.models.drop_prefixes()
        made.store = Store(None)
        made.desk = CallDesk(made.store, self.bus, window=self.desk.window)
        made.ahead, made._views, made._seconds = None, {}, 0.0
        return made

    # -- running ------------------------------------------------------------------------------------

    def run(
        self,
        program: Unit | Module,
        rows: Sequence[Row],
        *,
        entry: str | None = None,
        assignment: Assignment | None = None,
    ) -> list[Outcome]:
        """Run a program on rows under one candidate."""
        candidate = assignment or Assignment()
        return self.run_cells(program, [Cell(r, candidate) for r in rows], entry=entry)

    def run_cells(
        self,
        program: Unit | Module,
        cells: Sequence[Cell],
        entry: str | None = None,
        on_done: Callable[[int, Outcome], None] | None = None,
        *,
        whole: bool = False,
    ) -> list[Outcome]:
        """Run all cells of a table (candidate x row) at once; outcomes stand in the order of the cells.

        `whole` runs finish the samples of a vote that is decided too, so that all traces are whole.
        A failing row is an outcome with an error. What is finished when this is interrupted is in the store.
        """
        started = time.perf_counter()
        try:
            if isinstance(program, Unit) and program.dynamic is not None:
                from lampc.runtime.eager import run_eager

                return run_eager(self, program, cells, on_done)
            module = program.module if isinstance(program, Unit) else program
            name = entry or (program.entry if isinstance(program, Unit) else None)
            lowered = self.executables(module, name, cells)
            with Client(self.desk) as client:
                ahead = self.ahead if len(cells) == 1 and not whole else None
                executor = self._executor(module, client, program, ahead)
                executor.whole = whole
                return executor.run(list(zip(cells, lowered, strict=True)), on_done)
        finally:
            self._seconds += time.perf_counter() - started

    def _executor(
        self,
        module: Module,
        client: Client | None = None,
        program: Unit | Module | None = None,
        ahead: Ahead | None = None,
    ) -> Executor:
        services = Services(
            client or Client(self.desk),
            lambda name: self.models.get(name, module),
            self.retrieval,
            self.base,
            self.seed,
            program.retrievers if isinstance(program, Unit) else {},
            ahead,
            self.store,
            self.unkept_tools,
        )
        return Executor(services, self.max_live)

    def executables(self, module: Module, entry: str | None, cells: Sequence[Cell]) -> list[Executable]:
        """The lowered program of each cell. Candidates and module are looked at once, however many cells there are."""
        if not cells:
            return []
        digest = module.digest()
        candidates = {id(cell.assignment): cell.assignment for cell in cells}
        made = {i: self._executable(module, digest, entry, a) for i, a in candidates.items()}
        return [made[id(cell.assignment)] for cell in cells]

    def executable(self, module: Module, entry: str | None, assignment: Assignment | None = None) -> Executable:
        """The lowered program for the structural part of a candidate (layouts, models), made once."""
        return self._executable(module, module.digest(), entry, assignment or Assignment())

    def _executable(self, module: Module, digest: str, entry: str | None, assignment: Assignment) -> Executable:
        shape = structural(module, assignment)
        spot = (digest, entry or "", shape)
        with self.lock:
            if spot not in self._executables:
                alike = joined(module, lambda one, other: self.models.same(one, other, module))
                lowered = lower(alike, lambda name: self.target(module, name), shape)
                self._executables[spot] = Executable(lowered, entry)
            return self._executables[spot]

    def target(self, module: Module, name: str = "main") -> Target:
        """What programs are lowered for."""
        return self.models.get(name, module).target

    def retriever(self, module: Module, name: str) -> PassageStore:
        """The store of the retriever `@name`. Raises RowFailure if the module has none, or it has no store."""
        definition = module.lookup(name)
        if not isinstance(definition, DefRetriever):
            raise RowFailure(f"there is no retriever `{name}`")
        try:
            return self.retrieval.store(definition)
        except RetrieverError as e:
            raise unfound(e) from e

    # -- single calls, for the interpreter and eager programs -----------------------------------------

    def complete(self, calls: Sequence[tuple[Bound, Mapping[str, Any], Sampling, Draw]]) -> list[Answer]:
        """Run LM calls together, each rendered from its predictor; answers in order, errors inside them."""
        return [answer for answer, _ in self.answered(calls)]

    def answered(self, calls: Sequence[tuple[Bound, Mapping[str, Any], Sampling, Draw]]) -> list[tuple[Answer, Usage]]:
        """The same, each answer with what it cost: nothing, if an earlier or equal call gave it."""
        answers: list[tuple[Answer, Usage] | None] = [None] * len(calls)
        with Client(self.desk) as client:
            for i, (bound, inputs, sampling, draw) in enumerate(calls):
                model = self.models.get(bound.model).asking(bound.layout, bound.signature)
                prompt = adapter(bound.layout).render(bound.signature, bound.name)
                values = [inputs.get(f.name) for f in bound.signature.inputs]
                turns = bind_prompt(prompt, bound, values, model.target.quote)
                drawn = call_sampling(bound.signature, bound.layout, sampling, model.target)
                self.request(client, answers, i, model, turns, drawn, draw, bound.name)
            client.finish()
        return [a for a in answers if a is not None]

    def chat(self, messages: Sequence[Mapping[str, Any]], sampling: Sampling, draws: Sequence[Draw]) -> list[Answer]:
        """Answers to a conversation, one for each draw, errors inside them."""
        answers: list[tuple[Answer, Usage] | None] = [None] * len(draws)
        with Client(self.desk) as client:
            self._chat(client, answers, messages, sampling, draws)
            client.finish()
        return [a[0] for a in answers if a is not None]

    async def achat(
        self, messages: Sequence[Mapping[str, Any]], sampling: Sampling, draws: Sequence[Draw]
    ) -> list[Answer]:
        """The same, for `await`."""
        answers: list[tuple[Answer, Usage] | None] = [None] * len(draws)
        with Client(self.desk) as client:
            self._chat(client, answers, messages, sampling, draws, Awaiter.here())
            await client.afinish()
        return [a[0] for a in answers if a is not None]

    def _chat(
        self,
        client: Client,
        answers: list[tuple[Answer, Usage] | None],
        messages: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        draws: Sequence[Draw],
        awaiter: Awaiter | None = None,
    ) -> None:
        model = self.models.get("main")
        turns = [turn_of(m) for m in messages]
        if model.target.local:
            turns = [text_turn(t, model.target.info.name) for t in turns]
        for i, draw in enumerate(draws):
            self.request(client, answers, i, model, turns, sampling, draw, "lm", awaiter)

    def request(
        self,
        client: Client,
        answers: list[tuple[Answer, Usage] | None],
        i: int,
        model: ModelView,
        turns: Sequence[tuple[str, str]],
        sampling: Sampling,
        draw: Draw,
        node: str,
        awaiter: Awaiter | None = None,
    ) -> None:
        """Ask for the answer to a conversation; it will stand in `answers[i]` once the client has finished."""

        def deliver(answer: Answer, usage: Usage) -> None:
            answers[i] = answer, usage

        ids: tuple[int, ...] = ()
        if model.target.local:
            assert model.target.tokens is not None
            ids = tuple(model.target.tokens.encode(model.target.render_chat(turns)))
        client.request(
            model, sampling, draw, deliver, ids=ids, messages=() if ids else tuple(turns), node=node, awaiter=awaiter
        )

    def predict(
        self,
        bound: Bound,
        inputs: Mapping[str, Any],
        sampling: Sampling,
        draw: Draw,
        module: Module | None = None,
    ) -> tuple[Mapping[str, Any], str]:
        """One LM call and its outputs, by a model that `module` means. Raises UnreadableAnswer, or RowFailure if the
        model fails."""
        (found,) = read_calls(self, [(bound, inputs, sampling, draw)], module=module)
        if found.error is not None:
            raise found.error
        return found.outputs, found.text

    def runner(self, program: Unit | Module) -> SessionRunner:
        """What `interpret` needs to run a program's module in this session."""
        return SessionRunner(self, program)

    # -- accounts -------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait for what votes that are decided left at endpoints, so that `usage` has it and it is kept."""
        settle(self.desk)

    @property
    def usage(self) -> Usage:
        """All calls so far, and the seconds spent in `run_cells`."""
        return replace(self.desk.books.usage, seconds=self._seconds)

    @property
    def usage_by_node(self) -> Mapping[str, Usage]:
        """Usage of each predictor."""
        return dict(self.desk.books.by_node)

    def bound(self) -> int | None:
        """Prompt tokens that the prefix tree of all prompts computed here needs; None if too many to keep."""
        return self.desk.books.bound()

    @contextlib.contextmanager
    def measured(self) -> Iterator[list[Usage]]:
        """Usage of a stretch of work: the list holds it once the block is left."""
        before = self.usage
        out: list[Usage] = []
        yield out
        out.append(self.usage - before)


class SessionRunner:
    """One LM call or retrieval at a time, for the reference interpreter and eager code."""

    def __init__(self, session: Session, program: Unit | Module) -> None:
        self.session = session
        self.module = program.module if isinstance(program, Unit) else program
        self.brought = program.retrievers if isinstance(program, Unit) else {}

    def predict(
        self, bound: Bound, inputs: Mapping[str, Any], sampling: Sampling, draw: Draw
    ) -> tuple[Mapping[str, Any], str]:
        return self.session.predict(bound, inputs, sampling, draw, self.module)

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        return self.session.retriever(self.module, name).search(query, k)

    def lookup(self, ask: Lookup) -> list[Hit]:
        return self.session.retrieval.one(replace(ask, store=self.brought.get(ask.definition.symbol)))


__all__ = ["Session", "SessionRunner"]
