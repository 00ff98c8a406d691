"""Text of calls of which it is not known yet whether they are needed: nobody hears it before that."""

from __future__ import annotations

import threading
from collections.abc import Callable


class HeldText:
    """A listener that keeps what it is given, from any thread, until it is released; of a dropped call nothing is
    told."""

    def __init__(self, listener: Callable[[str], None]) -> None:
        self._listener = listener
        self._kept: list[str] | None = []
        self._mutex = threading.Lock()

    def __call__(self, piece: str) -> None:
        with self._mutex:
            if self._kept is None:
                self._listener(piece)
            else:
                self._kept.append(piece)

    def release(self) -> None:
        """The call is needed: what was kept is told, and what comes is told at once."""
        with self._mutex:
            kept, self._kept = self._kept, None
            for piece in kept or ():
                self._listener(piece)
