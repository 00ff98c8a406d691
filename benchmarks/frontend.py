"""What the framework itself costs, beside DSPy: building predictors, calling them, evaluating, importing.

    make bench-frontend                 writes benchmarks/results/frontend.json

Models answer at once: in process, or over HTTP from a loopback server in a process of its own. Each side runs in
processes of its own, the two in turns, so that a change of the machine's load meets both; `ratios` are theirs over
ours, of the medians. What runs in process alone is measured in CPU seconds. HTTP is measured in wall seconds, the best
of equally many runs of each side, DSPy's with different numbers of threads. Memory is what a row of an
evaluation leaves behind in the results, by tracemalloc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import RESULTS, machine, median
from providers import start_server

ROUNDS = 3
ROWS = 1000
THREADS = (1, 8, 32)
GOALS = {"build_predictor": 5.0, "predict": 2.5, "evaluate_inprocess": 3.0, "evaluate_http": 4.0}
"""At least so many times as fast as DSPy; and `import lampc` in less than IMPORT_SECONDS."""
IMPORT_SECONDS = 0.2
_RUNS = {*map(str, THREADS), *(f"run{i}" for i in range(len(THREADS)))}
TEXT = "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]\n"


def seconds(work: Callable[[], Any], times: int = 1, clock: Callable[[], float] = time.perf_counter) -> float:
    begun = clock()
    for _ in range(times):
        work()
    return (clock() - begun) / times


def cpu(work: Callable[[], Any], times: int = 1) -> float:
    """CPU seconds of this process, all threads."""
    return seconds(work, times, time.process_time)


# -- one side, in a process of its own ------------------------------------------------------------------


def measure(lib: Any, instant: Any, over_http: Any, threads: tuple[int | None, ...]) -> dict[str, float]:
    """Figures of one library, in seconds; `lib` is dspy or lampc, used by the same names."""
    out: dict[str, float] = {}
    names = iter(range(1_000_000))
    lib.Predict("question -> answer")
    out["build_predictor"] = cpu(lambda: lib.Predict(f"question, a{next(names)}: int -> answer, b: list[str]"), 200)
    out["build_predictor_again"] = cpu(lambda: lib.Predict("question -> answer"), 200)

    class Program(lib.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.ask = lib.Predict("question -> answer")

        def forward(self, question: str) -> Any:
            return self.ask(question=question)

    def right(example: Any, prediction: Any, trace: Any = None) -> bool:
        return bool(example.answer == prediction.answer)

    rows = [lib.Example(question=f"q{i}", answer="yes").with_inputs("question") for i in range(ROWS)]
    program = Program()

    def evaluate(n: int | None) -> None:
        result = lib.Evaluate(devset=rows, metric=right, num_threads=n, display_progress=False)(program)
        assert result.score == 100.0, result

    with lib.context(lm=instant):
        ask = lib.Predict("question -> answer")
        assert ask(question="x").answer == "yes"
        out["predict"] = cpu(lambda: ask(question="x"), 500)
        evaluate(threads[0])
        out["evaluate_inprocess"] = min(cpu(lambda n=n: evaluate(n)) for n in threads[:2])  # type: ignore[misc]
        out["bytes_per_row"] = memory(lambda: lib.Evaluate(devset=rows, metric=right, num_threads=threads[0])(program))
    with lib.context(lm=over_http):
        evaluate(threads[-1])
        for i, n in enumerate(threads):
            before = time.process_time()
            out[f"evaluate_http_{n or f'run{i}'}"] = seconds(lambda n=n: evaluate(n))  # type: ignore[misc]
            out[f"evaluate_http_cpu_{n or f'run{i}'}"] = time.process_time() - before
    return out


def memory(work: Callable[[], Any]) -> float:
    """Bytes that a result keeps alive, for each row."""
    import gc
    import tracemalloc

    gc.collect()
    tracemalloc.start()
    kept = work()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept is not None
    return used / ROWS


def theirs(url: str) -> dict[str, float]:
    import logging
    import warnings
    from types import SimpleNamespace

    warnings.simplefilter("ignore")
    import dspy

    logging.disable(logging.CRITICAL)

    class Instant(dspy.BaseLM):  # type: ignore[misc]
        def forward(self, prompt: Any = None, messages: Any = None, **kwargs: Any) -> Any:
            message = SimpleNamespace(content=TEXT, tool_calls=None)
            choice = SimpleNamespace(message=message, finish_reason="stop", logprobs=None)
            return SimpleNamespace(choices=[choice], usage={}, model="m")

    lm = dspy.LM("openai/m", api_base=url, api_key="x", cache=False)
    return measure(dspy, Instant("m", cache=False), lm, THREADS)


def ours(url: str) -> dict[str, float]:
    import lampc

    lampc.configure(layout="chat")
    instant = lampc.LM("m", engine=lambda messages: TEXT, cache=False)
    over_http = lampc.LM("openai/m", api_base=url, api_key="x", cache=False)
    return measure(lampc, instant, over_http, (None,) * len(THREADS))  # as many runs as theirs


def import_seconds(name: str) -> float:
    """Wall seconds that a fresh process takes longer with the import than without."""

    def run(code: str) -> float:
        return seconds(lambda: subprocess.run([sys.executable, "-c", code], check=True, env=environment()))

    return max(0.0, run(f"import {name}") - run("pass"))


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": "src:benchmarks"}


# -- both, in turns -------------------------------------------------------------------------------------


def one(side: str, url: str) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__)), side, url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "import": import_seconds("dspy" if side == "theirs" else "lampc")}


def main() -> int:
    if len(sys.argv) == 3:
        print(json.dumps(theirs(sys.argv[2]) if sys.argv[1] == "theirs" else ours(sys.argv[2])))
        return 0
    process, url = start_server()
    runs: dict[str, list[dict[str, float]]] = {"theirs": [], "ours": []}
    try:
        for _ in range(ROUNDS):
            for side, found in runs.items():
                found.append(one(side, url))
    finally:
        process.terminate()
        process.wait(10)
    middle = {side: {k: median([r[k] for r in found]) for k in found[0]} for side, found in runs.items()}
    for side, found in runs.items():
        for kind in ("evaluate_http", "evaluate_http_cpu"):
            middle[side][kind] = min(v for r in found for k, v in r.items() if k.removeprefix(f"{kind}_") in _RUNS)
    shown = (*GOALS, "evaluate_http_cpu", "build_predictor_again", "import", "bytes_per_row")
    ratios = {name: middle["theirs"][name] / middle["ours"][name] for name in shown}
    missed = [n for n, goal in GOALS.items() if ratios[n] < goal]
    if middle["ours"]["import"] >= IMPORT_SECONDS:
        missed.append("import")
    result = {
        "benchmark": "frontend",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "ratios": {k: round(v, 2) for k, v in ratios.items()},
        "goals": {**GOALS, "import_seconds": IMPORT_SECONDS},
        "missed": missed,
        "rows": ROWS,
        "rounds": ROUNDS,
        **{side: {k: round(v, 7) for k, v in found.items()} for side, found in middle.items()},
        **machine("dspy", "aiohttp", "openai"),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "frontend.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, ratio in ratios.items():
        a, b = (middle[s][name] for s in ("theirs", "ours"))
        unit, scale = ("bytes", 1.0) if name.startswith("bytes") else ("ms", 1e3)
        goal = f"  (goal {GOALS[name]:g})" if name in GOALS else ""
        print(f"{name:22} DSPy {a * scale:10.3f} {unit}   ours {b * scale:10.3f} {unit}   ratio {ratio:6.2f}{goal}")
    if missed:
        print(f"goals missed: {', '.join(missed)}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
