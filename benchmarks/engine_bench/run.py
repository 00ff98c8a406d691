"""A whole run: models, workloads, peers, other settings of our engine, in an order that keeps figures comparable."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from _common import ROOT, machine

from engine_bench import cache, correctness, environments, floor, systems, workloads
from engine_bench import model as models
from engine_bench.measure import Bench, Settings
from engine_bench.process import Failed, Runner, Stopped
from engine_bench.ratios import ratios
from engine_bench.rows import Rows, digest, key
from engine_bench.systems import OURS, PEERS_OF_OURS, Model, System
from engine_bench.workloads import Item, Workload

OVERLOAD = 1.2
"""Requests of W4 arrive so many times as fast as our engine answers them offline."""
RUSH = 2.0
"""The same where policies are compared: priorities matter where requests have to wait."""
VARIANT_REQUESTS = 8
_FLOORS = System("floors", "floors.py", "torch's GEMM and reads")
_MEASURING = ("peers", "workloads.py", "measure.py", "process.py", "floor.py")
_ITEMSIZE = {"float32": 4, "bfloat16": 2}


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measures what is missing of the run that `args` describe; returns all of its results."""
    settings = Settings(
        args.threads,
        args.repeat,
        full=args.full,
        pip_args=tuple(args.pip_args.split()),
        source=str(ROOT / "src"),
        until=time.monotonic() + 60 * args.minutes,
    )
    about = {k: v for k, v in machine("torch", "numpy").items() if k != "load"}
    code = digest([ROOT / "backend", *(Path(__file__).parent / name for name in _MEASURING)])
    wanted = {
        "machine": [about["processor"], about["processors"], about["system"], about["torch"]],
        "threads": args.threads,
        "requests": args.n,
        "quick": args.quick,
        "full": args.full,
        "repeat": args.repeat,
        "environments": {name: env.packages for name, env in environments.ALL.items()},
    }
    chosen = _models(args)
    runs = cache.folder("runs")
    kept = {m.name: Rows(runs / f"{key(wanted | {'model': m.key}, code)}.jsonl", args.fresh) for m in chosen}
    kernels = "as they are" if args.quick else _kernels(settings.source)
    stopped = ""
    try:
        for model in chosen:
            print(f"{model.name} ({model.dtype})", flush=True)
            _measure(model, args, settings, kept[model.name])
    except (Stopped, KeyboardInterrupt) as reason:
        stopped = str(reason) or "interrupted"
        print(f"  stopped ({stopped}); what was measured is kept, the same command goes on", flush=True)
    found = {model.name: _summary(model, args, kept[model.name]) for model in chosen}
    return {
        "benchmark": "engine",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": about,
        "code": code,
        "kernels": kernels,
        "settings": {k: v for k, v in wanted.items() if k not in ("machine", "environments")},
        "stopped": stopped,
        "ratios": next(iter(found.values()))["ratios"],
        "models": found,
        "rows": [row for rows in kept.values() for row in rows.all()],
    }


def _kernels(source: str) -> str:
    """Builds our engine's native kernels if they are not there; what is said about it, without folders of this user."""
    command = [sys.executable, "-m", "lampc.backend.native"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": source}, capture_output=True, text=True)
    said = (done.stdout + done.stderr).strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    print(said[0], flush=True)
    return re.sub(r"\S*/(?=kernels-)", "", said[0])


def _models(args: argparse.Namespace) -> list[Model]:
    known = {}
    if "qwen-0.5b" in args.models:
        known["qwen-0.5b"] = Model("qwen-0.5b", models.qwen(), "bfloat16", big=True)
    if "tiny" in args.models:
        folder = models.make(cache.folder("models") / "small-random", models.SMALL)
        known["tiny"] = Model("tiny", folder, "bfloat16", big=False)
    if "firefly" in args.models:
        from lampc.runtime.pool import firefly_folder

        known["firefly"] = Model("firefly", Path(firefly_folder()), "float32", big=False)
    return [known[name] for name in args.models]


def work_of(vocab: int, n: int, quick: bool, rate: float) -> dict[str, Workload]:
    """The four workloads; quick ones for trying things out."""
    if quick:
        return {
            "W1": workloads.w1(n, vocab, shared=128, own=16, out=8),
            "W2": workloads.w2(n, vocab, own=48, out=8),
            "W3": workloads.w3(vocab, own=32, out=16),
            "W4": workloads.w4(n, vocab, rate, longest=64, most_out=16),
        }
    return {
        "W1": workloads.w1(n, vocab),
        "W2": workloads.w2(n, vocab),
        "W3": workloads.w3(vocab),
        "W4": workloads.w4(n, vocab, rate, longest=384, most_out=48),
    }


def _measure(model: Model, args: argparse.Namespace, settings: Settings, rows: Rows) -> None:
    config = _config(model)
    bench = Bench(model, work_of(config["vocab_size"], args.n, args.quick, rate=1.0), settings, rows)
    names: Sequence[str] = args.workloads
    try:
        _limits(bench, floor.Shape.of(config), args.quick, "before")
        if "W4" in names:
            rate = OVERLOAD * bench.capacity(bench.work["W4"])
            bench.work = work_of(config["vocab_size"], args.n, args.quick, rate)
        for system in PEERS_OF_OURS:
            if system.name in args.only:
                bench.peer(system, names)
                _limits(bench, floor.Shape.of(config), args.quick, f"after {system.name}")
        for name in names:
            if "ours" in args.only:
                bench.alone(name)
        if "W4" in names:
            _streams(bench, args.n)
        if "correctness" in args.only:
            correctness.check(bench, names, 8 if not model.big else 2)
        _memory(bench, names)
        _limits(bench, floor.Shape.of(config), args.quick, "after")
        if "variants" in args.only:
            for label, options in systems.variants().items():
                bench.variant(label, options, [w for w in names if w != "W4"], VARIANT_REQUESTS)
    finally:
        bench.close()


def _config(model: Model) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    return config


def _summary(model: Model, args: argparse.Namespace, rows: Rows) -> dict[str, Any]:
    """What follows from the rows that are there."""
    mine = [r for r in rows.all() if r["model"] == model.name]
    limits: dict[str, dict[str, float]] = {"gemm_gflops": {}, "read_gb_s": {}}
    floors: dict[str, float] = {}
    for row in (r for r in mine if r["system"] == "limits"):
        for name, best in limits.items():
            best |= {k: max(round(v, 1), best.get(k, 0.0)) for k, v in row[name].items()}
    if limits["gemm_gflops"]:
        config = _config(model)
        shape, work = floor.Shape.of(config), work_of(config["vocab_size"], args.n, args.quick, rate=1.0)
        rates = max(limits["gemm_gflops"].values()), max(limits["read_gb_s"].values())
        for name in ("W1", "W2", "W3"):
            floors[name] = round(floor.seconds(shape, work[name], _ITEMSIZE[model.dtype], *rates), 6)
    capacity = next((r["asked"] / r["seconds"] for r in mine if r["system"] == "ours, offline"), None)
    return {
        "dtype": model.dtype,
        "weights": model.digest,
        "w4_requests_per_s": None if capacity is None else round(OVERLOAD * capacity, 3),
        "limits": limits,
        "floors": floors,
        "ratios": ratios(mine, model.name, floors),
    }


def _limits(bench: Bench, shape: floor.Shape, quick: bool, when: str) -> None:
    """GEMM and read rates, which vary where machines are shared: measured between all others, the best counts."""
    unit = bench.unit("limits", when)
    if unit in bench.rows:
        return
    try:
        with bench.paused():
            runner = bench.start(_FLOORS, {"shapes": sorted({*shape.matrices, (shape.hidden, shape.vocab)})})
            try:
                found = runner.ask("measure", [], 600, seconds=0.02 if quick else 0.3)
            finally:
                runner.close()
    except Failed as error:
        print(f"  the machine's limits were not measured: {error}", flush=True)
        return
    bench.rows.add(unit, [{"model": bench.model.name, "system": "limits", "workload": "", **found}])
    gemm, read = max(found["gemm_gflops"].values()), max(found["read_gb_s"].values())
    print(f"  {gemm:.0f} GFLOP/s in {bench.model.dtype} products, {read:.1f} GB/s read", flush=True)


def _streams(bench: Bench, n: int) -> None:
    """Our engine on the trace: as it is, with static batching; and at twice the capacity with few places, by priority
    and FCFS."""
    few = max(2, n // 4)
    known = systems.load_options()
    policy = {"policy": "priority"} if "policy" in known else {}
    fcfs = {"policy": "fcfs"} if "policy" in known else {"drop_priority": True}
    bench.stream_unit("ours, stream", {})
    bench.stream_unit("ours, static batching", {}, batch=64)
    trace = bench.work["W4"]
    hurried = tuple(replace(item, arrival=item.arrival * OVERLOAD / RUSH) for item in trace.items)
    bench.work["W4"] = replace(trace, items=hurried)
    bench.stream_unit("ours, rush, priority", {"max_running": few, **policy})
    bench.stream_unit("ours, rush, FCFS", {"max_running": few, **fcfs})
    bench.work["W4"] = trace


def _memory(bench: Bench, names: Sequence[str]) -> None:
    """KV memory that live requests hold at the peak, against as many rows of the workload's longest request.

    For a big model blocks are counted with a tiny one on requests of the same lengths: it does not matter what they
    hold.
    """
    todo = [w for w in names if bench.unit("memory", w) not in bench.rows]
    try:
        if todo and bench.model.big:
            tiny = Model(
                "tiny", models.make(cache.folder("models") / "small-random", models.SMALL), "float32", big=False
            )
            with bench.paused():
                runner = bench.start(OURS, bench.options(), tiny)
                try:
                    _count(bench, runner, todo, models.SMALL["vocab_size"])
                finally:
                    runner.close()
        elif todo:
            _count(bench, bench.ours, todo, None)
    except Failed as error:
        print(f"  memory was not measured: {error}", flush=True)


def _count(bench: Bench, runner: Runner, names: Sequence[str], vocab: int | None) -> None:
    """`vocab`: ids are folded into so many."""
    for name in names:
        work = bench.work[name]
        items = work.items if vocab is None else tuple(_folded(item, vocab) for item in work.items)
        found = runner.ask("memory", replace(work, items=items).as_json()["items"], 600)
        row = {"model": bench.model.name, "system": "memory", "workload": name, **found}
        bench.rows.add(bench.unit("memory", name), [row | {"contiguous_tokens": found["live"] * work.longest}])


def _folded(item: Item, vocab: int) -> Item:
    low = workloads.VOCAB_FROM
    return replace(item, prompt=tuple(t % (vocab - low) + low for t in item.prompt))
