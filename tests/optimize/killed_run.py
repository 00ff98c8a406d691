"""A run of an optimizer in a process of its own, to be killed: `python -m tests.optimize.killed_run NAME FOLDER`.

In FOLDER stand `store`, `run.json`, `calls` with a line for each call that the model is asked for, and, once the run is
over, `end.json` with how many program runs this process made.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from lampc.runtime.models import Answer, ModelCall
from lampc.runtime.store import Store
from tests.optimize.behaviour import BehaviourLM, Planted
from tests.optimize.registered import run, strategy

SECONDS = 0.001
"""What a call takes at least, so that there is a time in which to be killed."""


class LoggedLM(BehaviourLM):
    """The scripted model, which writes down each call before it answers."""

    def __init__(self, task: Planted, log: Path) -> None:
        super().__init__(task)
        self.log = log.open("a", encoding="utf-8")

    def make(self, call: ModelCall) -> Answer:
        print(call.key.digest(), file=self.log, flush=True)
        time.sleep(SECONDS)
        return super().make(call)


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    task = Planted(1)
    with Store(folder / "store") as store:
        found = run(
            task, strategy(name, task), store=store, model=LoggedLM(task, folder / "calls"), record=folder / "run.json"
        )
    (folder / "end.json").write_text(json.dumps({"fresh": found.result.fresh, "runs": found.result.runs}))


if __name__ == "__main__":
    main()
