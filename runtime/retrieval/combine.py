"""What several threads ask for at once, answered together: whoever comes first works for all that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")


class _Waiting(Generic[Ask, Answer]):
    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.done = threading.Event()
        self.answer: Answer | Exception | None = None


class Combiner(Generic[Ask, Answer]):
    """Takes one request at a time from any thread. No time is waited: while some are answered, others gather.

    `answers` gives for each of several requests an answer, or the exception that it is to raise.
    """

    def __init__(self, answers: Callable[[Sequence[Ask]], Sequence[Answer | Exception]], most: int = 256) -> None:
        self._answers, self._most = answers, most
        self._queue: list[_Waiting[Ask, Answer]] = []
        self._mutex, self._busy = threading.Lock(), threading.Lock()

    @property
    def waiting(self) -> int:
        """How many requests wait to be taken."""
        return len(self._queue)

    def ask(self, request: Ask) -> Answer:
        """Raises what answers it with an exception."""
        mine: _Waiting[Ask, Answer] = _Waiting(request)
        with self._mutex:
            self._queue.append(mine)
        while not mine.done.is_set():
            with self._busy:
                if not mine.done.is_set():
                    self._serve()
        if isinstance(mine.answer, Exception):
            raise mine.answer
        assert mine.answer is not None
        return mine.answer

    def _serve(self) -> None:
        with self._mutex:
            batch, self._queue = self._queue[: self._most], self._queue[self._most :]
        try:
            for waiting, answer in zip(batch, self._answers([w.ask for w in batch]), strict=True):
                waiting.answer = answer
        except Exception as e:
            for waiting in batch:
                waiting.answer = e
        finally:
            for waiting in batch:
                waiting.done.set()
