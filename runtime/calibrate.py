"""What a step of a loaded engine costs on this machine: measured in seconds, and kept for next time.

Costs are kept below the user's cache folder by what they hang on: the engine's digest (weights, precision, kernels,
exactness), the number of threads, the processor and what the engine computes at most in a step.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.runtime.cache import default_folder
from lampc.runtime.costs import StepCost, fit
from lampc.runtime.local import digest_of

if TYPE_CHECKING:
    from lampc.backend import TokenEngine
    from lampc.backend.steps import StepShape, StepTaken

FORMAT = 2
SECONDS = 5.0
"""How long a calibration may take; on a slow model it ends with fewer points."""


def cost_of(engine: TokenEngine, folder: Path | None = None, *, seconds: float | None = None) -> StepCost:
    """The costs of an engine's steps: kept ones, or measured now. `folder` is the cache folder by default.

    Raises Unsupported for an engine without a scheduler, ValueError for one that is at work.
    """
    path = (folder if folder is not None else default_folder()) / "costs" / f"{key(engine)}.json"
    kept = _kept(path)
    if kept is not None:
        return kept
    made = calibrate(engine, seconds=SECONDS if seconds is None else seconds)
    _keep(path, made)
    return made


def key(engine: TokenEngine) -> str:
    """What costs hang on, as 32 hexadecimal digits."""
    from lampc.backend.core import EngineCore
    from lampc.backend.simulated import settings

    told = settings(engine) if isinstance(engine, EngineCore) else {}
    parts = [
        FORMAT,
        digest_of(engine, None),
        _threads(),
        processor(),
        told.get("max_batch_tokens"),
        told.get("max_running"),
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def calibrate(
    engine: TokenEngine, *, seconds: float = SECONDS, clock: Callable[[], float] = time.perf_counter
) -> StepCost:
    """Measure steps of prompts and of generations, and fit costs to them. The engine's cache is empty afterwards.
    `clock` may count processor time on a machine that does other things meanwhile.

    Raises Unsupported for an engine without a scheduler, ValueError for one that is at work.
    """
    from lampc.backend.steps import watch_steps

    if not engine.idle:
        raise ValueError("the engine is at work; calibrate it before it is given requests")
    taken: list[StepTaken] = []
    end = watch_steps(engine, taken.append, clock)
    draw = random.Random(0)
    until = time.perf_counter() + seconds
    found: list[tuple[StepShape, float]] = []
    try:
        for requests, prompt, new, shared, temperature in _points(engine):
            taken.clear()
            _run(engine, requests, prompt, new, shared, temperature, draw)
            if found or new > 1:  # the very first one warms up
                found += _steady(taken)
            if time.perf_counter() > until and len(found) > 8:
                break
    finally:
        end()
        engine.reset_cache()
    return fit(found)


def _points(engine: TokenEngine) -> Iterator[tuple[int, int, int, int, float]]:
    """Requests, tokens of their prompts, tokens to write, tokens that the prompts share, temperature: the most telling
    first."""
    from lampc.backend.core import EngineCore
    from lampc.backend.simulated import settings

    told = settings(engine) if isinstance(engine, EngineCore) else {"max_running": 1, "max_batch_tokens": 512}
    room = min(engine.info.context_length, engine.info.kv_tokens or engine.info.context_length)
    most = int(told["max_running"])
    yield 1, min(64, room // 4), 2, 0, 0.0
    for _ in range(2):
        yield 1, min(48, room // 4), 12, 0, 0.0
        for prompt in (16, 32, 64, 128, 256, 512):
            if prompt + 2 < room:
                yield 1, prompt, 1, 0, 0.0
        for requests in (4, 16, 2, 8, 32, 64):
            if requests <= most and requests * 40 < engine.info.kv_tokens:
                yield requests, 16, 10, 0, 0.0
        for requests, prompt, shared in ((1, 1024, 0), (16, 512, 496), (4, 768, 0), (32, 640, 624), (16, 512, 0)):
            own = prompt - shared + 32
            if requests <= most and prompt + 10 < room and shared + requests * own < engine.info.kv_tokens:
                yield requests, prompt, 10, shared, 0.0
        for requests in (1, 8, 24):
            if requests <= most and requests * 40 < engine.info.kv_tokens:
                yield requests, 16, 8, 0, 0.7


def _run(
    engine: TokenEngine, requests: int, prompt: int, new: int, shared: int, temperature: float, draw: random.Random
) -> None:
    from lampc.backend import Request, Sampling

    size = engine.info.vocab_size
    sampling = Sampling(temperature, max_tokens=new, ignore_eos=True)
    stem = draw.choices(range(size), k=shared)
    prompts = [(*stem, *draw.choices(range(size), k=prompt - shared)) for _ in range(requests)]
    handles = [engine.submit(Request(ids, sampling)) for ids in prompts]
    engine.run()
    for handle in handles:
        if handle.completion is None or handle.completion.finish == "error":
            raise RuntimeError(f"a calibration request failed: {handle.completion and handle.completion.error}")


def _steady(taken: list[StepTaken]) -> list[tuple[StepShape, float]]:
    """Steps of a run; of generation that repeats itself, the median step stands for all."""
    from dataclasses import replace

    out = []
    decoding: dict[tuple[int, int], list[StepTaken]] = {}
    for step in taken:
        if step.shape.prefilled or step.shape.decoding != step.shape.logits:
            out.append((step.shape, step.seconds))
        else:
            decoding.setdefault((step.shape.decoding, step.shape.sampled), []).append(step)
    for steps in decoding.values():
        steps.sort(key=lambda s: s.seconds)
        middle = steps[len(steps) // 2]
        reads, distinct = (sum(getattr(s.shape, n) for s in steps) // len(steps) for n in ("decode_reads", "distinct"))
        out.append((replace(middle.shape, decode_reads=reads, distinct=distinct), middle.seconds))
    return out


# -- where they are kept ---------------------------------------------------------------------------------


def _kept(path: Path) -> StepCost | None:
    try:
        return StepCost.read(json.loads(path.read_text(encoding="utf-8"))["cost"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or of another version: measured again


def _keep(path: Path, cost: StepCost) -> None:
    """Written whole or not at all; a folder that cannot be written is no reason to fail."""
    about = {"threads": _threads(), "processor": processor(), "measured": time.strftime("%Y-%m-%d", time.gmtime())}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps({**about, "cost": cost.record()}, indent=1), encoding="utf-8")
        part.replace(path)
    except OSError:
        return


def _threads() -> int:
    from sys import modules

    torch: Any = modules.get("torch")  # an engine that computes has it loaded
    return int(torch.get_num_threads()) if torch is not None else 1


def processor() -> str:
    """The machine's processor, and how many of its cores may be used."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        name = ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name or platform.processor() or platform.machine()} x {cores}"
