"""The calls of a workload as JSON lines, for replaying through any completions endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lampc.backend.simulated import SimulatedEngine
from lampc.backend.tokenizer import TextTokenizer
from lampc.ir import Draw, Sampling
from lampc.runtime.client import Deliver
from lampc.runtime.models import NOT_KNOWN, KvUse
from lampc.runtime.modelview import ModelView
from lampc.runtime.rehearsal import RehearsedModel
from program_bench.desk import RIVALS, PlainDesk
from program_bench.measure import plain_executor, simulated_tools
from program_bench.workload import Workload


class _Noting(PlainDesk):
    """Keeps of each call which calls of its row had been answered when it was made."""

    def __init__(self, model: RehearsedModel) -> None:
        super().__init__(RIVALS[-1], model)
        self.noted: list[dict[str, object]] = []
        self._answered: dict[str, list[int]] = {}

    def request(
        self,
        model: ModelView,
        sampling: Sampling,
        draw: Draw,
        deliver: Deliver,
        *,
        ids: tuple[int, ...] = (),
        messages: tuple[tuple[str, str], ...] = (),
        score: tuple[int, ...] = (),
        node: str = "",
        cell: int = 0,
        depth: int = 0,
        use: KvUse = NOT_KNOWN,
    ) -> None:
        """See `lampc.runtime.client.Client`."""
        tokenizer = model.model.engine.tokenizer  # type: ignore[attr-defined]
        number, done = len(self.noted), self._answered.setdefault(draw.row, [])
        note: dict[str, object] = {
            "id": number,
            "row": draw.row,
            "node": node,
            "after": list(done),
            "temperature": sampling.temperature,
            "prompt": tokenizer.decode(list(ids), skip_special=False),
        }
        self.noted.append(note)

        def answered(answer: object, usage: object) -> None:
            note["answer"], note["max_tokens"] = answer.text, len(answer.ids)  # type: ignore[attr-defined]
            done.append(number)
            deliver(answer, usage)  # type: ignore[arg-type]

        super().request(model, sampling, draw, answered, ids=ids, score=score, node=node)


def calls(workload: Workload, tokenizer: TextTokenizer, engine: SimulatedEngine) -> Iterator[str]:
    """A line for each call: its prompt as the model sees it, what the script answers, and the calls of the row that it
    comes `after`. Rows of all trials are run; no call is merged with another."""
    model = RehearsedModel(engine, "main", workload.script(tokenizer))
    desk = _Noting(model)
    with simulated_tools(workload, engine, True) as waiting:
        execute = plain_executor(workload, model, desk, waiting, 0)
        for cells in workload.cells():
            execute(cells)
    for note in desk.noted:
        yield json.dumps(note)
