"""The work of a batch: requests go to an engine, a window of them at a time; what is finished is written."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lampc.runtime.batch.lines import BadLine, Line, Lines
from lampc.runtime.batch.order import MOST, Order
from lampc.runtime.batch.results import BatchError, Results
from lampc.runtime.batch.writing import Figures, Writing

if TYPE_CHECKING:
    from lampc.backend import Completion, Handle, Request, TokenEngine


@dataclass(slots=True)
class Survey:
    """What is to be done: of `total` lines, `known` are finished, `failed` of them with an error; `order` has the
    others, or the first `most` of them, and then `rest` is the place of the next."""

    total: int = 0
    known: int = 0
    failed: int = 0
    most: int = MOST
    order: Order = field(default_factory=Order)
    rest: tuple[int, int] | None = None

    def add(self, line: Line | BadLine) -> bool:
        """One more that is to be done; False if it begins the rest."""
        if len(self.order) < self.most:
            self.order.add(line)
        elif self.rest is None:
            self.rest = line.number, line.at
        return self.rest is None

    def todo(self, lines: Lines, results: Results) -> Iterator[Line | BadLine]:
        """What is to be done, each part of it in order. Once."""
        while True:
            yield from lines.read(self.order.places())
            place, self.order, self.rest = self.rest, Order(), None
            if place is None:
                return
            for line in lines.after(place):
                if not results.finished(line.number, line.key) and not self.add(line):
                    break


def survey(lines: Lines, results: Results, *, fresh: bool = False, strict: bool = False, most: int = MOST) -> Survey:
    """Reads the whole input before anything is computed. `fresh`: earlier results do not count. At most `most` lines
    are put in order together.

    Raises BatchError if earlier results belong to another input, model or options, or, with `strict`, if a line is
    wrong.
    """
    found = Survey(most=most)
    last = 0
    for line in lines:
        found.total += 1
        last = line.number
        if strict and isinstance(line, BadLine):
            raise BatchError(f"{lines.path}:{line.number}: {line.message} (--strict stops at the first such line)")
        state = "" if fresh else results.finished(line.number, line.key)
        found.known += state != ""
        found.failed += state == "failed"
        if not state:
            found.add(line)
    if results.last > last and not fresh:
        raise BatchError(
            f"{results.path}: holds the result of line {results.last}, but {lines.path} ends at line {last}; "
            "give another --out, or start over with --fresh"
        )
    return found


@dataclass(slots=True)
class _Work:
    """A line whose requests run: `left` of its completions are missing."""

    line: Line
    left: int
    completions: list[Completion | None]


def run_batch(
    engine: TokenEngine,
    lines: Iterable[Line | BadLine],
    results: Results,
    *,
    window: int = 256,
    strict: bool = False,
    on_line: Callable[[Figures], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Figures:
    """Runs lines, in their order as far as the engine keeps it. About `window` requests are held in memory at a time.

    A line that asks for what cannot be done, or whose request fails, becomes a result with an error; with `strict`
    it raises BatchError, after what else was finished by then is written. `stopped` is asked before every step: True
    raises KeyboardInterrupt, with nothing lost but what is half done.
    """
    if window < 1:
        raise BatchError(f"window is {window}; give at least 1")
    return _Batch(engine, iter(lines), results, window, strict, on_line, stopped).run()


class _Batch(Writing):
    def __init__(
        self,
        engine: TokenEngine,
        lines: Iterator[Line | BadLine],
        results: Results,
        window: int,
        strict: bool,
        on_line: Callable[[Figures], None] | None,
        stopped: Callable[[], bool],
    ) -> None:
        from lampc.backend.prompts import Prompts

        super().__init__(results, strict, on_line)
        self.engine, self.lines, self.window, self.stopped = engine, lines, window, stopped
        self.prompts = Prompts(engine.tokenizer)
        self.pending: deque[tuple[_Work, int, Request]] = deque()  # of the line read last, not submitted yet
        self.running: dict[int, tuple[_Work, int]] = {}

    def run(self) -> Figures:
        try:
            more = True
            while more or self.running:
                if self.stopped():
                    raise KeyboardInterrupt
                more = self._fill()
                for handle in self.engine.step():
                    self._take(handle)
            return self.figures
        finally:
            self.figures.seconds = time.monotonic() - self.started
            self.results.sync()

    def _fill(self) -> bool:
        """Submits as much as there is room for; False when that was all."""
        while len(self.running) < self.window and not self.stopped():
            if not self.pending:
                line = next(self.lines, None)
                if line is None:
                    return False
                self._prepare(line)
            elif not self._submit(*self.pending[0]):
                break
        return True

    def _prepare(self, line: Line | BadLine) -> None:
        if isinstance(line, BadLine):
            self._fail(line, line.message)
            return
        try:
            requests = line.want.requests(self.prompts.ids(line.prompt), self.engine.tokenizer)
        except _refusals() as error:
            self._fail(line, str(error))
            return
        work = _Work(line, len(requests), [None] * len(requests))
        self.pending.extend((work, fork, request) for fork, request in enumerate(requests))

    def _submit(self, work: _Work, fork: int, request: Request) -> bool:
        """False if the engine's queue is full."""
        from lampc.backend import QueueFull

        try:
            handle = self.engine.submit(request)
        except QueueFull:
            return False
        except _refusals() as error:  # at the first fork: the others differ by their keys
            self.pending.clear()
            self._fail(work.line, str(error))
            return True
        self.pending.popleft()
        self.running[handle.id] = (work, fork)
        return True

    def _take(self, handle: Handle) -> None:
        work, fork = self.running.pop(handle.id)
        work.completions[fork] = handle.completion
        work.left -= 1
        if work.left:
            return
        completions = [c for c in work.completions if c is not None]
        figures = self.figures
        for c in completions:
            figures.prompt_tokens += c.prompt_tokens
            figures.computed_tokens += c.computed_tokens
            figures.generated_tokens += len(c.tokens)
        failed = next((c.error for c in completions if c.finish == "error"), None)
        if failed is not None:
            self._fail(work.line, failed)
        else:
            self._write(work.line, _record(work.line.want.best(completions)))


def _refusals() -> tuple[type[Exception], ...]:
    """What says that a request cannot be run, rather than that something is broken."""
    from lampc.backend import BackendError

    return BackendError, TypeError, ValueError


def _record(completions: Sequence[Completion]) -> dict[str, Any]:
    """What is written: of one completion its fields, of several a list of them. Nothing that depends on neighbours."""
    first = completions[0]
    record: dict[str, Any] = (
        _output(first) if len(completions) == 1 else {"completions": [_output(c) for c in completions]}
    )
    record["prompt_tokens"] = first.prompt_tokens
    record["generated_tokens"] = sum(len(c.tokens) for c in completions)
    if forced := sum(c.forced_tokens for c in completions):
        record["forced_tokens"] = forced
    if first.prompt_logprobs is not None:
        record["prompt_logprobs"] = first.prompt_logprobs
    return record


def _output(completion: Completion) -> dict[str, Any]:
    out: dict[str, Any] = {"text": completion.text, "finish": completion.finish}
    if completion.stop_reason is not None:
        out["stop_reason"] = completion.stop_reason
    if completion.logprobs is not None:
        out["tokens"] = completion.tokens
        out["logprobs"] = completion.logprobs
    if completion.top_logprobs is not None:
        out["top_logprobs"] = completion.top_logprobs
    return out
