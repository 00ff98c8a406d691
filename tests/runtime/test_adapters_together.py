"""Models that differ in their adapter alone: one engine, one copy of the weights, and each answers as it does alone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lampc.backend.load as loading
from lampc import backend
from lampc.backend.steps import StepTaken, watch_steps
from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, Sampling, Unit
from lampc.runtime.forecast import forecast
from lampc.runtime.local import LocalModel
from lampc.runtime.models import ModelError
from lampc.runtime.plan import Plans
from lampc.runtime.pool import ModelPool, firefly_folder
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Outcome, Row
from tests.backend.test_lora import ATTENTION, MLP, make
from tests.runtime.test_plan import call

ROWS = [
    Row(str(i), {"text": f"the {x} is wrong again and again"}) for i, x in enumerate(("wifi", "bill", "pin", "cat"))
]
NAMES = ("law", "code", "plain")
HOT = "@sample(temperature: 1.0)"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("adapters")
    its = {"lora_alpha": 0.5, "base_model_name_or_path": "firefly"}
    return {
        "law": make(firefly_folder(), base / "law", ATTENTION + MLP, seed=1, **its),
        "code": make(firefly_folder(), base / "code", ATTENTION, seed=2, rank=3, **its),
    }


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Engines, as they are loaded."""
    made: list[Any] = []

    def load(*args: Any, **options: Any) -> Any:
        made.append(loading.load_engine(*args, **options))
        return made[-1]

    monkeypatch.setattr(backend, "load_engine", load)
    return made


def program(folders: dict[str, Path], names: tuple[str, ...] = NAMES, options: str = "") -> Unit:
    """Each of the models answers the same question."""
    models = "\n".join(f'model {n} = engine("{folders.get(n, "firefly")}");' for n in names)
    uses = "\n".join(f"use {n}_ = Predict(Answer) @model({n}) {options};" for n in names)
    lets = "\n".join(f"let {n}x = {n}_(text: text);" for n in names)
    return compile_lmp(
        f"""
{models}
signature Answer(text: str) -> (word: str) {{ \"\"\"Complete the task.\"\"\" }}
module Main(text: str) -> ({", ".join(f"{n}: str" for n in names)}) {{
{uses}
{lets}
return ({", ".join(f"{n}: {n}x.word" for n in names)});
}}
"""
    )


def values(found: list[Outcome], name: str) -> list[Any]:
    assert [o.error for o in found if o.error] == []
    return [o.value[name] for o in found if o.value]


def test_the_base_is_loaded_once_and_all_answer_as_they_do_alone(
    folders: dict[str, Path], loads: list[Any], tmp_path: Path
) -> None:
    store = Store(tmp_path / "calls.store")
    with Session(store=store) as session:
        together = session.run(program(folders), ROWS)
        assert session.usage.calls == 3 * len(ROWS)
    assert len(loads) == 1
    for name in NAMES:
        with Session() as session:
            assert values(session.run(program(folders, (name,)), ROWS), name) == values(together, name)
    assert len(loads) == 1 + len(NAMES)
    assert len({tuple(values(together, name)) for name in NAMES}) == 3
    # What is kept is each model's own: all of it is known again, to each model alone, and to none of the others.
    for name in NAMES:
        with Session(store=store) as session:
            assert values(session.run(program(folders, (name,)), ROWS), name) == values(together, name)
            assert session.usage.calls == session.usage.stored_calls == len(ROWS)
    store.close()


@pytest.mark.parametrize("engine", ["paged", pytest.param("naive", marks=pytest.mark.slow)])
def test_drawn_answers_too(folders: dict[str, Path], engine: str) -> None:
    with Session(seed=3, engine=engine) as session:
        together = session.run(program(folders, options=HOT), ROWS)
    for name in NAMES:
        with Session(seed=3) as session:
            alone = session.run(program(folders, (name,), HOT), ROWS[1:2])
        assert values(alone, name) == values(together[1:2], name)


def test_calls_of_different_adapters_are_batched_and_share_no_prefix(folders: dict[str, Path]) -> None:
    unit, steps = program(folders), list[StepTaken]()
    with Session() as session:
        models = [session.models.get(n, unit.module).model for n in NAMES]
        engine: Any = models[0].engine  # type: ignore[attr-defined]
        end = watch_steps(engine, steps.append)
        session.run(unit, ROWS)
        end()
        used = session.usage_by_node
        with Session() as other:
            other.run(program(folders, ("law",)), ROWS)
            alone = other.usage_by_node["law_"]
        engine.check()
    together = {frozenset(handle.request.adapter for handle, _ in step.rows) for step in steps}
    assert max(map(len, together)) == 3
    for name in NAMES:  # prompts are equal: of what others computed nothing was taken
        assert used[f"{name}_"].computed_tokens >= alone.computed_tokens > 0


def test_early_ones_and_late_ones(folders: dict[str, Path], loads: list[Any]) -> None:
    """Adapters that come while a session goes on change nothing of what was there."""
    with Session() as session:
        plain = values(session.run(program(folders, ("plain",)), ROWS), "plain")
        law = values(session.run(program(folders, ("law",)), ROWS), "law")
        for names in (("plain", "code"), ("code", "law", "plain")):
            found = session.run(program(folders, names), ROWS)
            assert values(found, "plain") == plain
        assert values(found, "law") == law
    assert len(loads) == 1


def test_all_memory_is_given_back(folders: dict[str, Path], loads: list[Any]) -> None:
    with Session() as session:
        session.run(program(folders), ROWS)
        engine = loads.pop()
        models = [weakref.ref(engine._runner._model), weakref.ref(engine)]
        assert len(engine.info.adapters) == 2
    assert engine.stats().used_blocks == 0
    with pytest.raises(backend.BackendError, match="closed"):
        engine.submit(backend.Request((1,)))
    del engine, session
    gc.collect()
    assert [m() for m in models] == [None, None]


def made(pool: ModelPool, source: Any) -> LocalModel:
    model = pool.get(str(source)).model
    assert isinstance(model, LocalModel)
    return model


@pytest.fixture
def pooled() -> Iterator[Callable[..., ModelPool]]:
    pools: list[ModelPool] = []

    def pool(**options: Any) -> ModelPool:
        pools.append(ModelPool(**options))
        return pools[-1]

    yield pool
    for one in pools:
        one.close()


def test_adapters_that_nobody_uses_make_room_for_others(
    folders: dict[str, Path], loads: list[Any], pooled: Callable[..., ModelPool]
) -> None:
    size = (firefly_folder() / "model.safetensors").stat().st_size
    own = {n: (f / "adapter_model.safetensors").stat().st_size for n, f in folders.items()}
    pool = pooled(budget=size + max(own.values()))
    plain, law = made(pool, "firefly"), made(pool, folders["law"])
    assert plain.engine is law.engine is loads[0]
    assert loads[0].info.adapters == (law.adapter,)
    assert made(pool, folders["law"]) is law
    assert made(pool, "firefly") is plain
    code = made(pool, folders["code"])  # law was used longest ago, and its engine stays
    assert loads[0].info.adapters == (code.adapter,)
    assert made(pool, folders["law"]).target.info.digest == law.target.info.digest
    assert len(loads) == 1
    with pytest.raises(ModelError, match="of weights do not fit beside"):
        made(pooled(budget=size), folders["law"])


def test_equal_adapters_are_one_and_other_options_are_another_engine(
    folders: dict[str, Path], loads: list[Any], pooled: Callable[..., ModelPool], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folders["law"].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    pool = pooled()
    law, twin = made(pool, folders["law"]), made(pool, copy)
    assert law.adapter == twin.adapter
    assert law.target.info.digest == twin.target.info.digest
    assert made(pool, firefly_folder()).engine is law.engine
    assert len(loads) == 1
    assert made(pooled(exact=False), folders["law"]).mode == "fast"
    assert len(loads) == 2


def test_what_is_held_leaves_room_in_the_cache_that_models_share(
    folders: dict[str, Path], pooled: Callable[..., ModelPool]
) -> None:
    pool = pooled(options={"kv_tokens": 256})
    models = [made(pool, source) for source in ("firefly", *folders.values())]
    calls = [[call((*range(10, 60), 100 + i)) for i in range(2)] for _ in models]
    plans, longest = Plans(), 51 + 32 + models[0].block_size
    for model, some in zip(models, calls, strict=True):
        for one in some:
            one.sampling = Sampling(max_tokens=32)
        plans[model].plan(some)
    held = models[0].engine._pins._held  # type: ignore[attr-defined]
    assert 0 < len(held) < len(models)
    assert {ref.adapter for ref, _ in held.values()} <= {m.adapter for m in models}
    assert sum(len(ref.ids) + models[0].block_size for ref, _ in held.values()) + longest <= 256
    for model, some in zip(models, calls, strict=True):
        for one in some:
            plans[model].done(one)
    assert not held


def test_a_forecast_knows_that_they_are_several(folders: dict[str, Path]) -> None:
    unit = program(folders)
    with Session() as session:
        found = forecast(session, unit.module, ROWS, "Main", Assignment())
        session.run(unit, ROWS)
        used = session.usage_by_node
    assert found is not None
    assert found.failed == 0
    assert {n: a.usage.prompt_tokens for n, a in found.nodes.items()} == {n: u.prompt_tokens for n, u in used.items()}
    assert found.usage.computed_tokens == session.usage.computed_tokens
