"""InstructionSearch: for each predictor in turn, the best instruction out of a declared pool."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lampc.ir.diag import there_are
from lampc.passes.optimize.coordinate import CoordinateSearch
from lampc.passes.optimize.proposers.pool import pool_texts
from lampc.passes.optimize.protocol import OptimizeError, Problem
from lampc.passes.optimize.racing import OFF


@dataclass(frozen=True)
class InstructionSearch:
    """Coordinate search on the select split; demos stay as they are.

    `pool` is a list of texts, a text file with one per line, or a mapping from predictor to either; `base` is
    where relative paths start. All candidates of a predictor are scored together. The current instruction
    stays unless another scores higher; of those that tie above it the shortest wins, then the earliest.
    `rounds` passes are made over the predictors, fewer if one changes nothing. Under `racing` (`halving` or
    `bernstein`) texts that fall behind on the first rows are not run on the others.
    """

    name: ClassVar[str] = "instructions"
    pool: Any = ()
    predictors: tuple[str, ...] = ()
    rounds: int = 1
    base: Path = field(default=Path("."), repr=False)
    racing: str = OFF

    def begin(self, problem: Problem) -> CoordinateSearch:
        free = {p.symbol: p for p in problem.tunable("instruction")}
        known = [p.symbol for p in problem.predictors()]
        for name in self.predictors:
            if name not in known:
                raise OptimizeError(f"{self.name}: there is no predictor `{name}`; {there_are(known)}")
        if not problem.select_size:
            raise OptimizeError(f"{self.name}: split `{problem.select_split}` has no rows to score on")
        chosen = {f"{n}.instruction": p for n, p in free.items() if not self.predictors or n in self.predictors}
        pool = self.texts(problem)
        choices = {name: [problem.instruction(problem.start, p), *pool[p.symbol]] for name, p in chosen.items()}
        return CoordinateSearch(
            self.name, problem, choices, lambda candidate, name: problem.instruction(candidate, chosen[name]),
            lambda name, text: f"{chosen[name].symbol}: {text}", self.rounds, len,
        )  # fmt: skip

    def texts(self, problem: Problem) -> dict[str, list[str]]:
        """The pool of each predictor. Raises OptimizeError for a pool that cannot be read or is empty."""
        return pool_texts(self.name, self.pool, problem, self.base)
