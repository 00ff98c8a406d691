"""Are the tokens right? Against transformers `generate`: ids in float32; in bfloat16 where they part, and the error.

The error is that of ln p of the ids that our engine gave, in nats, with a float32 forward pass of transformers as the
truth; that of transformers' own bfloat16 forward pass over the same ids stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from engine_bench import environments
from engine_bench.measure import Bench, fewer, same_ids
from engine_bench.process import Failed, Runner
from engine_bench.systems import OURS, PEERS_OF_OURS

_LABEL = "correctness"
_TIMEOUT_S = 1200.0
_GENERATE = next(s for s in PEERS_OF_OURS if s.name == "transformers")


def check(bench: Bench, names: Sequence[str], at_most: int) -> None:
    """Adds a row for each workload, from its first `at_most` requests."""
    todo = [w for w in names if w in _GENERATE.workloads and bench.unit(_LABEL, w) not in bench.rows]
    if not todo:
        return
    try:
        dtypes = ["float32"] if bench.model.dtype == "float32" else ["float32", bench.model.dtype]
        found = {dtype: _answers(bench, dtype, todo, at_most) for dtype in dtypes}
    except Failed as error:
        for name in todo:
            bench.rows.add(
                bench.unit(_LABEL, name),
                [{"model": bench.model.name, "system": _LABEL, "workload": name, "note": str(error)}],
            )
        print(f"  {bench.model.name}: ids were not compared: {error}", flush=True)
        return
    for name in todo:
        row: dict[str, Any] = {"model": bench.model.name, "system": _LABEL, "workload": name}
        for dtype, answers in found.items():
            row[dtype] = answers[name]
        bench.rows.add(bench.unit(_LABEL, name), [row])
        print(f"  {bench.model.name:<10} {name} ids as transformers: {row}", flush=True)


def _answers(bench: Bench, dtype: str, names: Sequence[str], at_most: int) -> dict[str, dict[str, Any]]:
    """Per workload what one dtype gives. One engine at a time is in memory besides the resident one."""
    model = replace(bench.model, dtype=dtype)
    items = {name: fewer(bench.work[name], at_most).as_json()["items"] for name in names}
    ours, theirs, truth = {}, {}, {}
    with bench.paused():
        runner = bench.start(OURS, bench.options(), model)
        try:
            for name in names:
                ours[name] = runner.ask("logprobs", items[name], _TIMEOUT_S)
        finally:
            runner.close()
        runner = _generate(bench, dtype)
        try:
            for name in names:
                theirs[name] = runner.ask("offline", items[name], _TIMEOUT_S)["ids"]
                truth[name] = {dtype: _scores(runner, items[name], ours[name]["ids"])}
        finally:
            runner.close()
        if dtype != "float32":
            runner = _generate(bench, "float32")
            try:
                for name in names:
                    truth[name]["float32"] = _scores(runner, items[name], ours[name]["ids"])
            finally:
                runner.close()
    out = {}
    for name in names:
        exact = truth[name]["float32"]
        out[name] = {
            **same_ids(theirs[name], ours[name]["ids"]),
            "logprob_error": errors(ours[name]["logprobs"], exact),
        }
        if dtype != "float32":
            out[name]["logprob_error_of_transformers"] = errors(truth[name][dtype], exact)
    return out


def _generate(bench: Bench, dtype: str) -> Runner:
    assert _GENERATE.environment is not None
    note = environments.ready(_GENERATE.environment, list(bench.settings.pip_args), bench.settings.environment_s)
    if note is not None:
        raise Failed(note)
    return bench.start(_GENERATE, {}, replace(bench.model, dtype=dtype))


def _scores(runner: Runner, items: list[dict[str, Any]], ids: list[list[int]]) -> list[list[float]]:
    scores: list[list[float]] = runner.ask("score", items, _TIMEOUT_S, ids=ids)["logprobs"]
    return scores


def errors(found: Sequence[Sequence[float]], right: Sequence[Sequence[float]]) -> dict[str, float]:
    """Mean and largest absolute difference, in nats."""
    gaps = [abs(a - b) for x, y in zip(found, right, strict=True) for a, b in zip(x, y, strict=True)]
    return {"mean": round(sum(gaps) / len(gaps), 6), "most": round(max(gaps), 6)}
