"""The benchmark of programs: workloads that can be replayed, scripted answers, and a simulator that counts exactly."""

from __future__ import annotations

import functools
import itertools
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from program_bench.calls import calls  # noqa: E402
from program_bench.desk import RIVALS, Rival  # noqa: E402
from program_bench.families import FAMILIES, workload  # noqa: E402
from program_bench.measure import Result, run, tight, without_cost  # noqa: E402
from program_bench.offline import Reference, fewest  # noqa: E402
from program_bench.text import Words  # noqa: E402
from program_bench.workload import Size, Workload  # noqa: E402

from lampc.backend import EngineInfo, FakeEngine, Request, Tokenizer, Unsupported, load_engine  # noqa: E402
from lampc.backend.core import EngineCore  # noqa: E402
from lampc.backend.simulated import SimulatedEngine, play  # noqa: E402
from lampc.backend.steps import StepShape  # noqa: E402
from lampc.ir import ModelInfo  # noqa: E402
from lampc.ir.kv import Generate, Score  # noqa: E402
from lampc.ir.prog import Func  # noqa: E402
from lampc.passes.schedule.later_use import _stays, chain, later_uses  # noqa: E402
from lampc.runtime.compile import lower  # noqa: E402
from lampc.runtime.pool import firefly_folder  # noqa: E402
from lampc.runtime.rehearsal import RehearsedModel  # noqa: E402
from tests.fakes import TEMPLATES, FakeTarget  # noqa: E402

WAYS = (None, *RIVALS)
QUICK = ("few_shot", "vote", "react", "reflection", "table_project")


@functools.cache
def tokenizer() -> Tokenizer:
    return Tokenizer.load(firefly_folder())


def small(name: str) -> Workload:
    """Short texts, few rows, and tools that answer at once: what is counted then hangs on no clock."""
    return replace(workload(name, Size(scale=0.05, rows=0.15)), latency=0.0)


def simulated(way: Rival | None = None) -> SimulatedEngine:
    info = EngineInfo("simulated", tokenizer().vocab_size, 1 << 14, 6144, 16, True, "simulated")
    prefix_cache = way is None or way.prefix_cache
    return SimulatedEngine(tokenizer(), info, without_cost, kv_tokens=1 << 16, prefix_cache=prefix_cache)


def counted(name: str, kv_tokens: int) -> None:
    """Reuse and outputs of the engine, and of the simulator that stands for it, for two ways to run."""
    for way in (None, RIVALS[1]):
        engine = load_engine(firefly_folder(), kv_tokens=kv_tokens, max_running=16)
        assert isinstance(engine, EngineCore)
        likeness = SimulatedEngine.like(engine, without_cost)
        expected = run(small(name), likeness, way)
        found = run(small(name), engine, way)
        assert found.reuse == expected.reuse
        assert (found.outputs, found.effects) == (expected.outputs, expected.effects)
        assert found.failed == 0
        assert found.computed_tokens + found.cached_tokens >= found.prompt_tokens > 0


@pytest.mark.parametrize("name", QUICK)
def test_the_simulator_counts_what_the_engine_counts(name: str) -> None:
    counted(name, 1 << 11)


@pytest.mark.slow
@pytest.mark.parametrize("kv_tokens", [1 << 11, 1 << 15])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_simulator_counts_what_the_engine_counts_on_every_family(name: str, kv_tokens: int) -> None:
    counted(name, kv_tokens)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES])
def test_a_program_does_the_same_in_whatever_way_it_is_run(name: str) -> None:
    work = small(name)
    results = [run(work, simulated(way), way) for way in WAYS]
    assert len({(r.outputs, r.effects, r.calls) for r in results}) == 1
    assert not any(r.failed for r in results)
    assert all(r.computed_tokens >= r.bound for r in results)
    alone = results[1]
    assert alone.way == "sequential"
    assert alone.computed_tokens == alone.prompt_tokens
    assert alone.cached_tokens == 0


@pytest.mark.parametrize("way", [way for way in WAYS if way is None or way.kept])
def test_scripts_and_their_grammars_are_read_before_a_run_is_timed(
    way: Rival | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []  # whether an answer was held against a grammar in the run that is timed

    def takes(self: RehearsedModel, grammar: str, tokens: Sequence[int], first: Any = RehearsedModel._takes) -> bool:
        asked.append(not isinstance(self.engine, SimulatedEngine))
        return bool(first(self, grammar, tokens))

    monkeypatch.setattr(RehearsedModel, "_takes", takes)
    work = small("few_shot")
    engine = load_engine(firefly_folder(), kv_tokens=1 << 12, max_running=16)
    assert isinstance(engine, EngineCore)
    found = run(work, engine, way)
    assert asked
    assert True not in asked
    count = len(asked)
    engine = load_engine(firefly_folder(), kv_tokens=1 << 12, max_running=16)
    assert isinstance(engine, EngineCore)
    again = run(work, engine, way)
    assert len(asked) == count
    assert (again.reuse, again.outputs) == (found.reuse, found.outputs)


def test_our_way_computes_the_bound_where_everything_fits() -> None:
    for name in ("judge", "trading", "table_filter"):
        found = run(small(name), simulated(), None)
        assert found.computed_tokens == found.bound < found.prompt_tokens


def test_a_pass_is_left_out_under_every_candidate() -> None:
    work = small("trials")
    whole, without = run(work, simulated(), None), run(work, simulated(), None, "share-prefix")
    assert without.way == "ours without share-prefix"
    assert (without.outputs, without.calls) == (whole.outputs, whole.calls)


def test_a_workload_is_the_same_from_its_file(tmp_path: Path) -> None:
    for name in ("react", "trials"):
        made = small(name)
        path = tmp_path / f"{name}.jsonl"
        made.write(path)
        again = Workload.read(path)
        assert again == made
        assert measured(again) == measured(made)
    path.write_text("[]\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no workload of format"):
        Workload.read(path)


def measured(work: Workload) -> tuple[object, ...]:
    found: Result = run(work, simulated(), None)
    return (*found.reuse, found.outputs)


def test_seeds_decide_everything() -> None:
    assert small("rag") == small("rag")
    assert workload("rag", Size(seed=1)).rows != workload("rag", Size(seed=2)).rows


def test_texts_of_different_seeds_share_nothing() -> None:
    words = Words.of(tokenizer())
    texts = [tokenizer().encode(" " + words.text(20, "some", i)) for i in range(400)]
    assert all(len(ids) == 20 for ids in texts)
    assert len({tuple(ids[:2]) for ids in texts}) == len(texts)
    assert words.text(20, "some", 3) == words.text(20, "some", 3)
    with pytest.raises(ValueError, match="too few"):
        Words(["one", "two"])


def test_effects_happen_once_in_every_way() -> None:
    work = small("react")
    for way in WAYS:
        found = run(work, simulated(way), way)
        assert found.sent == len(work.rows)


def test_calls_can_be_replayed_in_their_order() -> None:
    lines = [json.loads(line) for line in calls(small("react"), tokenizer(), simulated())]
    assert len(lines) == run(small("react"), simulated(), RIVALS[1]).calls
    for line in lines:
        assert all(before < line["id"] and lines[before]["row"] == line["row"] for before in line["after"])
        assert line["answer"]
        assert line["max_tokens"] == len(tokenizer().encode(line["answer"]))
    assert max(len(line["after"]) for line in lines) >= 2


def test_time_in_a_simulation_is_what_steps_and_tools_cost() -> None:
    shapes: list[StepShape] = []

    def cost(shape: StepShape) -> float:
        shapes.append(shape)
        return 0.5

    info = EngineInfo("simulated", tokenizer().vocab_size, 1 << 14, 0, 16, True, "simulated")
    work = replace(small("react"), latency=3.0)
    engine = SimulatedEngine(tokenizer(), info, cost, kv_tokens=1 << 15)
    found = run(work, engine, RIVALS[0])
    assert found.steps == len(shapes)
    assert found.makespan > 0.5 * len(shapes)
    assert sum(s.rows for s in shapes) == found.forward_tokens
    assert sum(s.prefilled for s in shapes) >= found.computed_tokens - found.requests
    assert sum(s.logits for s in shapes) == found.generated_tokens
    engine = SimulatedEngine(tokenizer(), info, cost, kv_tokens=1 << 15)
    assert run(work, engine, RIVALS[1]).makespan < found.makespan  # tools of rows are waited for side by side


def test_what_has_no_scheduler_follows_no_script() -> None:
    engine = load_engine(firefly_folder(), kind="naive")

    with pytest.raises(Unsupported, match="cannot follow a script"):
        play(engine)
    with pytest.raises(Unsupported, match="no scheduler"):
        SimulatedEngine.like(engine, without_cost)
    two = load_engine(firefly_folder(), kv_tokens=1 << 10, host_kv_tokens=1 << 10)
    with pytest.raises(Unsupported, match="host memory"):
        SimulatedEngine.like(two, without_cost)
    fake = FakeEngine()
    script = play(fake)
    handle = fake.submit(Request((5, 6, 7)))
    script.add(handle.id, fake.tokenizer.encode("so it is"))
    fake.run()
    assert handle.completion is not None
    assert handle.completion.text == "so it is"
    assert handle.completion.finish == "stop"


@pytest.mark.parametrize("name", ["debate", "trials"])
def test_a_plan_holds_no_more_than_lets_calls_run(name: str) -> None:
    """With a tenth of the KV that would be filled, all rows still end well."""
    work = small(name)
    ample = run(work, simulated(), None)
    info = EngineInfo("simulated", tokenizer().vocab_size, 1 << 14, 6144, 16, True, "simulated")
    engine = SimulatedEngine(tokenizer(), info, without_cost, kv_tokens=tight(work, ample, 0.1))
    found = run(work, engine, None)
    assert (found.failed, found.outputs) == (0, ample.outputs)
    assert found.live_blocks <= found.kv_blocks < ample.peak_blocks


def happened(draw: random.Random) -> list[Reference]:
    """A few requests under few stems, admitted and ended in some order; one may be preempted."""
    stems = [tuple(draw.choices(range(3), k=draw.randint(1, 3))) for _ in range(3)]
    found: list[Reference] = []
    running: dict[int, tuple[int, ...]] = {}
    for number in range(6):
        prompt = (*draw.choice(stems), *draw.choices(range(3), k=draw.randint(0, 2)), 9)
        running[number] = prompt
        found.append(Reference("admitted", number, prompt))
        while running and draw.random() < 0.7:
            ended = draw.choice(list(running))
            prompt = running.pop(ended)
            if draw.random() < 0.15:
                found.append(Reference("preempted", ended, prompt))
            else:
                found.append(Reference("finished", ended, (*prompt, *draw.choices(range(3), k=draw.randint(0, 2)))))
    return found


def tried(references: list[Reference], capacity: int) -> int | None:
    """The fewest prompt tokens of any eviction whatever, by trying all; None if what is under way does not fit."""
    states: dict[frozenset[tuple[int, ...]], int] = {frozenset(): 0}
    locked: dict[int, tuple[int, ...]] = {}
    for one in references:
        locked.pop(one.number, None)
        needed = {one.ids[: i + 1] for i in range(len(one.ids))} if one.kind != "preempted" else set()
        held = needed | {ids[: i + 1] for ids in locked.values() for i in range(len(ids))}
        if len(held) > capacity:
            return None
        after: dict[frozenset[tuple[int, ...]], int] = {}
        for state, cost in states.items():
            paid = cost + (len(needed - state) if one.kind == "admitted" else 0)
            others = sorted(state - held)
            for kept in itertools.chain.from_iterable(
                itertools.combinations(others, n) for n in {min(len(others), capacity - len(held))}
            ):
                new = frozenset(held | set(kept))
                after[new] = min(after.get(new, paid), paid)
        states = after
        if one.kind == "admitted":
            locked[one.number] = one.ids
    return min(states.values())


@pytest.mark.parametrize("seed", range(10))
def test_no_eviction_computes_less_than_the_offline_optimum(seed: int) -> None:
    draw = random.Random(seed)
    references = happened(draw)
    for capacity in (6, 8, 10, 100):
        wanted = tried(references, capacity)
        if wanted is None:
            with pytest.raises(ValueError, match="tokens are needed at a time"):
                fewest(references, capacity)
        else:
            assert fewest(references, capacity) == wanted
    prompts = {(r.ids[: i + 1]) for r in references if r.kind == "admitted" for i in range(len(r.ids))}
    assert fewest(references, 1000) <= len(prompts)


@pytest.mark.parametrize("name", ["react", "reflection", "trials"])
def test_ours_computes_no_less_than_the_offline_optimum_of_its_order(name: str) -> None:
    work = small(name)
    ample = run(work, simulated(), None, offline=True)
    assert ample.offline == ample.bound
    info = EngineInfo("simulated", tokenizer().vocab_size, 1 << 14, 6144, 16, True, "simulated")
    engine = SimulatedEngine(tokenizer(), info, without_cost, kv_tokens=tight(work, ample, 0.25), policy="warm")
    found = run(work, engine, None, offline=True)
    assert found.bound <= found.offline <= found.computed_tokens


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_what_later_calls_need_is_found_as_by_comparing_all_pairs(name: str) -> None:
    target = FakeTarget(TEMPLATES["firefly"], info=ModelInfo("fake", "fake", 4096))
    module = lower(workload(name, Size(rows=0.1)).unit.module, lambda _: target)
    for func in (op for op in module.body.ops if isinstance(op, Func)):
        calls = [op for op in func.walk() if isinstance(op, Generate | Score)]
        chains = {op: chain(op) for op in calls}
        assert later_uses(func) == {op: _stays(op, chains, func, None) for op in calls}
