"""Generations of one HTTP request: submitted together, read whole or piece by piece, aborted together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from lampc.backend.errors import BadGrammar, RequestFailed, Unsupported
from lampc.backend.loop import Ticket
from lampc.backend.output import TextPieces
from lampc.backend.request import Completion, Handle, Request
from lampc.runtime.serve.engine import ServedEngine
from lampc.runtime.serve.pace import Pace
from lampc.runtime.serve.problems import problem_of

Top = tuple[tuple[int, float], ...]


@dataclass(slots=True)
class Piece:
    """What is new of generation `index`: text that is sure, its tokens, and ln p of these if asked for. The last has
    the `completion`."""

    index: int
    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[Top] = field(default_factory=list)
    completion: Completion | None = None


class Generations:
    """See the module's text. To be made, read and aborted in the event loop that the engine is attached to.

    Whoever makes one calls `abort` in the end, whatever happened: it does nothing to what is done. Pieces of each come
    at most `events_per_s` times a second. `kept` says which field of the body says what the text may be.
    """

    def __init__(
        self,
        engine: ServedEngine,
        requests: Sequence[Request],
        *,
        listen: bool,
        events_per_s: float,
        kept: Callable[[], str | None],
    ) -> None:
        self._engine = engine
        self.kept = kept
        self._pace = Pace(events_per_s)
        told, ended = self._pace.told, self._pace.ended
        self._followed = [_Followed(i, r, engine, told, kept, listen) for i, r in enumerate(requests)]
        self.tickets = [f.ticket for f in self._followed]
        engine.submit(self.tickets)
        for ticket in self.tickets:
            ticket.future.add_done_callback(lambda _: engine.post(ended))

    async def results(self) -> list[Completion]:
        """All completions, in order. Raises Problem."""
        while not all(t.future.done() for t in self.tickets):
            await self._pace.wait()
        return [_whole(t, self.kept) for t in self.tickets]

    async def pieces(self) -> AsyncIterator[Piece]:
        """What there is to read, as it comes, of all generations; of each the last piece has its completion. Raises
        as `results` does."""
        left = list(self._followed)
        while left:
            await self._pace.wait()
            for followed in list(left):
                piece = followed.fresh()
                if piece is None:
                    continue
                if piece.completion is not None:
                    left.remove(followed)
                self._pace.read()
                yield piece

    def abort(self) -> None:
        """End what is not done."""
        self._engine.loop.abort(self.tickets)


class _Heard:
    """What was heard of one generation. `hear` runs in the engine's thread, all else in the event loop.

    Whoever tells of it holds on to this, and this to nothing that holds on to him: an answer that is over is gone at
    once, and nothing waits for the garbage collector, which makes everybody wait.
    """

    def __init__(self, engine: ServedEngine, told: Callable[[], None]) -> None:
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.top: list[Top] = []
        self._engine, self._told = engine, told
        self._taken = 0  # logprobs that were handed over

    def hear(self, handle: Handle, token: int) -> None:
        """One more token."""
        logprobs: list[float] = []
        top: list[Top] = []
        if handle.measured is not None:
            logprobs, top = handle.measured(self._taken)
            self._taken += len(logprobs)
        self._engine.post(lambda: self._take(token, logprobs, top))

    def _take(self, token: int, logprobs: list[float], top: list[Top]) -> None:
        self.tokens.append(token)
        self.logprobs += logprobs
        self.top += top
        self._told()


class _Followed:
    """One generation, read in the event loop. `told` is called there when there is something to read."""

    def __init__(
        self,
        index: int,
        request: Request,
        engine: ServedEngine,
        told: Callable[[], None],
        kept: Callable[[], str | None],
        listen: bool,
    ) -> None:
        self.index, self._kept = index, kept
        self._wants_logprobs = request.logprobs or request.top_logprobs > 0
        self._text = TextPieces(request.sampling, engine.tokenizer)
        self._heard = _Heard(engine, told)
        self._pushed = 0  # tokens that went into the text
        self._told = 0  # tokens that pieces have held
        self.ticket = Ticket(request, self._heard.hear if listen else None)

    def fresh(self) -> Piece | None:
        """What is new, None if nothing is."""
        if self.ticket.future.done():
            return self._last(_whole(self.ticket, self._kept))
        heard = self._heard
        ready = len(heard.tokens)
        if self._wants_logprobs:  # a grammar's forced tokens are told of before what they are worth is known
            ready = min(ready, len(heard.logprobs))
        text = "".join(map(self._text.push, heard.tokens[self._pushed : ready]))
        self._pushed = ready
        if not text:
            return None
        told = self._told if self._text.held else ready
        piece = Piece(self.index, text, *self._from_told(heard.tokens, heard.logprobs, heard.top, told))
        self._told = told
        return piece

    def _last(self, whole: Completion) -> Piece:
        text = "".join(map(self._text.push, self._heard.tokens[self._pushed :])) + self._text.end(whole.text)
        rest = self._from_told(whole.tokens, whole.logprobs or (), whole.top_logprobs or (), len(whole.tokens))
        return Piece(self.index, text, *rest, whole)

    def _from_told(
        self, tokens: Sequence[int], logprobs: Sequence[float], top: Sequence[Top], end: int
    ) -> tuple[list[int], list[float], list[Top]]:
        at = slice(self._told, end)
        return list(tokens[at]), list(logprobs[at]), list(top[at])


def _whole(ticket: Ticket, kept: Callable[[], str | None]) -> Completion:
    """The end of a generation. Raises Problem; what is refused only now is so for what its text may be."""
    error = ticket.future.exception()  # not raised here: its traceback would hold the ticket, which holds it
    if error is None:
        completion = ticket.future.result()
        if completion.finish != "error":
            return completion
        error = RequestFailed(f"the generation failed: {completion.error}", (completion,))
    if not isinstance(error, Exception):
        raise error
    raise problem_of(error, kept() if isinstance(error, BadGrammar | Unsupported | RequestFailed) else None) from error
