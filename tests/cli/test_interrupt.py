"""Ctrl-C at the worst moment: while Python runs code whose exceptions it ignores."""

from __future__ import annotations

import signal
import time

import pytest

from lampc.runtime.cli.failure import interruptible


class Ends:
    """Something whose finaliser is at work when Ctrl-C is pressed."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


def finalise(seconds: float) -> None:
    thing = Ends()
    del thing
    time.sleep(seconds)


def test_ctrl_c_in_a_finaliser_is_not_lost() -> None:
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignore"
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            finalise(60)
    finally:
        signal.signal(signal.SIGINT, usual)
    assert time.monotonic() - begun < 30, "what waits is woken"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_without_it_ctrl_c_is_lost() -> None:
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        finalise(0.1)
    finally:
        signal.signal(signal.SIGINT, usual)
