"""Tokens under grammars at a temperature: proposed without a mask, drawn again where the grammar refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lampc.backend import Completion, Request, Sampling, load_engine
from lampc.backend.grammar.matcher import Matcher
from lampc.backend.grammar.texts import choice, regex
from lampc.backend.random_keys import retry_key
from lampc.backend.sampler import NUMPY, TRIES, Draw, draw_kept
from lampc.runtime.pool import firefly_folder

MASK = np.array([0b10110], np.int32)
LOGITS = np.array([1.2, 0.3, -0.5, 2.0, 0.9, -1.0], np.float32)


def test_the_distribution_is_that_under_the_mask() -> None:
    count, temperature = 40_000, 0.8
    draws = [Draw(Sampling(temperature), key, 3, mask=MASK) for key in range(count)]
    found = draw_kept(NUMPY, np.tile(LOGITS, (count, 1)), draws)
    weights = np.exp(LOGITS.astype(float) / temperature) * [0, 1, 1, 0, 1, 0]
    expected = count * weights / weights.sum()
    counts = np.bincount(found, minlength=6)
    assert counts[[0, 3, 5]].tolist() == [0, 0, 0]
    kept = [1, 2, 4]
    chi_squared = float((((counts - expected) ** 2)[kept] / expected[kept]).sum())
    assert chi_squared < 13.8  # 2 degrees of freedom, p = 0.001; the keys are fixed


def test_tries_are_drawn_without_the_mask_and_the_last_draw_under_it() -> None:
    """Each from the row without what was drawn before, with the next key."""
    found = []
    for key in range(400):
        row, its = LOGITS.copy(), key
        for _ in range(TRIES):
            (token,) = NUMPY.draw(row[None], [Draw(Sampling(1.0), its, 0)])
            row[token], its = -np.inf, retry_key(its)
            if token in (1, 2, 4):
                break
        else:
            (token,) = NUMPY.draw(LOGITS[None], [Draw(Sampling(1.0), its, 0, mask=MASK)])
            found.append(key)
        assert draw_kept(NUMPY, LOGITS[None], [Draw(Sampling(1.0), key, 0, mask=MASK)]) == [token]
    assert 5 < len(found) < 200  # some are refused every time


def test_filters_look_at_what_the_mask_leaves() -> None:
    for sampling in (Sampling(1.0, top_k=2), Sampling(1.0, top_p=0.5), Sampling(1.0, min_p=0.4), Sampling(0.0)):
        draws = [Draw(sampling, key, 0, mask=MASK) for key in range(50)]
        rows = np.tile(LOGITS, (50, 1))
        assert draw_kept(NUMPY, rows, draws) == NUMPY.draw(rows, draws)


def test_a_forbidden_logit_that_is_not_finite_does_not_matter() -> None:
    for bad in (np.nan, np.inf):
        row = LOGITS.copy()
        row[0] = bad
        draws = [Draw(Sampling(1.0), key, 0, mask=MASK) for key in range(20)]
        assert set(draw_kept(NUMPY, np.tile(row, (20, 1)), draws)) <= {1, 2, 4}


def test_what_is_banned_beside_a_mask_is_not_drawn() -> None:
    draws = [Draw(Sampling(1.0), key, 0, frozenset({1}), MASK) for key in range(200)]
    assert set(draw_kept(NUMPY, np.tile(LOGITS, (200, 1)), draws)) == {2, 4}


@pytest.mark.parametrize("more", [{"bad_ids": ((100,),)}, {"min_tokens": 20, "stop_ids": (100,)}])
def test_allowed_ids_leave_out_those_that_may_not_stand_yet(more: dict[str, Any]) -> None:
    sampling = Sampling(1.0, max_tokens=20, allowed_ids=(100, 101, 102), **more)
    engine = load_engine(firefly_folder(), kv_tokens=2000)
    try:
        for found in engine_run(engine, [Request((50, 51), sampling, key) for key in range(4)]):
            assert len(found.tokens) == 20
            assert set(found.tokens) == {101, 102}
    finally:
        engine.close()


GRAMMARS = [regex("[a-z ]{3,20}[.]"), regex(r"[^x]{1,30}\n"), choice(["yes", "no", "perhaps so"]), None]


def asked() -> list[Request]:
    out = []
    for key in range(24):
        kind: dict[str, Any] = [{}, {}, {"top_p": 0.9}, {"top_k": 30}][key % 4]
        sampling = Sampling([0.7, 1.0, 1.5][key % 3], max_tokens=20, **kind)
        closed = key % 8 == 2
        out.append(Request((100 + key % 5, 101, 102), sampling, key, grammar=GRAMMARS[key % 4], closed=closed))
    return out


@pytest.fixture(scope="module")
def alone() -> Iterator[list[Completion]]:
    """Each by itself on the engine that computes everything anew."""
    engine = load_engine(firefly_folder(), kind="naive")
    yield [engine_run(engine, [request])[0] for request in asked()]
    engine.close()


def engine_run(engine: Any, requests: list[Request]) -> list[Completion]:
    handles = [engine.submit(request) for request in requests]
    engine.run()
    assert all(handle.completion is not None for handle in handles)
    return [handle.completion for handle in handles]


@pytest.mark.parametrize("options", [{}, {"async_scheduling": True}, {"speculative": "ngram"}])
def test_all_ways_of_drawing_give_the_same_tokens(alone: list[Completion], options: dict[str, Any]) -> None:
    engine = load_engine(firefly_folder(), kv_tokens=4000, **options)
    try:
        together = engine_run(engine, asked())
        engine.check()
    finally:
        engine.close()
    assert [(c.tokens, c.finish) for c in together] == [(c.tokens, c.finish) for c in alone]


def test_a_mask_is_made_only_where_a_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = []
    fill = Matcher.fill
    monkeypatch.setattr(Matcher, "fill", lambda self: (filled.append(1), fill(self))[1])
    engine = load_engine(firefly_folder(), kv_tokens=2000)
    try:
        (found,) = engine_run(engine, [Request((100,), Sampling(1.0, max_tokens=30), 5, grammar=regex("(?s:.{60,})"))])
        assert len(found.tokens) > 10
        few = len(filled)
        filtered = Sampling(1.0, top_p=0.9, max_tokens=30)
        engine_run(engine, [Request((100,), filtered, 5, grammar=regex("(?s:.{60,})"))])
    finally:
        engine.close()
    assert few <= 3
    assert len(filled) - few > 10
