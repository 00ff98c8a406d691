"""What is made of the measurements: a table, ratios (theirs over ours), and the goals."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from optimizer_bench.sides import ENGINE, HTTP, OURS, PLAIN, SIDES, Measured

TWO_PREDICTORS = "helpdesk"
MIPRO, SEARCH = "MIPROv2", "BootstrapFewShotWithRandomSearch"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that is to be at least `goal`."""

    name: str
    figure: float | None
    goal: float

    @property
    def reached(self) -> bool:
        return self.figure is not None and self.figure >= self.goal

    def line(self) -> str:
        """For people."""
        if self.figure is None:
            return f"not measured {self.name}, wanted {self.goal:g}"
        return f"{'reached' if self.reached else 'MISSED '} {self.name}: {self.figure:.3g}, wanted {self.goal:g}"


class Figures:
    """All measurements of a run."""

    def __init__(self, found: Iterable[Measured]) -> None:
        self.found = list(found)
        self.optimizers = list(dict.fromkeys(m.optimizer for m in self.found))
        self.tasks = list(dict.fromkeys(m.task for m in self.found))

    def of(self, optimizer: str, task: str, side: str) -> dict[int, Measured]:
        """By seed."""
        return {m.seed: m for m in self.found if (m.optimizer, m.task, m.side) == (optimizer, task, side)}

    def ratio(self, optimizer: str, task: str, side: str, value: Callable[[Measured], float]) -> float | None:
        """Theirs over ours, of the means over the seeds that both have."""
        ours, theirs = self.of(optimizer, task, OURS), self.of(optimizer, task, side)
        both = sorted(set(ours) & set(theirs))
        if not both:
            return None
        mine = statistics.fmean(value(ours[s]) for s in both)
        return statistics.fmean(value(theirs[s]) for s in both) / mine if mine else None

    def over_tasks(self, optimizer: str, side: str, value: Callable[[Measured], float]) -> float | None:
        """The geometric mean of the tasks' ratios."""
        found = [r for t in self.tasks if (r := self.ratio(optimizer, t, side, value))]
        return math.exp(statistics.fmean(map(math.log, found))) if found else None

    def delta(self, optimizer: str, task: str) -> list[float]:
        """Points by which our score is above theirs in process, seed by seed."""
        ours, theirs = self.of(optimizer, task, OURS), self.of(optimizer, task, ENGINE)
        return [ours[s].score - theirs[s].score for s in sorted(set(ours) & set(theirs))]

    def ratios(self) -> dict[str, float]:
        """The figures by their names."""
        wanted: tuple[tuple[str, str, Callable[[Measured], float]], ...] = (
            ("wall_engine", ENGINE, lambda m: m.wall),
            ("wall_http", HTTP, lambda m: m.wall),
            ("tokens", ENGINE, lambda m: m.computed_tokens),
            ("tokens_nocache", PLAIN, lambda m: m.computed_tokens),
        )
        out: dict[str, float] = {}
        for name in self.optimizers:
            for what, side, value in wanted:
                found = self.over_tasks(name, side, value)
                if found is not None:
                    out[f"{name}_{what}"] = round(found, 3)
        deltas = [statistics.fmean(d) for o in self.optimizers for t in self.tasks if (d := self.delta(o, t))]
        if deltas:
            out["worst_score_delta"] = round(min(deltas), 2)
        return out

    def goals(self) -> list[Goal]:
        """What was to be reached."""
        ratios = self.ratios()
        two = self.ratio(MIPRO, TWO_PREDICTORS, ENGINE, lambda m: m.computed_tokens)
        out = [Goal("worst_score_delta", ratios.get("worst_score_delta"), 0.0)]
        for name in (MIPRO, SEARCH):
            out += [
                Goal(f"{name}_wall_http", ratios.get(f"{name}_wall_http"), 5.0),
                Goal(f"{name}_wall_engine", ratios.get(f"{name}_wall_engine"), 2.0),
                Goal(f"{name}_tokens_nocache", ratios.get(f"{name}_tokens_nocache"), 5.0),
            ]
        out.append(Goal(f"{MIPRO}_tokens, two predictors", two, 1.5))
        out.append(Goal(f"{SEARCH}_tokens", ratios.get(f"{SEARCH}_tokens"), 1.1))
        return out

    def table(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Optimizer, task and side: means over seeds, the score with its interval, the difference of scores."""
        out: dict[str, dict[str, dict[str, Any]]] = {}
        for name in self.optimizers:
            for task in self.tasks:
                row: dict[str, Any] = {}
                for side in SIDES:
                    found = list(self.of(name, task, side).values())
                    if found:
                        row[side] = _means(found)
                if delta := self.delta(name, task):
                    row["score_delta"] = [round(statistics.fmean(delta), 2), *interval(delta)]
                if row:
                    out.setdefault(name, {})[task] = row
        return out


def _means(found: Sequence[Measured]) -> dict[str, Any]:
    def mean(value: Callable[[Measured], float]) -> float:
        return statistics.fmean(map(value, found))

    scores = [m.score for m in found]
    return {
        "seeds": len(found),
        "score": [round(statistics.fmean(scores), 2), *interval(scores)],
        "wall": round(mean(lambda m: m.wall), 4),
        "cpu": round(mean(lambda m: m.cpu), 4),
        "requests": round(mean(lambda m: m.requests), 1),
        "prompt_tokens": round(mean(lambda m: m.prompt_tokens)),
        "computed_tokens": round(mean(lambda m: m.computed_tokens)),
        "load": round(max(m.load for m in found), 2),
    }


def interval(values: Sequence[float], draws: int = 2000) -> tuple[float, float]:
    """95 % of the mean over seeds, by resampling."""
    rng = random.Random(0)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(draws))
    return round(means[int(0.025 * draws)], 2), round(means[int(0.975 * draws) - 1], 2)


def lines(table: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """The table for people."""
    out = [f"{'':<34} {'side':<7} {'score':>6} {'interval':>14} {'seconds':>8} {'requests':>8} {'computed':>9}"]
    for name, tasks in table.items():
        for task, row in tasks.items():
            for side in SIDES:
                if side in row:
                    r = row[side]
                    mean, low, high = r["score"]
                    what = f"{name}, {task}" if len(name) < 24 else f"{name[9:]}, {task}"
                    out.append(
                        f"{what:<34.34} {side:<7} {mean:>6.1f} {f'[{low:.1f}, {high:.1f}]':>14} {r['wall']:>8.2f}"
                        f" {r['requests']:>8.0f} {r['computed_tokens']:>9}"
                    )
    return out
