"""One run: every peer, each next to ours measured again right after it, workload by workload."""

from __future__ import annotations

import hashlib
import math
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from engine_bench import cache, environments, systems
from engine_bench.process import Failed, OursFailed, Runner, Stopped, machine_cpu_seconds
from engine_bench.rows import Rows
from engine_bench.systems import OURS, Model, System
from engine_bench.workloads import Workload

Row = dict[str, Any]
_START_S, _ASK_S, _CONVERT_S = 900.0, 1200.0, 900.0
FIRST_IDS = 4
_OFTEN = {"W3": 3}
"""So many times as often beside a peer: one stream is short, and bound by memory, whose speed varies by half where
machines are shared."""


@dataclass(frozen=True)
class Settings:
    """What the user chose. `environment_s` bounds the making of one environment."""

    threads: int
    repeat: int
    enough_s: float = 40.0  # no measurement is begun again after so many seconds of it
    load: int = 64  # requests at once in W4
    full: bool = False
    pip_args: tuple[str, ...] = ()
    environment_s: float = 3600.0
    source: str = ""  # where `lampc` is found
    until: float = math.inf  # on `time.monotonic`: nothing is begun after it


class Bench:
    """Measures one model; finished units are in `rows`. `work` are the workloads by name, W4 once its rate is known."""

    def __init__(self, model: Model, work: dict[str, Workload], settings: Settings, rows: Rows) -> None:
        self.model = model
        self.work = work
        self.settings = settings
        self.rows = rows
        self._known = systems.load_options()
        self._ours: Runner | None = None

    def unit(self, *parts: str) -> str:
        return "/".join((self.model.name, *parts))

    # -- ours ------------------------------------------------------------------------------------------

    @property
    def ours(self) -> Runner:
        """Our engine in its standard setting; loaded once, and stopped while others are measured."""
        if self._ours is None or not self._ours.alive:
            self._ours = self.start(OURS, self.options())
        return self._ours

    def options(self, **more: Any) -> dict[str, Any]:
        """For `load_engine`: room for all workloads of this run."""
        kv_tokens = max(sum(len(i.prompt) + i.out for i in w.items) - w.shared * (len(w.items) - 1) for w in self.all())
        return systems.ours(self._known, kv_tokens + 4096, **more)

    def all(self) -> list[Workload]:
        return list(self.work.values())

    def start(self, system: System, options: dict[str, Any], model: Model | None = None) -> Runner:
        """A runner, ready. Raises Failed."""
        model = model or self.model
        spec = {
            "folder": str(model.folder),
            "dtype": model.dtype,
            "threads": self.settings.threads,
            "requests": max(len(w.items) for w in self.all()),
            "longest": max(w.longest for w in self.all()),
            "options": options,
        }
        extra = {"PYTHONPATH": self.settings.source} if system.environment is None else {}
        log = cache.folder("logs") / f"{system.name}.log"
        return Runner(system.python, system.script, spec, log, _START_S, extra)

    def close(self) -> None:
        if self._ours is not None:
            self._ours.close()
            self._ours = None

    # -- units -----------------------------------------------------------------------------------------

    def peer(self, system: System, names: Sequence[str]) -> None:
        """A peer on those workloads, ours next to it. What does not work becomes a row with a note."""
        todo = [w for w in names if w in system.workloads and self.unit(system.name, w) not in self.rows]
        if not todo:
            return
        try:
            runner = self._peer_runner(system)
        except Failed as error:
            for name in todo:
                self._failed(system, name, error)
            return
        try:
            for name in todo:
                self._beside(system, runner, name, _OFTEN.get(name, 1))
        finally:
            runner.close()

    def _peer_runner(self, system: System) -> Runner:
        assert system.environment is not None
        note = environments.ready(system.environment, list(self.settings.pip_args), self.settings.environment_s)
        if note is not None:
            raise Failed(note)
        with self.paused():
            return self.start(system, {**system.options, **systems.prepare(system, self.model, _CONVERT_S)})

    def _beside(self, system: System, runner: Runner, name: str, often: int = 1) -> None:
        whole = self.work[name]
        work = whole if self.settings.full or not self.model.big else fewer(whole, system.fewer.get(name))
        theirs, mine = [], []
        try:
            for _ in self._repeats(often):
                with self.paused():
                    theirs.append(self.time(runner, work))
                runner.pause()
                mine.append(self.time_ours(work))
                runner.go_on()
        except Failed as error:
            runner.go_on()
            self._failed(system, name, error)
            return
        row = self.row(system.name, whole, work, theirs, runner) | {"how": system.how}
        beside = self.row(OURS.name, whole, work, mine, self.ours) | {"beside": system.name}
        if name != "W4":
            row |= same_ids(theirs[0]["ids"], mine[0]["ids"])
        self.keep(self.unit(system.name, name), [row, beside])

    def alone(self, name: str) -> None:
        """Ours on a workload that was not measured beside any peer with all its requests."""
        if any(r["system"] == OURS.name and r["requests"] == r["asked"] for r in self.of(name)):
            return
        work = self.work[name]
        taken = [self.time_ours(work) for _ in self._repeats()]
        self.keep(self.unit(OURS.name, name), [self.row(OURS.name, work, work, taken, self.ours)])

    def variant(self, label: str, options: dict[str, Any], names: Sequence[str], at_most: int) -> None:
        """Another setting of our engine, beside the standard one, with fewer requests."""
        todo = [w for w in names if self.unit(label, w) not in self.rows]
        if not todo:
            return
        system = replace(OURS, name=label, how=f"load_engine with {options}")
        try:
            with self.paused():
                runner = self.start(system, self.options(**options))
        except Failed as error:
            for name in todo:
                self._failed(system, name, error)
            return
        try:
            for name in todo:
                self._beside(replace(system, fewer={name: at_most}), runner, name)
        finally:
            runner.close()

    def stream_unit(self, label: str, options: dict[str, Any], **order: Any) -> None:
        """Our engine on W4 in another way."""
        unit = self.unit(label, "W4")
        if unit in self.rows:
            return
        work = self.work["W4"]
        own: Runner | None = None
        try:
            if options:
                with self.paused():
                    own = self.start(OURS, self.options(**options))
            taken = [self.time(own or self.ours, work, **order) for _ in self._repeats()]
            self.keep(unit, [self.row(label, work, work, taken, own or self.ours)])
        except Failed as error:
            self._failed(replace(OURS, name=label), "W4", error)
        finally:
            if own is not None:
                own.close()

    def capacity(self, work: Workload) -> float:
        """Requests per second of ours when all of `work` is there from the start."""
        unit = self.unit("ours, offline", "W4")
        if unit not in self.rows:
            taken = [self.time_ours(work, offline=True) for _ in self._repeats()]
            self.keep(unit, [self.row("ours, offline", work, work, taken, self.ours)])
        return len(work.items) / float(self.rows[unit][0]["seconds"])

    # -- how -------------------------------------------------------------------------------------------

    def _repeats(self, often: int = 1) -> Iterator[int]:
        """Once, and again as long as all of it was quick."""
        begun = time.monotonic()
        for i in range(self.settings.repeat * often):
            if i == 0 or time.monotonic() - begun < self.settings.enough_s:
                yield i

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Ours is stopped meanwhile."""
        if self._ours is not None:
            self._ours.pause()
        try:
            yield
        finally:
            if self._ours is not None:
                self._ours.go_on()

    def time_ours(self, work: Workload, offline: bool = False) -> Row:
        """The same of our engine in its standard setting. Raises OursFailed."""
        try:
            return self.time(self.ours, work, offline)
        except Failed as error:
            raise OursFailed(f"our engine failed on {work.name}: {error}") from error

    def time(self, runner: Runner, work: Workload, offline: bool = False, **order: Any) -> Row:
        """One measurement; `others_cpu_s` is processor time that somebody else used. Raises Failed or Stopped."""
        if time.monotonic() > self.settings.until:
            raise Stopped("out of time")
        load = round(os.getloadavg()[0], 2)
        machine, own = machine_cpu_seconds(), runner.cpu_seconds()
        items = work.as_json()["items"]
        if work.name == "W4" and not offline:
            taken = runner.ask("stream", items, _ASK_S, **order)
        else:
            taken = runner.ask("offline", items, _ASK_S)
        others = machine_cpu_seconds() - machine - (runner.cpu_seconds() - own)
        return taken | {"load": load, "others_cpu_s": round(max(0.0, others), 1)}

    def row(self, name: str, whole: Workload, work: Workload, taken: list[Row], runner: Runner) -> Row:
        """What is published of measurements of `work`, which may be part of the `whole` workload."""
        seconds = statistics.median(t["seconds"] for t in taken)
        usage = runner.usage()
        row = {
            "model": self.model.name,
            "dtype": self.model.dtype,
            "system": name,
            "workload": work.name,
            "requests": len(work.items),
            "asked": len(whole.items),
            "seconds": round(seconds, 3),
            "scaled_seconds": round(seconds * whole.tokens_out / work.tokens_out, 3),
            "all_seconds": [round(t["seconds"], 3) for t in taken],
            "output_tokens_per_s": round(work.tokens_out / seconds, 2),
            "start_s": round(runner.start_s, 1),
            "pss_mb": usage.pss_mb,
            "peak_mb": usage.peak_mb,
            "load": taken[0]["load"],
            "others_cpu_s": taken[0]["others_cpu_s"],
            "versions": runner.versions,
            "about": runner.about,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        if "ids" in taken[0]:
            ids = taken[0]["ids"]
            row["first_ids"] = [some[:FIRST_IDS] for some in ids[:2]]
            row["ids_digest"] = hashlib.sha256(repr(ids).encode()).hexdigest()[:16]
        if "times" in taken[0]:
            row |= waits([t for some in taken for t in some["times"]])
        return row

    def keep(self, unit: str, rows: list[Row]) -> None:
        """Stores a finished unit, and says so."""
        self.rows.add(unit, rows)
        for row in rows:
            scaled = f" ({row['requests']} of {row['asked']} requests)" if row["requests"] != row["asked"] else ""
            print(
                f"  {row['model']:<10} {row['workload']} {row['system']:<24} {row['seconds']:9.2f} s{scaled}",
                flush=True,
            )

    def of(self, name: str) -> list[Row]:
        """Rows of a workload on this model."""
        return [
            r
            for r in self.rows.all()
            if r.get("workload") == name and r["model"] == self.model.name and "note" not in r
        ]

    def _failed(self, system: System, name: str, error: Failed) -> None:
        note = {"model": self.model.name, "system": system.name, "workload": name, "note": str(error)}
        self.rows.add(self.unit(system.name, name), [note])
        print(f"  {self.model.name:<10} {name} {system.name:<24} skipped: {error}", flush=True)


def fewer(work: Workload, count: int | None) -> Workload:
    """The first `count` requests."""
    return work if count is None or count >= len(work.items) else replace(work, items=work.items[:count])


def waits(times: Sequence[Sequence[float]]) -> Row:
    """Percentiles of time to first token and of latency, in seconds, of all and of each priority."""
    out: Row = {}
    for label, wanted in (("", (0, 1)), ("_low", (0,)), ("_high", (1,))):
        some = [t for t in times if t[2] in wanted]
        if some:
            for place, what in enumerate(("ttft", "latency")):
                values = sorted(t[place] for t in some)
                out[f"{what}_p50{label}"] = round(percentile(values, 50), 4)
                out[f"{what}_p99{label}"] = round(percentile(values, 99), 4)
    return out


def percentile(ordered: Sequence[float], share: float) -> float:
    """Linear between neighbours."""
    at = (len(ordered) - 1) * share / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def same_ids(theirs: Sequence[Sequence[int]], mine: Sequence[Sequence[int]]) -> Row:
    """How many outputs are those of ours, and where the first differs."""
    places = [next((i for i, (a, b) in enumerate(zip(x, y)) if a != b), None) for x, y in zip(theirs, mine)]
    different = [p for p in places if p is not None]
    return {
        "ids_as_ours": f"{len(places) - len(different)} of {len(places)}",
        "first_divergence": min(different) if different else None,
    }
