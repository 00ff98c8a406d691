"""A small tuning problem that a scripted engine solves better with demos and with the right instruction."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from lampc.backend import FakeEngine
from lampc.ir import Unit, parse_module
from lampc.passes.optimize import BootstrapFewShot, InstructionSearch, Strategy
from lampc.runtime.driver import optimize
from lampc.runtime.metrics import RowMetric, build_metric
from lampc.runtime.optimized import OptimizeResult
from lampc.runtime.session import Session
from lampc.runtime.types import Row

WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet", "jetty", "knoll", "ledge"]
WORDS += ["marsh", "north", "ocean", "perch"]
SIGNATURE = (
    '#signature<inputs = [#field<name = "text", type = !str>], '
    'outputs = [#field<name = "label", type = !str>], instruction = "Do it.">'
)
MODULE = f"""module @tuning {{
  prog.def_predictor @p() {{signature = {SIGNATURE}}} : ()
  prog.func @main() {{returns = !{{label: str}}}} do (%text: str) {{
    %r = prog.predict(%text) {{key = #key<path = ["p#0"]>, predictor = @p, signature = {SIGNATURE}}} : ({{label: str}})
    %l = prog.field(%r) {{field = "label"}} : (str)
    %o = prog.pack(%l) {{names = ["label"]}} : ({{label: str}})
    prog.return(%o) : ()
  }} : ()
}}"""
POOL = ["Do it well.", "Reverse the word.", "Reverse it all, please."]


def unit() -> Unit:
    return Unit(parse_module(MODULE), "main", "tuning.lmp")


def rows(first: int, last: int) -> list[Row]:
    """Rows whose label is the word backwards."""
    words = [WORDS[i % len(WORDS)] + ("" if i < len(WORDS) else str(i)) for i in range(first, last)]
    return [Row(str(i), {"text": w}, {"label": w[::-1]}, "t.csv", i + 2) for i, w in enumerate(words, first)]


TRAIN, DEV = rows(0, 12), rows(12, 24)


def answer(prompt: str) -> str:
    """Right for every third word; with `Reverse` in the instruction for two of three; with two demos for all."""
    word = re.findall(r"text: (\w+)", prompt)[-1]
    luck = sum(map(ord, word)) % 3
    right = luck == 0 or (luck == 1 and "Reverse" in prompt) or prompt.count("label: ") > 1
    return f"label: {word[::-1] if right else word}"


class Counting:
    """The engine's replies, counted; raises `error` at call number `fail_at`."""

    def __init__(
        self, reply: Callable[[str], str] = answer, fail_at: int = -1, error: type = KeyboardInterrupt
    ) -> None:
        self.calls = 0
        self.prompts: list[str] = []
        self._reply, self._fail_at, self._error = reply, fail_at, error

    def __call__(self, prompt: str) -> str:
        if self.calls == self._fail_at:
            raise self._error("stopped here")
        self.calls += 1
        self.prompts.append(prompt)
        return self._reply(prompt)


def engine(reply: Callable[[str], str] = answer) -> FakeEngine:
    return FakeEngine(reply, max_running=4)


def steps() -> tuple[Strategy, ...]:
    return (BootstrapFewShot(max_bootstrapped_demos=1, max_labeled_demos=1), InstructionSearch(pool=POOL))


def metric() -> RowMetric:
    return build_metric("exact_match")


def options(**more: Any) -> dict[str, Any]:
    """Arguments of `optimize` besides the unit and the session."""
    return {"steps": steps(), "train": TRAIN, "select": DEV, "metric": metric(), **more}


def optimized(session: Session, steps: Sequence[Strategy]) -> OptimizeResult:
    """The problem's optimization in a session."""
    return optimize(unit(), session, **options(steps=steps))
