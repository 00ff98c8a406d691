"""Text of a generation while it is made: for threads and for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from queue import SimpleQueue

from lampc.backend.errors import RequestFailed
from lampc.backend.loop import EngineLoop, Ticket
from lampc.backend.output import Output, TextPieces
from lampc.backend.request import Completion, Handle, Request
from lampc.backend.tokenizer import TextTokenizer


class _Pieces:
    """Turns tokens into text, and None (the end) into the rest."""

    def __init__(self, loop: EngineLoop, request: Request, tokenizer: TextTokenizer) -> None:
        self._loop = loop
        self._tokenizer = tokenizer
        self._text: TextPieces | None = None
        self._ended = False
        self.completion: Completion | None = None
        """What the generation came to, once the stream has ended."""

    def _start(self, request: Request, put: Callable[[int | None], None]) -> None:
        """Submits; `put` gets each token in the loop's thread, None after the last. It must not refer to self."""

        def on_token(handle: Handle, token: int) -> None:
            put(token)

        self._ticket = Ticket(request, on_token)
        self._ticket.future.add_done_callback(lambda _: put(None))
        self._loop.submit([self._ticket])

    def _piece(self, token: int | None) -> str:
        begin = ""
        if self._text is None:
            # A hook may have rewritten the request, so what is queued counts.
            handle = self._ticket.handle
            request = self._ticket.request if handle is None else handle.request
            self._text = TextPieces(request.sampling, self._tokenizer)
            begin = self._forced(request, self._text)
        if token is not None:
            return begin + self._text.push(token)
        self._ended = True
        self.completion = self._ticket.future.result()
        if self.completion.finish == "error":
            raise RequestFailed(f"the request failed: {self.completion.error}", (self.completion,))
        return begin + self._text.end(self.completion.text)

    def _forced(self, request: Request, pieces: TextPieces) -> str:
        """Text of forced tokens, which nobody generates, as far as they do not end the request themselves."""
        output = Output(request.sampling, self._tokenizer, len(request.forced))
        text = ""
        for token in request.forced:
            if output.done or not output.push(token):
                break
            text += pieces.push(token)
        return text

    def _abort(self) -> None:
        self._ended = True
        self._loop.abort([self._ticket])

    def __del__(self) -> None:
        if not self._ended and hasattr(self, "_ticket"):
            self._abort()


class Stream(_Pieces, Iterator[str]):
    """Pieces of text, each whole characters; dropping or closing it aborts the request."""

    def __init__(self, loop: EngineLoop, request: Request, tokenizer: TextTokenizer) -> None:
        super().__init__(loop, request, tokenizer)
        self._tokens: SimpleQueue[int | None] = SimpleQueue()
        self._start(request, self._tokens.put)

    def __next__(self) -> str:
        while not self._ended:
            piece = self._piece(self._tokens.get())
            if piece:
                return piece
        raise StopIteration

    def close(self) -> None:
        """Aborts the request if it still runs. The stream has ended then."""
        self._abort()


class AsyncStream(_Pieces, AsyncIterator[str]):
    """The same for asyncio; cancelling the task that reads it aborts the request."""

    def __init__(self, loop: EngineLoop, request: Request, tokenizer: TextTokenizer) -> None:
        super().__init__(loop, request, tokenizer)
        mine = asyncio.get_running_loop()
        tokens: asyncio.Queue[int | None] = asyncio.Queue()
        self._tokens = tokens

        def put(token: int | None) -> None:
            if not mine.is_closed():  # nobody is left to read it then
                mine.call_soon_threadsafe(tokens.put_nowait, token)

        self._start(request, put)

    async def __anext__(self) -> str:
        while not self._ended:
            try:
                token = await self._tokens.get()
            except BaseException:
                self._abort()
                raise
            piece = self._piece(token)
            if piece:
                return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Aborts the request if it still runs. The stream has ended then."""
        self._abort()
