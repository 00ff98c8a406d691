"""Adapters loaded into an engine that is at work, and given back: who has none never hears of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lampc.backend.adapting import Adaptable
from lampc.backend.engine import PagedEngine
from lampc.backend.errors import BackendError, CheckpointError, Unsupported
from lampc.backend.load import load_engine
from tests.backend.architectures import save
from tests.backend.test_exact import finish
from tests.backend.test_lora import ATTENTION, FUSED, MLP, make, request
from tests.backend.test_models import prompt
from tests.backend.test_models_exact import KV, answers


def paged(*where: Any, **how: Any) -> PagedEngine:
    engine = load_engine(*where, kv_tokens=KV, **how)
    assert isinstance(engine, PagedEngine)
    return engine


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize(
    ("name", "targets", "options"),
    [
        ("llama", ATTENTION + MLP, {}),
        ("phi3", FUSED, {"dtype": "bfloat16"}),
        ("mixtral", ATTENTION, {"dtype": "bfloat16"}),
        *(
            pytest.param(*model, options, marks=pytest.mark.slow)
            for model in (("gemma3", ATTENTION + MLP), ("olmo2", ATTENTION), ("mixtral", ATTENTION), ("phi3", FUSED))
            for options in ({}, {"dtype": "bfloat16"}, {"weight_dtype": "int8"})
        ),
    ],
)
def test_each_gets_the_bits_of_an_engine_of_its_own(
    name: str, targets: tuple[str, ...], options: dict[str, Any], tmp_path: Path
) -> None:
    base = save(name, tmp_path / "base")
    folders = {x: make(base, tmp_path / x, targets, seed=i) for i, x in enumerate("ab")}
    together = paged(base, **options)
    for adapter, folder in folders.items():
        together.add_adapter(adapter, folder)
    who = [None, "a", "b", "a", None, None, "b"]
    asked = [request([*prompt(30), i, i], x, key=i, temperature=i % 2) for i, x in enumerate(who)]
    found = answers(finish(together, asked))
    for adapter in (None, "a", "b"):
        own = paged(base, **options, adapters={} if adapter is None else {adapter: folders[adapter]})
        mine = [i for i, x in enumerate(who) if x == adapter]
        assert answers(finish(own, [asked[i] for i in mine])) == [found[i] for i in mine]
        assert own.digest_of(adapter) == together.digest_of(adapter)
        own.close()
    assert together.digest_of() == paged(base, **options).info.digest != together.info.digest
    together.check()


@pytest.mark.usefixtures("numerics")
def test_among_requests_that_are_under_way(tmp_path: Path) -> None:
    base = save("llama", tmp_path / "base")
    folders = {x: make(base, tmp_path / x, ATTENTION, seed=i) for i, x in enumerate("ab")}
    asked = [request(prompt(40), x, key=1, temperature=1.0) for x in (None, "a", "b")]
    expected = answers([finish(load_engine(base, kind="naive", adapters=folders), [one])[0] for one in asked])

    engine = paged(base)
    handles = [engine.submit(asked[0])]
    for adapter, folder in folders.items():
        engine.step()
        engine.add_adapter(adapter, folder)
        handles.append(engine.submit(asked[len(handles)]))
    with pytest.raises(BackendError, match="requests with adapter 'a' are under way"):
        engine.drop_adapter("a")
    engine.run()
    assert answers([h.completion for h in handles if h.completion is not None]) == expected
    engine.check()


def test_what_is_dropped_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    engine, ids = paged(tiny), prompt(50)
    digest = engine.info.digest
    finish(engine, [request(ids, None)])
    plain = engine.stats().used_blocks
    for i in range(3):  # others under the same name
        engine.add_adapter("a", make(tiny, tmp_path / str(i), ATTENTION, seed=i))
        first = finish(engine, [request(ids, "a")])[0]
        assert first.cached_tokens == 0
        assert engine.known(tuple(ids), "a") == 50
        held = engine.retain(tuple(ids), adapter="a")
        assert finish(engine, [request(ids, "a")])[0].logprobs == first.logprobs
        engine.drop_adapter("a")
        assert engine.stats().used_blocks > plain  # it is still held
        engine.check()
        engine.release(held)
        assert engine.stats().used_blocks == plain
        engine.check()
    assert engine.info.digest == digest
    assert finish(engine, [request(ids, None)])[0].cached_tokens >= 49
    with pytest.raises(Unsupported, match="adapter is 'a'; loaded: none"):
        engine.submit(request(ids, "a"))


def test_a_retained_prefix_is_an_adapters_own(tiny: Path, tmp_path: Path) -> None:
    engine, ids = paged(tiny, adapters={"a": make(tiny, tmp_path / "a", ATTENTION, seed=0)}), tuple(prompt(50))
    ref = engine.retain(ids, adapter="a")
    for adapter in ("a", None):
        finish(engine, [request(list(ids), adapter)])
    engine.reset_cache()
    assert (engine.known(ids, "a"), engine.known(ids)) == (50, 0)
    engine.release(ref)
    engine.check()
    with pytest.raises(Unsupported, match="adapter is 'b'; loaded: 'a'"):
        engine.retain(ids, adapter="b")


def test_what_cannot_be_added_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    engine = paged(tiny)
    assert isinstance(engine, Adaptable)
    before, good = engine.info, make(tiny, tmp_path / "good", ATTENTION, seed=0)
    with pytest.raises(CheckpointError, match="in the weights but not in the model"):
        engine.add_adapter("x", make(tiny, tmp_path / "embed", ("embed_tokens",), seed=0))
    with pytest.raises(CheckpointError, match="give the folder that PEFT saved"):
        engine.add_adapter("x", tiny)
    assert engine.info == before
    engine.add_adapter("x", good)
    with pytest.raises(BackendError, match="there is an adapter 'x' already"):
        engine.add_adapter("x", good)
    with pytest.raises(BackendError, match="there is no adapter 'y'; loaded: 'x'"):
        engine.drop_adapter("y")
    with pytest.raises(BackendError, match="there is no adapter 'y'"):
        engine.digest_of("y")
