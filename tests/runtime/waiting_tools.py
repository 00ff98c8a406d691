"""Functions that wait for the outside, and what is noted of their calls."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Noted:
    """`most` is how many calls were under way at once; `calls` are (function, argument) in the order of their ends."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    now: int = 0
    most: int = 0
    calls: list[tuple[str, str]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def call(self, name: str, text: str, seconds: float) -> str:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.threads.add(threading.get_ident())
        time.sleep(seconds)
        with self.lock:
            self.now -= 1
            self.calls.append((name, text))
        return f"{name} {text}"


noted = Noted()


def look(text: str) -> str:
    return noted.call("look", text, 0.02)


def send(text: str) -> str:
    return noted.call("send", text, 0.01)


def count(text: str) -> str:
    return noted.call("count", text, 0.0)


def linger(text: str) -> str:
    """Waits for so long that it is seen on the busiest machine."""
    return noted.call("linger", text, 0.3)


def reckon(text: str) -> str:
    """Computes for longer than it may take to see that a call waits."""
    until = time.thread_time() + 0.012
    while time.thread_time() < until:
        pass
    return noted.call("reckon", text, 0.0)


def fail(text: str) -> str:
    noted.call("fail", text, 0.02)
    if text == "bad":
        raise ValueError("no such page")
    return text


def declared(text: str) -> str:
    return noted.call("declared", text, 0.02)


declared.__lampc_blocking__ = True  # type: ignore[attr-defined]


def brittle(number: int) -> str:
    """Fails for 1."""
    if number == 1:
        raise ValueError("not that one")
    return "odd" if number == 2 else "other"


def fail_late(text: str) -> str:
    noted.call("fail_late", text, 0.5)
    raise ValueError("no such page")


fail_late.__lampc_blocking__ = True  # type: ignore[attr-defined]
