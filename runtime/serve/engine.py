"""The engine as the server's event loop sees it: what the engine's own thread has to tell comes over in bundles."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from lampc.backend.grammar.vocabulary import Spelling
from lampc.backend.loop import Driver, Question, Ticket
from lampc.backend.metrics import EngineMetrics
from lampc.backend.prompts import Prompts


class Mailbox:
    """Work that another thread leaves for an event loop. However much comes at once, the loop is woken once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._work: deque[Callable[[], None]] = deque()
        self._woken = False

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` called in the loop, soon; from any thread."""
        self._work.append(work)
        if not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._carry_out)

    def _carry_out(self) -> None:
        self._woken = False  # first: what comes from now on wakes again
        while self._work:
            self._work.popleft()()


class ServedEngine:
    """An engine and what alone touches it, `loop`: a thread of its own, or a process. Owns both; `close` ends them.

    `under_way` counts generations that were submitted and have not ended.
    """

    def __init__(self, loop: Driver) -> None:
        self.info, self.tokenizer = loop.info, loop.tokenizer
        self.prompts = Prompts(loop.tokenizer)
        self.loop = loop
        self.under_way = 0
        self._mailbox: Mailbox | None = None
        self._spelling: Spelling | None = None

    async def spelling(self) -> Spelling:
        """What tokens spell. Made when it is first asked for, on another thread: that takes a moment."""
        if self._spelling is None:
            self._spelling = await asyncio.to_thread(Spelling, self.tokenizer, self.info.vocab_size)
        return self._spelling

    def attach(self) -> None:
        """Hand what is heard to the running event loop from now on."""
        self._mailbox = Mailbox(asyncio.get_running_loop())

    def post(self, work: Callable[[], None]) -> None:
        """Have `work` called in the event loop; from any thread."""
        assert self._mailbox is not None, "the engine is not attached to an event loop"
        self._mailbox.post(work)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Hand requests over. Raises EngineClosed."""
        self.loop.submit(tickets)
        self.under_way += len(tickets)
        for ticket in tickets:
            ticket.future.add_done_callback(lambda _: self.post(self._ended))

    def _ended(self) -> None:
        self.under_way -= 1

    def metrics(self) -> EngineMetrics:
        """Rates, shares and distributions as of now; waits for a step to end. Raises EngineClosed."""
        found: EngineMetrics = self.loop.asking("metrics").result()
        return found

    async def asked(self, question: Question) -> Any:
        """What the engine answers between two steps. Raises EngineClosed."""
        return await asyncio.wrap_future(self.loop.asking(question))

    def close(self) -> None:
        """End what runs, and the engine. Twice is fine."""
        self.loop.close()
