"""Masks of a step, computed beside the model."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lampc.backend.drawing import Grammar

SMALL = 1 << 18
"""Requests times ids of a step whose masks are not worth a thread: they cost less than waking it."""


class Masks:
    """One thread for an engine's masks, there from the first large step on until `close`."""

    def __init__(self, small: int = SMALL) -> None:
        self._small = small
        self._thread: ThreadPoolExecutor | None = None

    def begin(self, matchers: Sequence[Grammar], size: int) -> None:
        """Lets the masks of matchers over `size` ids be computed; whoever asks one for its mask waits for it.

        What is little work is left to be done then.
        """
        if not matchers or len(matchers) * size < self._small:
            return
        for matcher in matchers:
            matcher.wait()  # a step that was taken back may have begun it
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="lampc-masks")
        filled = self._thread.submit(_fill, matchers)
        for matcher in matchers:
            matcher.begin(filled)

    def close(self) -> None:
        """Ends the thread. Twice is fine."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=False)
            self._thread = None


def _fill(matchers: Sequence[Grammar]) -> None:
    for matcher in matchers:
        matcher.fill()
