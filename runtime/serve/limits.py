"""What a server lets each request, and all of them together, take."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server.

    `body`: bytes of a request. `tokens`: most tokens that one generation may have; None is what the context holds.
    `choices`: most generations of one request (its prompts times `n`). `queue`: most generations that wait or run;
    urgent requests (priority above 0) find a quarter more, rounded up: at least one. `seconds`: from arrival to the end
    of the answer. `connections`: open at a time. `programs`: runs of programs at a time, and requests for vectors.
    `events`: most a second of each generation of a stream; tokens that come between are told together, the first and
    the last at once.
    `drain`: seconds that requests under way have to end once the server was asked to. Raises ValueError.
    """

    body: int = 4 << 20
    tokens: int | None = None
    choices: int = 128
    queue: int = 512
    seconds: float = 600.0
    connections: int = 2048
    programs: int = 64
    events: float = 50.0
    drain: float = 30.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "tokens" and value is None:
                continue
            whole = f.name not in ("seconds", "events", "drain")
            right = isinstance(value, int if whole else int | float) and not isinstance(value, bool) and value > 0
            if not right:
                raise ValueError(f"the limit {f.name} is {value!r}; give a {'whole ' if whole else ''}number above 0")

    def room(self, priority: int) -> int:
        """How many generations may be under way once one of this priority is added."""
        return self.queue + (math.ceil(self.queue / 4) if priority > 0 else 0)
