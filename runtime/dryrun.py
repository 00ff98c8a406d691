"""What an optimization will cost, before anything is spent: program runs, LM calls and tokens, exactly or as bounds.

*Demanded* is what the algorithms ask for, run for run; of that, equal runs and equal calls are made once, which is what
is *expected*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from statistics import fmean
from typing import TYPE_CHECKING, Any

from lampc.ir import digest, freeze
from lampc.ir.adapters import bind_predictors
from lampc.passes.optimize import TEACHER, OptimizeError, Problem, Strategy
from lampc.passes.optimize.racing import OFF
from lampc.runtime.compile import simplified
from lampc.runtime.expected import Tokens, distinct_calls, proposal_tokens, run_tokens
from lampc.runtime.rehearse import CHANCE, MOODS, PaperCell, Rehearsal, rehearse
from lampc.runtime.structure import NONE, Range, calls_per_run

if TYPE_CHECKING:
    from lampc.runtime.perform import Program
    from lampc.runtime.types import Row


@dataclass(frozen=True, slots=True)
class DryRun:
    """`steps` are the runs that each step demands (`start`: scoring the program as found; a step's include scoring its
    result), `wanted` all of them, `proposals` the calls outside of the program. `calls` are the LM calls of that.

    Equal ones are made once (of calls those of models whose answers are kept, not with `cache=False`): `runs` are the
    distinct runs, `expected_runs` and `expected_calls` (None if the program's structure does not say) their number if
    runs succeed by chance. `tokens` are those of the expected calls; `untold` says why there are none. `texts` are
    texts to embed, `trainings` adapters to train. All of it holds as long as proposers answer.
    """

    steps: tuple[tuple[str, Range], ...]
    wanted: Range
    proposals: Range
    calls_per_run: Range
    calls: Range
    runs: Range
    expected_runs: int
    expected_calls: int | None
    tokens: Tokens | None = None
    untold: str = ""
    texts: Range = NONE
    trainings: Range = NONE

    def __str__(self) -> str:
        lines = [f"{name}: {runs} runs" for name, runs in self.steps]
        proposals = f" and {self.proposals} proposals" if self.proposals.most else ""
        lines.append(
            f"demanded: {self.wanted} runs of {self.calls_per_run} LM calls each{proposals}: {self.calls} calls"
        )
        more = [f"{n} {what}" for n, what in ((self.texts, "texts to embed"), (self.trainings, "trainings")) if n.most]
        lines += [f"besides: {', '.join(more)}"] if more else []
        calls = "" if self.expected_calls is None else f", {self.expected_calls:,} calls"
        about = "" if self.runs.exact and self.wanted.exact else "about "
        lines.append(f"expected, equal ones made once: {about}{self.expected_runs:,} distinct runs{calls}")
        if self.tokens is not None:
            lines.append(f"about {self.tokens}")
        elif self.untold:
            lines.append(f"tokens are not known: {self.untold}")
        return "\n".join(lines)


def nothing(name: str) -> DryRun:
    """The plan of a step that runs nothing."""
    return DryRun(((name, NONE),), NONE, NONE, NONE, NONE, NONE, 0, 0, Tokens())


def in_turn(plans: Sequence[DryRun]) -> DryRun:
    """The plan of several runs that begin where others end, as if they shared nothing: the distinct runs of all are at
    least those of one, and what is expected is their sum."""
    tokens = [p.tokens for p in plans]
    counted = [p.expected_calls for p in plans]
    running = [p for p in plans if p.wanted.most != 0] or plans
    return DryRun(
        tuple(step for p in plans for step in p.steps),
        sum((p.wanted for p in plans), NONE),
        sum((p.proposals for p in plans), NONE),
        reduce(Range.either, (p.calls_per_run for p in running)),
        sum((p.calls for p in plans), NONE),
        Range(max(p.runs.least for p in plans), sum((p.runs for p in plans), NONE).most),
        sum(p.expected_runs for p in plans),
        None if None in counted else sum(n or 0 for n in counted),
        None if None in tokens else sum((t or Tokens() for t in tokens), Tokens()),
        next((p.untold for p in plans if p.untold), ""),
        sum((p.texts for p in plans), NONE),
        sum((p.trainings for p in plans), NONE),
    )


def dry_run(
    problem: Problem,
    steps: Sequence[Strategy],
    *,
    as_asked: bool = False,
    student: Program | None = None,
    teacher: Program | None = None,
    splits: Mapping[str, Sequence[Row]] | None = None,
) -> DryRun:
    """The demand of `steps`, which are rehearsed on paper (`lampc.runtime.rehearse`).

    A step's runs are between what it says as it begins that it will need and what it asked for in any rehearsal; exact
    where all of that agrees. Tokens need the programs, and their rows by split. With `as_asked` neither the start nor
    the results are scored besides. Raises OptimizeError if a step cannot begin.
    """
    rows, row_of = _rows(splits or {})
    found, first = dict[str, Rehearsal](), None
    for mood in MOODS:
        try:
            found[mood] = rehearse(problem, steps, mood, as_asked, row_of)
        except OptimizeError as e:  # some give up when all fails
            first = first or e
    rehearsals = list(found.values())
    likely = [found[mood] for mood in CHANCE if mood in found] or rehearsals
    if not rehearsals:
        assert first is not None
        raise first
    names = ["start", *(s.name for s in steps)]
    ranges = [_demanded(rehearsals, i) for i in range(len(names))]
    wanted = sum(ranges, NONE)
    proposals = _proposals(rehearsals, len(steps))
    each = calls_per_run(simplified(problem.module), problem.entry)
    taught = problem.teacher
    if taught is not None:
        each = each.either(calls_per_run(simplified(taught.module), taught.entry))
    tokens, untold = _tokens(likely[-1], student, teacher, rows)
    fixed = not proposals.most and not any(getattr(s, "racing", OFF) != OFF for s in steps)
    exact = fixed and wanted.exact and len({len(r.cells) for r in rehearsals}) == 1
    fewest, most = min(len(r.cells) for r in rehearsals), max(len(r.cells) for r in rehearsals)
    floor = 0 if as_asked else problem.select_size  # equal proposals are one candidate, and races cut
    programs = {"": student, TEACHER: teacher}
    counted = [n for r in likely if (n := _distinct(problem, r, programs)) is not None]
    return DryRun(
        tuple(zip(names, ranges, strict=True)),
        wanted,
        proposals,
        each,
        wanted.times(each) + proposals,
        Range(fewest, most) if exact else Range(fewest if fixed else floor, wanted.most),
        round(fmean(len(r.cells) for r in likely)),
        round(fmean(counted)) if counted else None,
        tokens,
        untold,
        _over([r.texts for r in rehearsals]),
        _over([r.trainings for r in rehearsals]),
    )


def _rows(splits: Mapping[str, Sequence[Row]]) -> tuple[dict[Any, Row], Any]:
    """Rows by what they are equal by, and what says that of a row's place."""
    keys = {(n, i): digest((r.id, freeze(r.inputs))) for n, rows in splits.items() for i, r in enumerate(rows)}
    known = {keys[n, i]: r for n, rows in splits.items() for i, r in enumerate(rows)}
    return known, lambda split, i: keys.get((split, i), (split, i))


def _over(counts: Sequence[int]) -> Range:
    return Range(min(counts), max(counts))


def _demanded(rehearsals: Sequence[Rehearsal], i: int) -> Range:
    """Runs of the start (0) or of step `i`: what it was seen to ask for, widened by what it says that it may."""
    around = _over([r.wanted[i] - r.own[i] for r in rehearsals])
    own = [r.own[i] for r in rehearsals]
    said = [r.demands[i - 1] for r in rehearsals] if i else []
    return around + Range(min([*own, *(d.least for d in said)]), max([*own, *(d.most for d in said)]))


def _proposals(rehearsals: Sequence[Rehearsal], steps: int) -> Range:
    total = NONE
    for i in range(1, steps + 1):
        seen = [r.calls[i] for r in rehearsals]
        total += Range(min(seen), max([*seen, *(r.demands[i - 1].calls for r in rehearsals)]))
    return total


def _kept(program: Program | None) -> bool:
    """Whether equal calls of a program's runs are made once."""
    if program is None:
        return True
    with program.within():
        models = {b.model for b in bind_predictors(program.unit.module).values()}
        return all(program.session.models.get(m, program.unit.module).cached for m in models)


def _distinct(problem: Problem, rehearsal: Rehearsal, programs: Mapping[str, Program | None]) -> int | None:
    proposals = len({digest((j.signature, j.inputs, j.sampling, j.model, j.number)) for j in rehearsal.proposals})
    total = proposals
    for program, about in (("", problem), (TEACHER, problem.teacher)):
        cells = {c: a for c, a in rehearsal.cells.items() if c.program == program}
        if not cells or about is None:
            continue
        found = distinct_calls(about.module, about.entry, cells, _kept(programs.get(program)))
        if found is None:
            return None
        total += found
    return total


def _tokens(
    rehearsal: Rehearsal, student: Program | None, teacher: Program | None, rows: Mapping[Any, Row]
) -> tuple[Tokens | None, str]:
    if student is None:
        return None, "no model is given"
    total = proposal_tokens(student.session, student.unit.module, rehearsal.proposals)
    for name, program in (("", student), (TEACHER, teacher)):
        cells: dict[PaperCell, Any] = {c: a for c, a in rehearsal.cells.items() if c.program == name}
        if not cells or program is None:
            continue
        with program.within():
            found = run_tokens(program, cells, rows)
        if found is None:
            why = "the program is plain Python" if program.unit.dynamic is not None else "no row can be followed"
            return None, why
        total += found
    return total, ""


__all__ = ["DryRun", "Range", "calls_per_run", "dry_run", "in_turn", "nothing"]
