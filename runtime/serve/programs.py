"""Programs as endpoints: `POST /programs/NAME` with typed inputs gives typed outputs, or a stream of their making."""

from __future__ import annotations

import asyncio
import contextvars
import copy
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from lampc.backend.errors import EngineClosed
from lampc.ir import Assignment, thaw
from lampc.ir.adapters import Bound, bind_predictors
from lampc.ir.adapters.schema import schema
from lampc.ir.adapters.values import unwritable
from lampc.ir.diag import there_are
from lampc.ir.hostvalues import same
from lampc.ir.prog import Func
from lampc.ir.types import Maybe, Record
from lampc.ir.unit import Unit
from lampc.runtime.calling_off import RunControl
from lampc.runtime.data import interface
from lampc.runtime.serve.bodies import ProgramBody
from lampc.runtime.serve.inputs import wrong_place
from lampc.runtime.serve.problems import Problem, problem_of
from lampc.runtime.serve.reading import place, read_body
from lampc.runtime.serve.service import Service
from lampc.runtime.serve.sse import EventStream
from lampc.runtime.session import Session
from lampc.runtime.streaming_fields import FieldPieces, family
from lampc.runtime.types import Cell, Outcome, Row

SEEDS = 64
"""Seeds whose sessions are kept."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program by its name, under the candidate that its file chose."""

    name: str
    unit: Unit
    assignment: Assignment = Assignment()
    base: Path = Path(".")

    @property
    def types(self) -> tuple[Record, Record]:
        """Of inputs and outputs; an untraced program has none that are known."""
        return interface(self.unit.module, None if self.unit.dynamic is not None else self.unit.entry)

    @property
    def defaults(self) -> dict[str, Any]:
        """Values of inputs that may be left out."""
        func = self.unit.module.lookup(self.unit.entry)
        return thaw(func.defaults) if isinstance(func, Func) else {}

    @property
    def described(self) -> dict[str, Any]:
        """Name and JSON schemas."""
        inputs, outputs = self.types
        known = self.unit.dynamic is None
        return {
            "name": self.name,
            "inputs": _object(inputs, self.defaults) if known else {"type": "object"},
            "outputs": _object(outputs) if known else {"type": "object"},
        }

    def check(self, inputs: dict[str, Any]) -> None:
        """Raises Problem that names the input, and what it is to be."""
        for name, value in inputs.items():
            why = unwritable(value, place(("inputs", name)))  # a body may say NaN, or a number beyond all bounds
            if why:
                raise Problem(400, why, param=why.split("`")[1])
        if self.unit.dynamic is not None:
            return
        wanted = dict(self.types[0].fields)
        for name in inputs:
            if name not in wanted:
                why = f"{self.name} has no input {name!r:.80}; it has {', '.join(wanted) or 'none'}"
                raise Problem(400, why, param=place(("inputs", name)))
        known = self.defaults
        given = {n: v for n, v in inputs.items() if n not in known or not same(v, known[n])}
        needed = Record(tuple((n, t) for n, t in wanted.items() if n in given or n not in known))
        found = wrong_place(given, needed, ("inputs",))
        if found is not None:
            raise Problem(400, f"{found[0]}: {found[1]}", param=found[0])


def _object(record: Record, defaults: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {n: schema(t) | ({"default": defaults[n]} if n in defaults else {}) for n, t in record.fields},
        "required": [n for n, t in record.fields if n not in defaults and not isinstance(t, Maybe)],
        "additionalProperties": False,
    }


class Hosted:
    """A program and the sessions that run it: one on the served model, and one on each adapter that is asked for,
    made by `session` when it is first needed."""

    def __init__(self, program: Program, session: Callable[[str | None], Session]) -> None:
        self.program = program
        self._make = session
        self._made: dict[str | None, Session] = {}
        self._seeded: OrderedDict[tuple[str | None, int], Session] = OrderedDict()
        self.session = self.on(None)

    def on(self, adapter: str | None) -> Session:
        """The session whose calls go through an adapter, or through none."""
        if adapter not in self._made:
            self._made[adapter] = self._make(adapter)
        return self._made[adapter]

    def seeded(self, seed: int, adapter: str | None = None) -> Session:
        """A session with another seed: model, caches and all else are shared."""
        session = self.on(adapter)
        if seed == session.seed:
            return session
        found = self._seeded.pop((adapter, seed), None)
        if found is None:
            found = copy.copy(session)
            found.seed = seed
            if len(self._seeded) >= SEEDS:
                self._seeded.popitem(last=False)
        self._seeded[adapter, seed] = found
        return found

    def close(self) -> None:
        """Give sessions back."""
        for session in self._made.values():
            session.close()


class Programs:
    """The programs of a server by their names, and the threads that run them."""

    def __init__(self, hosted: Iterable[Hosted], threads: int) -> None:
        self.hosted = {h.program.name: h for h in hosted}
        self.waiting = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="lampc-program")

    def get(self, name: str) -> Hosted:
        """Raises Problem."""
        if name not in self.hosted:
            known = there_are(self.hosted, "none: name files of programs when the server is started")
            raise Problem(404, f"there is no program {name!r}; {known}", code="program_not_found")
        return self.hosted[name]

    def run(
        self, hosted: Hosted, body: ProgramBody, adapter: str | None, control: RunControl
    ) -> asyncio.Future[Outcome]:
        """Run a program on a thread, for the loop that is running."""
        session, program = hosted.seeded(body.seed, adapter), hosted.program
        cell = Cell(Row("0", body.inputs), program.assignment)

        def work() -> Outcome:
            with control.running():
                control.check()
                (outcome,) = session.run_cells(program.unit, [cell])
                return outcome

        self.waiting += 1
        context = contextvars.copy_context()
        future = asyncio.get_running_loop().run_in_executor(self._threads, context.run, work)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: asyncio.Future[Outcome]) -> None:
        self.waiting -= 1
        if not future.cancelled():
            future.exception()  # whoever called it off does not ask

    def close(self) -> None:
        """Give sessions and threads back."""
        for hosted in self.hosted.values():
            hosted.close()
        self._threads.shutdown(wait=False, cancel_futures=True)


async def list_programs(http: HTTPRequest) -> Response:
    """`GET /programs`: names and JSON schemas."""
    programs: Programs = http.app.state.programs
    return JSONResponse({"programs": [h.program.described for h in programs.hosted.values()]})


async def describe_program(http: HTTPRequest) -> Response:
    """`GET /programs/NAME`. Raises Problem."""
    programs: Programs = http.app.state.programs
    return JSONResponse(programs.get(http.path_params["name"]).program.described)


async def run_program(http: HTTPRequest) -> Response:
    """`POST /programs/NAME`. Raises Problem."""
    service: Service = http.app.state.service
    programs: Programs = http.app.state.programs
    hosted = programs.get(http.path_params["name"])
    body = read_body(ProgramBody, await http.body())
    hosted.program.check(body.inputs)
    adapter = service.adapter(body.model)
    service.admit(1)
    if programs.waiting >= service.limits.programs + service.limits.queue:
        raise Problem(
            429, "too many programs are under way; try again", code="queue_full", headers={"retry-after": "1"}
        )
    if body.stream:
        stream = _Stream(hosted, programs, service, body, adapter)
        control = RunControl(stream.hear)
        return await EventStream.begun(stream.events(control), control.cancel)
    control = RunControl()
    try:
        outcome = await asyncio.wait_for(programs.run(hosted, body, adapter, control), service.seconds(body.timeout))
    except TimeoutError:
        raise service.late(body.timeout) from None
    finally:
        control.cancel()
    return JSONResponse(_whole(hosted.program, outcome))


def _whole(program: Program, outcome: Outcome) -> dict[str, Any]:
    """The answer. Raises Problem for a row that failed."""
    if isinstance(outcome.exception, EngineClosed):  # no fault of the program
        raise problem_of(outcome.exception)
    error = outcome.error
    if error is not None:
        place = Path(error.where).name  # where files lie on the server is nobody's business
        message = f"{program.name} failed" + (f" at {place}" if place else "") + f": {error.message}"
        raise Problem(422, message, code=error.kind or "failed")
    return {"program": program.name, "outputs": outcome.value}


class _Stream:
    """A run that tells of its answers while they are written: an event for each piece of an output field (of the whole
    text, where the layout has no marks), at last the outputs."""

    def __init__(
        self, hosted: Hosted, programs: Programs, service: Service, body: ProgramBody, adapter: str | None
    ) -> None:
        self._hosted, self._programs, self._body, self._adapter = hosted, programs, body, adapter
        program = hosted.program
        self._service = service
        self._bound: dict[str, Bound] = dict(bind_predictors(program.unit.module, program.assignment))
        self._fields: dict[int, dict[str, FieldPieces]] = {}
        self._events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()

    def hear(self, predictor: str, call: int, text: str) -> None:
        """A piece of an answer, on whatever thread writes it."""
        self._service.engine.post(lambda: self._tell(predictor, call, text))

    def _tell(self, predictor: str, call: int, text: str) -> None:
        head = {"predictor": predictor, "call": call}
        fields = self._fields.get(call)
        if fields is None:
            fields = self._fields[call] = self._pieces(predictor)
        for name, pieces in fields.items():
            if piece := pieces.push(text):
                self._events.put_nowait({**head, "field": name, "text": piece})
        if not fields:
            self._events.put_nowait({**head, "field": None, "text": text})

    def _pieces(self, predictor: str) -> dict[str, FieldPieces]:
        bound = self._bound.get(predictor)
        if bound is None or family(bound.layout) is None:
            return {}
        names = list(bound.signature.record().names())
        return {n: FieldPieces(bound.layout, n, names) for n in names}

    async def events(self, control: RunControl) -> AsyncIterator[dict[str, Any]]:
        """What happens, as it does. Raises Problem."""
        run = self._programs.run(self._hosted, self._body, self._adapter, control)
        post = self._service.engine.post
        run.add_done_callback(lambda _: post(lambda: self._events.put_nowait(None)))
        try:
            async with asyncio.timeout(self._service.seconds(self._body.timeout)):
                while (event := await self._events.get()) is not None:
                    yield event
        except TimeoutError:
            raise self._service.late(self._body.timeout) from None
        yield _whole(self._hosted.program, run.result())
