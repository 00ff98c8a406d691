"""The engine with the Triton attention in place of torch's: the same greedy ids, the same bits in any company."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lampc.backend import runner
from lampc.backend.engine import PagedEngine
from lampc.backend.kernels.paged import TritonAttention
from lampc.backend.kernels.shape import Tile, Tiling
from lampc.backend.kv_cache import KVCache
from lampc.backend.load import load_engine
from lampc.backend.request import Completion, Request, Sampling
from tests.backend.architectures import save
from tests.backend.test_exact import finish
from tests.backend.test_models import prompt

STEM = prompt(70, seed=1)
PROMPTS = [STEM + prompt(n, seed=n) for n in (2, 5)] + [STEM[:65] + prompt(3, seed=9), prompt(1, seed=7)]
STEPS = 3  # a prompt's, and two of a token each, the second of which reads what the first wrote
TILES = Tiling((Tile(64, 64, 4, 2),), 64)


class Loader:
    """Loads engines whose attention is Triton's, and remembers which groups their steps had."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: set[int] = set()

        def make(cache: KVCache, heads: int, windows: Sequence[int | None], exact: bool, *_: Any) -> TritonAttention:
            attention = TritonAttention(cache, heads, windows, exact, TILES if exact else None)
            plan = attention._planner.plan

            def spied(*args: Any) -> Any:
                table = plan(*args)
                self.groups |= {int(n) for one in table.launches for n in one.work[:, 1]}
                return table

            monkeypatch.setattr(attention._planner, "plan", spied)
            return attention

        self._patch = lambda: monkeypatch.setattr(runner, "make_attention", make)

    def __call__(self, folder: Path, **options: Any) -> PagedEngine:
        self._patch()
        engine = load_engine(folder, backend="torch", kv_tokens=1024, **options)
        assert isinstance(engine, PagedEngine)
        return engine


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, device: torch.device) -> Loader:
    if device.type != "cpu":
        pytest.skip("the engine under test is the CPU's")
    return Loader(monkeypatch)


def asked() -> list[Request]:
    options = Sampling(max_tokens=STEPS, ignore_eos=True)
    return [Request(tuple(ids), options, key=i, logprobs=True) for i, ids in enumerate(PROMPTS)]


def ids(completions: list[Completion]) -> list[Any]:
    return [c.tokens for c in completions]


@pytest.mark.parametrize("options", [{}, {"kv_dtype": "int8"}, {"exact": False}])
def test_the_ids_of_the_torch_path(tiny: Path, load: Loader, options: dict[str, Any]) -> None:
    torch_engine = load_engine(tiny, backend="torch", kv_tokens=1024, **options)
    expected = ids(finish(torch_engine, asked()))
    assert ids(finish(load(tiny, **options), asked())) == expected
    if options.get("exact", True):
        assert max(load.groups) >= 3  # they read their stem together


def test_an_architecture_with_windows(load: Loader, tmp_path: Path) -> None:
    folder = save("mistral", tmp_path)
    expected = ids(finish(load_engine(folder, backend="torch", kv_tokens=1024), asked()))
    assert ids(finish(load(folder), asked())) == expected


def test_the_same_bits_in_chunks_alone_and_from_the_cache(tiny: Path, load: Loader) -> None:
    engine = load(tiny)
    together = finish(engine, asked())
    again = finish(engine, asked())
    assert engine.stats().cached_tokens > 0
    chunked = finish(load(tiny, chunk=30, prefix_cache=False), asked())
    alone = [finish(load(tiny), [request])[0] for request in asked()[1:3]]
    for others, mine in ((again, together), (chunked, together), (alone, together[1:3])):
        assert [(c.tokens, c.logprobs) for c in others] == [(c.tokens, c.logprobs) for c in mine]
