"""An engine whose model writes wildly: words out of place, marks of the layout where they mislead, whatever is let."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from lampc.backend.fake import FakeEngine
from lampc.backend.job import Drawn, Job
from lampc.backend.plan import Plan

WORDS = ["1", "-2.5", "true", "True", "None", "null", '"', "}", "]", ", ", ": ", "{", "[", "\n", " ", "yes", "é", "a b"]
WORDS += ["<item>", "</item>", "<", "&lt;", "- x", "\n- y", "\n\n", "x\r\u2028y", "\t"]


class WildRunner:
    """Draws words, as far as each request's grammar takes them; ends of fields more and more often."""

    def __init__(self, engine: FakeEngine, names: Sequence[str], seed: int) -> None:
        self.rng = random.Random(seed)
        self.names, self.eos = names, min(engine.tokenizer.eos_ids)
        self.queues: dict[int, list[int]] = {}

    def words(self, hurry: bool) -> str:
        name = self.rng.choice([*self.names, "completed"])
        marks = [f"\n\n[[ ## {name} ## ]]", f"\n[[ ## {name} ## ]]\n", f"[[ ## {name} ## ]]", f"\n{name}: ", f"{name}:"]
        marks += [f"\n</{name}>", f"</{name}>", f"\n\n<{name}>\n", f'"{name}": ']
        closers = [f"\n\n[[ ## {name} ## ]]", f"\n{name}:", f"\n</{name}>", f"</{name}>", '"', "}", "]", "\n- z"]
        return self.rng.choice(closers if hurry else [*marks, *WORDS, *WORDS])

    def execute(self, plan: Plan) -> Sequence[Drawn]:
        return [Drawn(self.draw(want.job)) for want in plan.wants if want.draws or not plan.plain]

    def draw(self, job: Job) -> int | None:
        if not job.draws:
            return None
        mask: Any = job.mask()
        if mask is None:
            return self.eos
        allowed = np.unpackbits(mask.view(np.uint8), bitorder="little")
        hurry = len(job.output.tokens) > 60
        if allowed[self.eos] and self.rng.random() < (0.9 if hurry else 0.2):
            return self.eos
        queue = self.queues.setdefault(job.handle.id, [])
        for _ in range(60):
            if queue and allowed[queue[0]]:
                return queue.pop(0)
            queue[:] = self.words(hurry).encode()
        queue.clear()
        return int(self.rng.choice(np.flatnonzero(allowed).tolist()))


def wild_engine(names: Sequence[str], seed: int, **options: Any) -> FakeEngine:
    """See the module's text."""
    engine = FakeEngine(**options)
    engine._runner = WildRunner(engine, names, seed)
    return engine
