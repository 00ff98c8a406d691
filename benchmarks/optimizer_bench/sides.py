"""The ways in which one compilation is run: lampc's, and DSPy's own over our engine in process, over HTTP, and in
process without any cache. Engine, model and mode are the same in all."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from optimizer_bench.optimizers import Ask
from optimizer_bench.server import ServerProcess
from optimizer_bench.tasks import Task

OURS, FREE, ENGINE, HTTP, PLAIN = "ours", "free", "engine", "http", "plain"
SIDES = (OURS, FREE, ENGINE, HTTP, PLAIN)
"""lampc as it is found; the same with answers that no grammar keeps to their layout, as DSPy's are; DSPy in process,
over HTTP, and in process without its cache and the engine's."""
MAX_TOKENS = 32
Compile = Callable[[Ask], Any]


@dataclass(frozen=True, slots=True)
class Measured:
    """One compilation. `score` is that of the result on the test rows, 0 to 100, evaluated by the side's own library
    after the clock was stopped. `requests` and tokens are what the engine was asked for and computed; `load` is the
    machine's while it ran."""

    optimizer: str
    task: str
    seed: int
    side: str
    score: float
    wall: float
    cpu: float
    requests: int
    prompt_tokens: int
    computed_tokens: int
    threads: int
    load: float

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass(slots=True)
class Counts:
    """What an engine has counted so far."""

    requests: int
    prompt: int
    computed: int


@contextlib.contextmanager
def ours(seed: int, structured: bool) -> Iterator[tuple[Any, Callable[[], Counts]]]:
    """lampc with an engine of its own; prompts are in DSPy's layout."""
    import lampc
    from lampc.runtime.cache import CallCache

    engine = _engine(prefix_cache=True)
    lm = lampc.LM("task", engine=engine, max_tokens=MAX_TOKENS, temperature=0.0)
    options = {"structured_outputs": structured}
    try:
        with lampc.context(lm=lm, layout="chat", cache=CallCache(), model_options=options, seed=seed):
            yield lampc, lambda: _counted(engine)
    finally:
        engine.close()


@contextlib.contextmanager
def in_process(cached: bool) -> Iterator[tuple[Any, Callable[[], Counts]]]:
    """DSPy with our engine as an object of its process; without `cached`, as over an endpoint that caches nothing."""
    import dspy

    from lampc.runtime.cache import CallCache
    from lampc.runtime.interop.engine import DspyEngine

    engine = _engine(prefix_cache=cached)
    made = DspyEngine(engine, cache=CallCache(entries=0), model_options={"structured_outputs": False})
    lm = dspy.LM("firefly", engine=made, async_engine=made.asynchronous, cache=cached, **_options())
    try:
        with _dspy(lm):
            yield dspy, lambda: _counted(engine)
    finally:
        made.close()


@contextlib.contextmanager
def over_http(server: ServerProcess) -> Iterator[tuple[Any, Callable[[], Counts]]]:
    """DSPy with our server."""
    import dspy

    lm = dspy.LM("openai/firefly", api_base=f"{server.url}/v1", api_key="none", cache=True, **_options())
    server.reset()
    with _dspy(lm):
        yield dspy, lambda: Counts(**server.reset())


def measure(
    name: str, compile: Compile, task: Task, ask: Callable[[Any], Ask], side: str, server: ServerProcess | None
) -> Measured:
    """One compilation, from a cold cache."""
    seed = ask(None).seed
    if side == HTTP:
        assert server is not None
        opened: Any = over_http(server)
    else:
        opened = ours(seed, side == OURS) if side in (OURS, FREE) else in_process(side == ENGINE)
    gc.collect()
    with opened as (d, counted):
        asked = ask(d)
        before = counted()
        begun, cpu = time.perf_counter(), time.process_time()
        with quiet():
            better = compile(asked)
        wall, busy = time.perf_counter() - begun, time.process_time() - cpu
        after = counted()
        with quiet():
            score = evaluated(d, better, task, asked)
    return Measured(
        optimizer=name,
        task=task.name,
        seed=seed,
        side=side,
        score=score,
        wall=wall,
        cpu=busy,
        requests=after.requests - before.requests,
        prompt_tokens=after.prompt - before.prompt,
        computed_tokens=after.computed - before.computed,
        threads=asked.threads if asked.dspy else 0,
        load=_load(),
    )


def evaluated(d: Any, program: Any, task: Task, asked: Ask) -> float:
    """The score on the test rows, 0 to 100."""
    _, _, test = task.rows(d, asked.seed, asked.size.train, asked.size.val, asked.size.test)
    run = d.Evaluate(devset=test, metric=task.metric(d), num_threads=asked.threads, display_progress=False)
    return float(run(program).score)


def evaluating(task: Task, ask: Callable[[Any], Ask], side: str, server: ServerProcess | None) -> float:
    """Seconds of DSPy's evaluation of a program as it is found: by this the number of its threads is chosen."""
    if side == HTTP:
        assert server is not None
        opened: Any = over_http(server)
    else:
        opened = in_process(True)
    with opened as (d, _), quiet():
        asked = ask(d)
        program, rows = task.program(d), [*asked.train, *asked.val]
        begun = time.perf_counter()
        d.Evaluate(devset=rows, metric=asked.metric, num_threads=asked.threads, display_progress=False)(program)
        return time.perf_counter() - begun


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what optimizers print."""
    import logging

    logging.disable(logging.CRITICAL)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


@contextlib.contextmanager
def _dspy(lm: Any) -> Iterator[None]:
    """DSPy as it is found, with a cache in memory alone, and errors of rows scored rather than ending the run."""
    import dspy

    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    with dspy.context(lm=lm, max_errors=1_000_000, provide_traceback=False):
        yield


def _options() -> dict[str, Any]:
    return {"temperature": 0.0, "max_tokens": MAX_TOKENS, "num_retries": 0}


def _engine(prefix_cache: bool) -> Any:
    from lampc.backend import load_engine
    from lampc.runtime.pool import firefly_folder

    return load_engine(firefly_folder(), prefix_cache=prefix_cache)


def _counted(engine: Any) -> Counts:
    stats = engine.stats()
    return Counts(stats.requests, stats.prompt_tokens, stats.computed_tokens)


def _load() -> float:
    return round(os.getloadavg()[0], 2)
