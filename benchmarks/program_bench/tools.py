"""Simulated tools: an answer that hangs on the arguments, a latency, and a log of every effect.

Programs name them as `python("program_bench.tools:search")`. What they sleep on, and where they log, is `desk`, which
whoever runs a workload sets up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from program_bench.text import Words, generator


@dataclass
class ToolDesk:
    """`latency` is the mean in seconds of a lognormal with a heavy tail (sigma 1); `sleep` is how time passes.

    `effects` holds (tool, arguments) of each call that has an effect, in order. With `deferred` a tool does not sleep:
    whoever called it finds in `owed` how long the answer takes, and waits as he likes.
    """

    latency: float = 0.05
    seed: int = 0
    sleep: Callable[[float], None] = time.sleep
    deferred: bool = False
    owed: float = 0.0
    seconds: float = 0.0
    calls: int = 0
    effects: list[tuple[str, str]] = field(default_factory=list)

    def use(self, name: str, argument: str, words: int, effect: bool) -> str:
        """One call."""
        draw = generator(self.seed, name, argument)
        wait = self.latency * min(draw.lognormvariate(-0.5, 1.0), 20.0)
        self.calls += 1
        self.seconds += wait
        if effect:
            self.effects.append((name, argument))
        if self.deferred:
            self.owed += wait
        else:
            self.sleep(wait)
        return Words.bundled().text(words, self.seed, name, argument)


desk = ToolDesk()


def search(query: str) -> str:
    """A pure tool with a longer answer."""
    return desk.use("search", query, 30, False)


def calculate(expression: str) -> str:
    """A pure tool with a short answer."""
    return desk.use("calculate", expression, 2, False)


def send(message: str) -> str:
    """A tool with an effect."""
    return desk.use("send", message, 4, True)
