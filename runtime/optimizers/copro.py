"""DSPy's COPRO: instructions that a model writes, then better ones from how those scored."""

from __future__ import annotations

import difflib
import inspect
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lampc.frontend.python.module import Module, predictor_symbols
from lampc.ir import thaw
from lampc.ir.modelnames import model_name
from lampc.ir.settings import settings
from lampc.passes.optimize.protocol import Candidate
from lampc.runtime.configure import as_lm
from lampc.runtime.evaluation.evaluate import Evaluate
from lampc.runtime.optimizers.base import Found, Teleprompter, examples_of, improve, module_of
from lampc.runtime.optimizers.mipro import proposal_tokens

_STATS = ("depth", "max", "average", "min", "std")


class COPRO(Teleprompter):
    """Arguments and defaults are DSPy's; with the same proposals it scores the same candidates.

    No prefix of an output field is asked for, as no prompt shows one, there or here. Ours: `proposer` (`"pool"`,
    `"templates"`, `"edits"` need no model that can write; or an object) and `pool`, its texts.
    """

    def __init__(
        self,
        prompt_model: Any | None = None,
        metric: Callable[..., Any] | None = None,
        breadth: int = 10,
        depth: int = 3,
        init_temperature: float = 1.4,
        track_stats: bool = False,
        *,
        proposer: Any = "",
        pool: Any = (),
        **kwargs: Any,
    ) -> None:
        """Raises ValueError, and TypeError for a misspelt argument; others that there are not are passed over, as in
        DSPy."""
        _check_names(kwargs)
        if breadth <= 1:
            raise ValueError(f"breadth must be greater than 1, not {breadth}")
        self.prompt_model = as_lm(prompt_model) if prompt_model else None
        self.metric, self.breadth, self.depth = metric, breadth, depth
        self.init_temperature, self.track_stats = init_temperature, track_stats
        self.proposer, self.pool = proposer, pool

    def step(self) -> tuple[str, dict[str, Any]]:
        """As a step of `lampc.optimize(...)`; its metric is the declaration's, its prompt model a model of the program,
        by name."""
        options = {n: getattr(self, n) for n in ("breadth", "depth", "init_temperature", "proposer", "pool")}
        return "copro", {**options, **({"prompt_model": self.prompt_model.model} if self.prompt_model else {})}

    def compile(
        self, student: Module, *, trainset: Sequence[Any], eval_kwargs: Mapping[str, Any] | None = None
    ) -> Module:
        """A copy of `student` with the best instructions; its demos stay. Candidates are scored on all of `trainset`.

        `eval_kwargs` are those of `Evaluate`, of which `num_threads` and `display_progress` are heeded. The result has
        `candidate_programs`, best first, `total_calls` (how many candidates were scored) and, with `track_stats`,
        `results_best` and `results_latest` by the id of its predictors. Raises TypeError for another of `eval_kwargs`.
        """
        from lampc.passes.optimize import COPRO as Strategy

        strategy = Strategy(
            breadth=self.breadth,
            depth=self.depth,
            init_temperature=self.init_temperature,
            prompt_model=model_name(self.prompt_model) if self.prompt_model is not None else "",
            max_proposal_tokens=proposal_tokens(self.prompt_model or settings.get("lm")),
            proposer=self.proposer,
            pool=self.pool,
        )
        rows = examples_of(trainset)
        told = Evaluate(devset=rows, metric=self.metric, **(eval_kwargs or {}))
        found = improve(
            module_of(student), strategy, trainset=rows, valset=rows, metric=self.metric,
            num_threads=told.num_threads, verbose=told.display_progress,
        )  # fmt: skip
        tried = [c for c in found.result.history if "latest" in c.facts]
        better = found.module
        made: Any = better
        made._compiled = student._compiled
        made.candidate_programs = _ranked(found, tried)
        made.total_calls = len(tried)
        if self.track_stats:
            _attach_stats(made, tried)
        return better


def _check_names(more: Mapping[str, Any]) -> None:
    known = list(inspect.signature(COPRO.__init__).parameters)[1:-1]
    for name in more:
        if near := difflib.get_close_matches(name, known, 1):
            raise TypeError(f"COPRO has no argument `{name}`; did you mean `{near[0]}`?")


def _pools(tried: Sequence[Candidate]) -> dict[str, dict[str, Candidate]]:
    """By predictor and instruction the candidate of its best score, in the order in which they were first scored."""
    pools: dict[str, dict[str, Candidate]] = {}
    for c in tried:
        facts = thaw(c.facts)
        pool = pools.setdefault(facts["predictor"], {})
        known = pool.get(facts["instruction"])
        if known is None or _score(c) > _score(known):
            pool[facts["instruction"]] = c
    return pools


def _score(candidate: Candidate) -> float:
    return candidate.score or 0.0


def _ranked(found: Found, tried: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Best first, without programs of equal score and equal instructions."""
    pools = _pools(tried)
    names = [name for name, _ in predictor_symbols(found.module) if name in pools]
    pool = sorted((c for name in names for c in pools[name].values()), key=lambda c: -_score(c))
    seen: set[tuple[float, tuple[str, ...]]] = set()
    out = []
    for c in pool:
        program = found.program(c.assignment)
        program._compiled = False
        predictors = dict(predictor_symbols(program))
        mark = _score(c), tuple(p.signature.instructions for p in predictors.values())
        if mark in seen:
            continue
        seen.add(mark)
        facts = thaw(c.facts)
        prefix = list(predictors[facts["predictor"]].signature.fields.values())[-1].json_schema_extra["prefix"]
        out.append({
            "score": _score(c), "program": program, "instruction": facts["instruction"], "prefix": prefix,
            "depth": facts["depth"],
        })  # fmt: skip
    return out


def _attach_stats(made: Any, tried: Sequence[Candidate]) -> None:
    ids = {name: id(p) for name, p in predictor_symbols(made)}
    latest: dict[int, dict[str, list[Any]]] = {i: {k: [] for k in _STATS} for i in ids.values()}
    best: dict[int, dict[str, list[Any]]] = {i: {k: [] for k in _STATS} for i in ids.values()}
    past: list[Candidate] = []
    for depth, sweeps in _rounds(tried):
        scores: list[float] = []  # of all predictors swept so far in this round, as there
        for name, sweep in sweeps.items():
            scores += [_score(c) for c in sweep if c.facts["latest"]]
            _add(latest[ids[name]], depth, scores)
            past += sweep
        for name, pool in _pools(past).items():
            _add(best[ids[name]], depth, sorted((_score(c) for c in pool.values()), reverse=True)[:10])
    made.results_best, made.results_latest = best, latest


def _rounds(tried: Sequence[Candidate]) -> Iterator[tuple[int, dict[str, list[Candidate]]]]:
    rounds: dict[int, dict[str, list[Candidate]]] = {}
    for c in tried:
        facts = thaw(c.facts)
        rounds.setdefault(facts["depth"], {}).setdefault(facts["predictor"], []).append(c)
    yield from rounds.items()


def _add(stats: dict[str, list[Any]], depth: int, scores: Sequence[float]) -> None:
    values = (depth, max(scores), sum(scores) / len(scores), min(scores), statistics.pstdev(scores))
    for name, value in zip(_STATS, values, strict=True):
        stats[name].append(value)
