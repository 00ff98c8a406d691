"""A few sentences about the training rows, for who writes instructions: observations on one batch of rows after
another, each seeing those before, then their summary. The algorithm is that of DSPy's MIPROv2."""

from __future__ import annotations

import json
from collections.abc import Sequence

from lampc.ir import Signature, thaw
from lampc.ir.attrs import freeze
from lampc.passes.optimize.jobs import CallJob, CallResult, Job, Result
from lampc.passes.optimize.proposers.asking import Asking, texts, without_label
from lampc.passes.optimize.protocol import Example, OptimizeError, Problem

MORE_BATCHES = 9
PATIENCE = 5  # batches that add nothing before the rest is left unread
_NOTHING = "COMPLETE"

_ABOUT = (
    "Look at topics, wording, length, form of inputs and outputs, and whatever else the rows share, and say which task "
    "they seem to be made for."
)
OBSERVE = Signature(
    texts(("examples", "rows of the data set, one JSON object a line")),
    texts(("observations", "what holds for most or all of the rows")),
    f"Here are rows of a data set. Write down what holds for most or all of them. {_ABOUT}",
    "observe",
)
OBSERVE_MORE = Signature(
    texts(
        ("examples", "further rows of the data set, one JSON object a line"),
        ("prior_observations", "what has been observed so far"),
    ),
    texts(("observations", f"what is new in these rows, or {_NOTHING}")),
    "Here are further rows of a data set, and what was observed on earlier ones. Add what holds for most or all rows "
    f"and has not been said. If nothing is missing, write {_NOTHING}. {_ABOUT}",
    "observe_more",
)
SUMMARIZE = Signature(
    texts(("observations", "observations on a data set")),
    texts(("summary", "two or three sentences")),
    "Put these observations on a data set into two or three sentences that keep what matters most.",
    "summarize",
)


class Summary:
    """The summary in the making, one call after another; `text` is empty if it cannot be had."""

    def __init__(self, problem: Problem, asking: Asking, batch: int) -> None:
        if batch < 1:
            raise OptimizeError(f"the data summary looks at {batch} rows at a time; at least one is needed")
        self.asking = asking
        rows = [row_text(e) for e in problem.train]
        self._batches = ["\n".join(rows[i : i + batch]) for i in range(0, len(rows), batch)][: MORE_BATCHES + 1]
        self._read, self._skipped = 0, 0
        self._observations = ""
        self._due = False
        self.text = ""
        self.done = not rows

    def ask(self, n: int) -> list[Job]:
        if self.done or self._due or n < 1:
            return []
        self._due = True
        return [self._next()]

    def _next(self) -> CallJob:
        if self._read == 0:
            return self.asking.call(OBSERVE, {"examples": self._batches[0]})
        if self._read < len(self._batches):
            rows = self._batches[self._read]
            return self.asking.call(OBSERVE_MORE, {"examples": rows, "prior_observations": self._observations})
        return self.asking.call(SUMMARIZE, {"observations": self._observations})

    def tell(self, job: Job, result: Result) -> None:
        assert isinstance(job, CallJob)
        assert isinstance(result, CallResult)
        self._due = False
        if job.signature == SUMMARIZE:
            self.done = True
            self.text = "" if result.error else without_label(text_of(result, "summary"))
            return
        if result.error:  # of the first batch: there is nothing to sum up; of a later one: with what there is
            self.done = not self._read
            self._read = len(self._batches)
            return
        said = text_of(result, "observations")
        nothing_new = self._read > 0 and said[: len(_NOTHING)].upper() == _NOTHING
        self._read += 1
        self._skipped += nothing_new
        if self._skipped == PATIENCE:
            self._read = len(self._batches)
        elif not nothing_new:
            self._observations += said

    def calls(self) -> int:
        return 0 if self.done else len(self._batches) - self._read + 1


def row_text(example: Example) -> str:
    """A row as one line of JSON, inputs first."""
    values = {**example.inputs, **example.labels}
    return json.dumps(thaw(freeze(values)), ensure_ascii=False, default=str)


def text_of(result: CallResult, field: str) -> str:
    return str(result.outputs.get(field, ""))


def batches(rows: int, batch: int) -> int:
    """Calls of a summary of so many rows, at most."""
    return min(-(-rows // batch), MORE_BATCHES + 1) + 1 if rows else 0


__all__: Sequence[str] = ["Summary", "batches", "row_text", "text_of"]
