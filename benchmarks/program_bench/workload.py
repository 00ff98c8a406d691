"""A workload: a program, its rows, the candidates it runs under, and the script that answers its calls.

It is one JSON line of what all rows share and one more for each row, so it can be written, read and run again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, Demo, DemoSet, Unit, freeze
from lampc.runtime.rehearsal import Taken
from lampc.runtime.types import Cell, Row
from program_bench.script import Made, Rule, Script
from program_bench.text import Words, about, generator

if TYPE_CHECKING:
    from lampc.backend import TextTokenizer

FORMAT = 1


@dataclass(slots=True)
class Known:
    """Answers, whether grammars take them, and whether all runs `kept` to grammars, or not, find theirs here: to write
    answers, and to hold them against grammars, is no part of what is timed."""

    made: Made = field(default_factory=dict)
    taken: Taken = field(default_factory=dict)
    kept: set[bool] = field(default_factory=set)


@dataclass(frozen=True)
class Workload:
    """`group` is what its ratio counts for. `rows` are inputs by name. `trials` are candidates: values of parameters
    (an instruction is a text, demos are lists of values by field name), each run on the rows that `picked` names (all,
    if it names none). `latency` is the mean of simulated tools, in seconds.
    """

    name: str
    group: str
    source: str
    rows: tuple[dict[str, Any], ...]
    rules: Mapping[str, Rule]
    seed: int
    scale: float
    trials: tuple[dict[str, Any], ...] = ({},)
    picked: tuple[tuple[int, ...], ...] = ()
    latency: float = 0.0

    @cached_property
    def unit(self) -> Unit:
        """The compiled program."""
        return compile_lmp(self.source, f"{self.name}.lmp")

    def cells(self) -> list[list[Cell]]:
        """What is to be run, trial by trial."""
        rows = [Row(str(i), dict(inputs)) for i, inputs in enumerate(self.rows)]
        out = []
        for i, trial in enumerate(self.trials):
            assignment = Assignment().updated(**{name: _parameter(value) for name, value in trial.items()})
            chosen = self.picked[i] if self.picked else range(len(rows))
            out.append([Cell(rows[n], assignment) for n in chosen])
        return out

    @cached_property
    def known(self) -> dict[str, Known]:
        """By tokenizer, what earlier runs found out about answers."""
        return {}

    def script(self, tokenizer: TextTokenizer, words: Words | None = None) -> Script:
        """Its answers under a tokenizer."""
        made = None if words else self.of(tokenizer).made
        return Script(self.seed, self.rules, self.unit.module, tokenizer, words or Words.bundled(), made)

    def of(self, tokenizer: TextTokenizer) -> Known:
        """What is `known` with a tokenizer."""
        return self.known.setdefault(tokenizer.digest, Known())

    # -- as JSON lines ------------------------------------------------------------------------------------

    def lines(self) -> Iterable[str]:
        """The lines of its file."""
        head = {
            "format": FORMAT,
            "name": self.name,
            "group": self.group,
            "seed": self.seed,
            "scale": self.scale,
            "latency": self.latency,
            "rules": {name: rule.record() for name, rule in self.rules.items()},
            "trials": list(self.trials),
            "picked": [list(p) for p in self.picked],
            "source": self.source,
        }
        yield json.dumps(head)
        for row in self.rows:
            yield json.dumps(row)

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        path.write_text("".join(line + "\n" for line in self.lines()), encoding="utf-8")

    @staticmethod
    def read(path: Path) -> Workload:
        """From a file. Raises ValueError for one of another format."""
        first, *rest = path.read_text(encoding="utf-8").splitlines()
        head = json.loads(first)
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise ValueError(f"{path}:1: no workload of format {FORMAT}; make one with benchmarks/workloads.py write")
        return Workload(
            head["name"],
            head["group"],
            head["source"],
            tuple(json.loads(line) for line in rest),
            {name: Rule.read(rule) for name, rule in head["rules"].items()},
            head["seed"],
            head["scale"],
            tuple(head["trials"]),
            tuple(tuple(p) for p in head["picked"]),
            head["latency"],
        )


def _parameter(value: Any) -> Any:
    if isinstance(value, list):
        return DemoSet(tuple(Demo(freeze(demo)) for demo in value))
    return value


@dataclass(frozen=True)
class Size:
    """How large a family is made: `scale` times the lengths that the literature uses, `rows` times the rows that two
    processor cores get through in seconds."""

    seed: int = 0
    scale: float = 0.25
    rows: float = 1.0
    words: Words = field(default_factory=Words.bundled)

    def n(self, words: float) -> int:
        """Words of a text that has so many at scale 1."""
        return max(2, round(words * self.scale))

    def count(self, rows: int) -> int:
        """Rows of a family that has so many by default."""
        return max(2, round(rows * self.rows))

    def text(self, words: float, *seed: object) -> str:
        """A text of exactly as many words as `n` says."""
        return self.words.text(self.n(words), self.seed, *seed)

    def near(self, words: float, *seed: object) -> str:
        """A text of about that many words, lognormal."""
        return self.words.text(about(self.n(words), generator("length", self.seed, *seed), 2), self.seed, *seed)


Family = Callable[[Size], Workload]
