"""What results come to: ratios of makespans, tokens over the bound, the share of planning, errors of estimates."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lampc.backend.steps import StepShape
from lampc.runtime.costs import KNOTS, StepCost
from program_bench.measure import ARRANGED, OURS, Result

Table = Mapping[str, Mapping[str, Mapping[str, Result]]]
"""Results by family, share of KV (`ample`, `25 %`) and way."""
Rounds = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
"""Makespans in seconds by family, share of KV and way: one for each round."""
GOALS = {"mixed": 1.5, "tables": 3.0, "trials": 3.0, "closed_sets": 5.0}
"""How many times as long the pool of threads is to take, by group of families."""
MOST_OVER_BOUND = 0.02
MOST_PLANNING = 0.02
ESTIMATE = 0.25
MOST_OVER_LRU, MOST_FALL = 1.05, 1.3


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure and what it is to be."""

    name: str
    figure: float
    goal: str
    reached: bool
    about: str

    def line(self) -> str:
        """For people."""
        word = "reached" if self.reached else "MISSED "
        return f"{word}  {self.name:<28} {self.figure:8.3f}  goal {self.goal}; {self.about}"


def middle(runs: Sequence[Result]) -> Result:
    """That of some runs whose makespan is their median; of an even number the shorter of two."""
    return sorted(runs, key=lambda run: run.makespan)[(len(runs) - 1) // 2]


def ratios(table: Table, groups: Mapping[str, str], threads: int, rounds: Rounds | None = None) -> list[dict[str, Any]]:
    """Makespan of every rival over that of ours: by family, and geometric means by group, with the least and the most
    of the means of single rounds (`rounds`; None: there was one, the table). Where a layout is worth it in a group,
    once more with it (`ours` is `ours, arranged`; families that it is not worth to count as they are)."""
    if rounds is None:
        rounds = {
            f: {kv: {way: [r.makespan] for way, r in ways.items()} for kv, ways in found.items()}
            for f, found in table.items()
        }
    out = []
    for group in GOALS:
        families = [f for f in table if groups[f] == group]
        forms = [OURS, ARRANGED] if any(ARRANGED in table[f].get("ample", {}) for f in families) else [OURS]
        for ours, kv in itertools.product(forms, ("ample", "25 %")):
            for rival in ("sequential", "pool", "kept pool", "by_op", "online"):
                each = {
                    f: table[f][kv][rival].makespan / table[f][kv].get(ours, table[f][kv][OURS]).makespan
                    for f in families
                    if rival in table[f].get(kv, {})
                }
                if each:
                    families_of = {f: round(r, 3) for f, r in each.items()}
                    about = {"threads": threads, "kv": kv, "ours": ours, "families": families_of}
                    spans = [
                        zip(rounds[f][kv][rival], rounds[f][kv].get(ours, rounds[f][kv][OURS]), strict=False)
                        for f in each
                    ]
                    means = [statistics.geometric_mean(a / b for a, b in turn) for turn in zip(*spans, strict=False)]
                    mean = statistics.geometric_mean(each.values())
                    between = [round(min(means), 3), round(max(means), 3)]
                    out.append({"group": group, "against": rival, "ratio": round(mean, 3), "rounds": between, **about})
    return out


def floor(result: Result, cost: StepCost) -> float:
    """Seconds that no order of these calls goes below: every token that must go through the model goes once, at the
    price of a row in the step in which it is cheapest; no read of K/V, no host, no row that waits for another."""
    rows = result.bound + result.forward_tokens - result.computed_tokens
    return rows * min(cost(StepShape(prefilled=most, chunks=1)) / most for most in KNOTS[1:])


def token_goals(table: Table) -> list[Goal]:
    """Goals that hang on no clock."""
    over = {
        f if way == OURS else f"{f}, arranged": found["ample"][way].computed_tokens / found["ample"][way].bound - 1
        for f, found in table.items()
        for way in (OURS, ARRANGED)
        if way in found["ample"]
    }
    worst = max(over, key=over.__getitem__)
    leaked = sum(r.failed for found in table.values() for ways in found.values() for r in ways.values())
    return [
        Goal(
            "tokens_over_bound",
            over[worst],
            f"at most {MOST_OVER_BOUND}",
            over[worst] <= MOST_OVER_BOUND,
            f"prompt tokens computed above the prefix-tree bound, KV ample, worst of {len(over)}: {worst}",
        ),
        Goal("failed rows", leaked, "0", leaked == 0, "all ways, all KV budgets"),
    ]


def kv_goals(table: Table) -> list[Goal]:
    """Goals of runs with less KV: never far above what threads on the engine's own cache compute, and no cliff."""
    rival, fall = dict[str, float](), dict[str, float]()
    for family, found in table.items():
        shares = [s for s in found if s != "ample"]  # the largest first
        ours = [found[s][OURS].computed_tokens for s in shares]
        rival |= {f"{family}, {s}": o / found[s]["pool"].computed_tokens for s, o in zip(shares, ours, strict=True)}
        fall |= {f"{family}, {s}": b / a for s, a, b in zip(shares[1:], ours, ours[1:], strict=False)}
    out = []
    for name, figures, most, about in (
        ("kv_over_lru", rival, MOST_OVER_LRU, "prompt tokens computed over those of threads on the engine's own cache"),
        ("kv_cliff", fall, MOST_FALL, "prompt tokens computed over those with the next larger KV"),
    ):
        if not figures:
            continue
        worst = max(figures, key=figures.__getitem__)
        why = f"{about}, worst of {len(figures)}: {worst}"
        out.append(Goal(name, figures[worst], f"at most {most}", figures[worst] <= most, why))
    return out


def run_goals(left: Sequence[str], wrong: Sequence[str]) -> list[Goal]:
    """Whether all was measured, and counted as simulated."""
    missing = f"for want of time: {', '.join(left) or 'none'}"
    differs = f"engine and simulator differ: {'; '.join(wrong) or 'nowhere'}"
    return [
        Goal("families left out", len(left), "0", not left, missing),
        Goal("counts not simulated", len(wrong), "0", not wrong, differs),
    ]


def time_goals(table: Table, found: Sequence[Mapping[str, Any]]) -> list[Goal]:
    """Goals of speed, and what planning costs."""
    out = []
    exact = {(one["group"], one["kv"]): one for one in found if one["against"] == "pool" and one["ours"] == OURS}
    moved = {(one["group"], one["kv"]): one for one in found if one["against"] == "pool" and one["ours"] == ARRANGED}
    for (group, kv), as_is in exact.items():
        one = moved.get((group, kv), as_is)
        low, high = one["rounds"]
        about = f"{low} to {high} by round"
        if "model_alone" in one:
            about += f", {one['model_alone']} by the steps of the model alone"
        about += f"; {one['threads']} threads; geometric mean of {', '.join(one['families'])}"
        if one is not as_is:
            about += f"; in the layouts that `lampc layout` finds, {as_is['ratio']} as written"
        goal = GOALS[group]
        out.append(Goal(f"{group}, {kv} KV, over pool", one["ratio"], f"at least {goal}", one["ratio"] >= goal, about))
    shares = {
        f: (w["ample"][OURS].planning + w["ample"][OURS].lowering) / w["ample"][OURS].makespan for f, w in table.items()
    }
    worst = max(shares, key=shares.__getitem__)
    about = f"passes, order and sharing over makespan, KV ample, worst of {len(shares)} families: {worst}"
    out.append(Goal("planning_share", shares[worst], f"at most {MOST_PLANNING}", shares[worst] <= MOST_PLANNING, about))
    return out


def estimate_goal(errors: Mapping[str, float]) -> Goal:
    """How far expected makespans are from measured ones; `errors` are expected over measured, by family."""
    worst = max(errors, key=lambda f: abs(errors[f] - 1))
    off = abs(errors[worst] - 1)
    within = sum(abs(e - 1) <= ESTIMATE for e in errors.values())
    about = f"|expected / measured - 1| of makespans, worst of {len(errors)}: {worst}; {within} are within {ESTIMATE}"
    return Goal("estimates", off, f"at most {ESTIMATE}", off <= ESTIMATE, about)
