"""Loads under which K/V goes to host memory and comes back."""

from typing import Any

from lampc.backend.core import EngineCore
from lampc.backend.load import load_engine
from lampc.backend.request import Request, Sampling
from lampc.backend.swap_rule import SwapRule
from tests.backend.test_exact import answer

TIGHT = 8 * 16  # tokens of K/V that a device has room for here


def always(engine: EngineCore) -> EngineCore:
    """Copies whatever the times of copies and steps were."""
    assert engine._tree.host is not None
    engine._tree.host.rule = SwapRule(0.0)
    return engine


def load(folder: Any, kv_tokens: int = TIGHT, **options: Any) -> Any:
    """An engine with little room on its device and more in host memory."""
    return always(load_engine(folder, kv_tokens=kv_tokens, host_kv_tokens=64 * 16, **options))  # type: ignore[arg-type]


def turns(count: int = 3) -> list[Request]:
    """Conversations in turns, so that each finds the K/V of its last turn evicted; prompts only ever grow."""
    stems = [tuple((17 * stem + 7 * at) % 290 for at in range(60)) for stem in range(3)]
    return [
        Request(
            (*stem[: 30 + 15 * turn], stem[0], turn),
            Sampling(max_tokens=5, ignore_eos=True, temperature=0.5 * (turn % 2)),
            key=turn,
            logprobs=True,
        )
        for turn in range(count)
        for stem in stems
    ]


def one_by_one(engine: Any, requests: list[Request]) -> list[Any]:
    """Answers to requests that come one after the other."""
    found = []
    for request in requests:
        handle = engine.submit(request)
        engine.run()
        engine.check()
        found.append(answer(handle.completion))
    return found
