"""Generations of one HTTP request: submitted together, read whole or piece by piece, aborted together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from lampc.backend.errors import BadGrammar, RequestFailed, Unsupported
from lampc.backend.loop import Ticket
from lampc.backend.output import TextPieces
from lampc.backend.request import Completion, Handle, Request
from lampc.runtime.serve.engine import ServedEngine
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

    Whoever makes one calls `abort` in the end, whatever happened: it does nothing to what is done. `kept` says
    which field of the body says what the text may be.
    """

    def __init__(
        self,
        engine: ServedEngine,
        requests: Sequence[Request],
        *,
        listen: bool,
        kept: Callable[[], str | None],
    ) -> None:
        self._engine = engine
        self.kept = kept
        self._event = asyncio.Event()
        self._followed = [_Followed(i, r, self, listen) for i, r in enumerate(requests)]
        self.tickets = [f.ticket for f in self._followed]
        engine.submit(self.tickets)
        for ticket in self.tickets:
            ticket.future.add_done_callback(lambda _: engine.post(self._event.set))

    async def results(self) -> list[Completion]:
        """All completions, in order. Raises Problem."""
        while not all(t.future.done() for t in self.tickets):
            await self._event.wait()
            self._event.clear()
        return [_whole(t, self.kept) for t in self.tickets]

    async def pieces(self) -> AsyncIterator[Piece]:
        """What there is to read, as it comes, of all generations; of each the last piece has its completion. Raises
        as `results` does."""
        left = list(self._followed)
        while left:
            await self._event.wait()
            self._event.clear()
            for followed in list(left):
                piece = followed.fresh()
                if piece is None:
                    continue
                if piece.completion is not None:
                    left.remove(followed)
                yield piece

    def abort(self) -> None:
        """End what is not done."""
        self._engine.loop.abort(self.tickets)

    def woken(self) -> None:
        """There may be something to read."""
        self._event.set()


class _Followed:
    """One generation. `_hear` runs in the engine's thread, all else in the event loop."""

    def __init__(self, index: int, request: Request, owner: Generations, listen: bool) -> None:
        self.index = index
        self._engine, self._owner = owner._engine, owner
        self._wants_logprobs = request.logprobs or request.top_logprobs > 0
        self._text = TextPieces(request.sampling, self._engine.tokenizer)
        self._tokens: list[int] = []  # all that were heard of
        self._logprobs: list[float] = []
        self._top: list[Top] = []
        self._taken = 0  # logprobs that `_hear` has handed over
        self._pushed = 0  # tokens that went into the text
        self._told = 0  # tokens that pieces have held
        self.ticket = Ticket(request, self._hear if listen else None)

    def _hear(self, handle: Handle, token: int) -> None:
        logprobs: list[float] = []
        top: list[Top] = []
        if self._wants_logprobs and handle.measured is not None:
            logprobs, top = handle.measured(self._taken)
            self._taken += len(logprobs)
        self._engine.post(lambda: self._take(token, logprobs, top))

    def _take(self, token: int, logprobs: list[float], top: list[Top]) -> None:
        self._tokens.append(token)
        self._logprobs += logprobs
        self._top += top
        self._owner.woken()

    def fresh(self) -> Piece | None:
        """What is new, None if nothing is."""
        if self.ticket.future.done():
            return self._last(_whole(self.ticket, self._owner.kept))
        ready = len(self._tokens)
        if self._wants_logprobs:  # a grammar's forced tokens are told of before what they are worth is known
            ready = min(ready, len(self._logprobs))
        text = "".join(map(self._text.push, self._tokens[self._pushed : ready]))
        self._pushed = ready
        if not text:
            return None
        told = self._told if self._text.held else ready
        piece = Piece(self.index, text, *self._from_told(self._tokens, self._logprobs, self._top, told))
        self._told = told
        return piece

    def _last(self, whole: Completion) -> Piece:
        text = "".join(map(self._text.push, self._tokens[self._pushed :])) + self._text.end(whole.text)
        rest = self._from_told(whole.tokens, whole.logprobs or (), whole.top_logprobs or (), len(whole.tokens))
        return Piece(self.index, text, *rest, whole)

    def _from_told(
        self, tokens: Sequence[int], logprobs: Sequence[float], top: Sequence[Top], end: int
    ) -> tuple[list[int], list[float], list[Top]]:
        at = slice(self._told, end)
        return list(tokens[at]), list(logprobs[at]), list(top[at])


def _whole(ticket: Ticket, kept: Callable[[], str | None]) -> Completion:
    """The end of a generation. Raises Problem; what is refused only now is so for what its text may be."""
    try:
        completion = ticket.future.result()
        if completion.finish == "error":
            raise RequestFailed(f"the generation failed: {completion.error}", (completion,))
    except Exception as e:
        raise problem_of(e, kept() if isinstance(e, BadGrammar | Unsupported | RequestFailed) else None) from e
    return completion
