"""Reports of optimisations that never ran: as many trials and rows as a test wants, the same each time."""

from __future__ import annotations

import random

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, Demo, DemoSet, freeze
from lampc.runtime.reports.changes import Changes, compare
from lampc.runtime.reports.data import Cost, Report, Spent, Trial
from lampc.runtime.reports.read import judge

PROGRAM = '''
signature Sort(note: str, hint: str) -> (team: "billing" | "network") {
  """Sort the note. Say the team."""
  demo (note: "an old <b>note</b>", hint: "none", team: "billing");
}
signature Reply(note: str) -> (answer: str) {}
module Desk(note: str) -> (answer: str) {
  use sort = Predict(Sort);
  use reply = Predict(Reply);
  let team = sort(note: note, hint: "none").team;
  return (answer: reply(note: note + team).answer);
}
'''


def changes() -> Changes:
    """An instruction and demos that changed, and a predictor that stayed as it was."""
    module = compile_lmp(PROGRAM).module
    demos = [
        {"note": "the bill is wrong & late", "hint": "none", "team": "billing"},
        {"note": "no modem", "hint": "", "team": "network"},
    ]
    made = DemoSet(tuple(Demo(freeze(d), augmented=i == 0) for i, d in enumerate(demos)))
    instruction = "Read the note with care. Say the team for its last problem."
    after = Assignment().updated(**{"sort.instruction": instruction, "sort.demos": made})
    return compare(module, Assignment(), after)


def report(trials: int, rows: int, seed: int = 0) -> Report:
    """A run whose scores rise; every third trial is on a tenth of the rows, every seventh was cut off half-way."""
    rng = random.Random(seed)
    made = Report("desk", "Desk", "finished", steps=("mipro", "gepa"), metric="accuracy", model="firefly", rows=rows)
    hard = [rng.random() for _ in range(rows)]
    runs = tokens = 0
    for i in range(trials):
        skill = 0.2 + 0.6 * i / max(trials - 1, 1) * rng.uniform(0.7, 1.0)
        part, cut = i % 3 == 1, i % 7 == 6
        asked = set(rng.sample(range(rows), max(rows // 10, 1))) if part else set(range(-(-rows // 2) if cut else rows))
        states = [("r" if rng.random() < 0.4 else "c") if j in asked else "x" if cut else "." for j in range(rows)]
        scores = [float(hard[j] < skill) if j in asked else None for j in range(rows)]
        known = [s for s in scores if s is not None]
        each = 60 + 40 * rng.random() + i
        runs += states.count("c")
        tokens += int(states.count("c") * each)
        note = f"instruction {i}: say <what> & why, {'at length, ' * (i % 5)}then stop"
        made.trials.append(
            Trial(
                i, "mipro" if i < trials // 2 else "gepa", note if i else "the program as found",
                100 * sum(known) / len(known), len(known), len(known) == rows, each, (i - 1,) if i else (),
                spent=Spent(runs, tokens, runs * 0.01), scores=tuple(scores), states="".join(states),
            )
        )  # fmt: skip
    whole = [t for t in made.trials if t.whole]
    made.trials[0].role = "start"
    best = max(whole[1:] or whole, key=lambda t: t.score or 0)
    best.role = best.role or "result"
    made.before, made.after = made.trials[0].score, best.score
    judge(made)
    made.changes = changes()
    counts = {"calls": runs, "prompt_tokens": tokens, "computed_tokens": tokens // 3}
    made.cost = Cost(runs, runs * 2, tokens, tokens // 3, tokens // 2, tokens // 6, runs * 4, runs * 0.01, 1.25,
                     {"sort": dict(counts), "reply": dict(counts)})  # fmt: skip
    made.errors, made.failures = 1, ("desk.lmp:9: the answer <x> cannot be read (row 7)",)
    return made
