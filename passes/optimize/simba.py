"""SIMBA: stochastic ascent on minibatches. Runs of several candidates at temperature 1 show on which rows the outcome
varies most; what went well there becomes a demo, and what tells it from what went badly a rule in the instruction.

Source of the algorithm: DSPy 3.4.1 (`dspy.SIMBA`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lampc.passes.optimize.protocol import OptimizeError, Problem, check_count, check_model
from lampc.passes.optimize.racing import OFF

if TYPE_CHECKING:
    from lampc.passes.optimize.simba_run import Ascent


@dataclass(frozen=True)
class SIMBA:
    """Options as in DSPy; all scores are of the train split.

    A step takes `bsize` rows and runs each `num_candidates` times, which all are asked for in one go; out of the rows
    that vary most it makes `num_candidates + 1` new programs, by a demo or by a rule that `prompt_model` writes
    (`max_proposal_tokens` at most). With `max_demos` 0 there are rules only, without `rules` demos only: then no model
    has to write prose. The first run of each row is `teacher_model`'s, if one is named. Both temperatures are those of
    a softmax over mean scores. Under `racing` (`halving` or `bernstein`) new programs that fall behind on the first
    rows of a step are cut.
    """

    name: ClassVar[str] = "simba"
    bsize: int = 32
    num_candidates: int = 6
    max_steps: int = 8
    max_demos: int = 4
    prompt_model: str = ""
    max_proposal_tokens: int = 1024
    teacher_model: str = ""
    demo_input_field_maxlen: int = 100_000
    temperature_for_sampling: float = 0.2
    temperature_for_candidates: float = 0.2
    rules: bool = True
    seed: int = 0
    racing: str = OFF

    def begin(self, problem: Problem) -> Ascent:
        from lampc.passes.optimize.simba_run import Ascent

        counts = ("max_steps", "max_demos", "demo_input_field_maxlen", "seed")
        check_count(self.name, **{n: getattr(self, n) for n in counts})
        for option in ("bsize", "num_candidates", "temperature_for_sampling", "temperature_for_candidates"):
            if getattr(self, option) <= 0:
                raise OptimizeError(f"{self.name}: `{option}` is {getattr(self, option)}; it has to be more than 0")
        if len(problem.train) < self.bsize:
            raise OptimizeError(
                f"{self.name}: split `{problem.train_split}` has {len(problem.train)} rows, which makes no minibatch "
                f"of {self.bsize}; give a smaller `bsize`, or more rows"
            )
        if not self.rules and not self.max_demos:
            raise OptimizeError(f"{self.name}: without rules and with `max_demos` 0 there is nothing to change")
        for option in ("prompt_model", "teacher_model"):
            check_model(self.name, option, getattr(self, option), problem.module)
        return Ascent(self, problem)
