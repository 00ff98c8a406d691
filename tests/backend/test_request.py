"""Requests check themselves; states and imports keep their promises."""

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import lampc.backend
from lampc.backend.lifecycle import TRANSITIONS, IllegalTransition, move
from lampc.backend.request import Handle, PrefixRef, Request, Sampling, State


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "at least 1"),
        ({"min_tokens": 99}, "up to max_tokens"),
        ({"stop": "abc"}, "tuple of non-empty strings"),
        ({"stop": ("",)}, "tuple of non-empty strings"),
        ({"stop_ids": (-1,)}, "token ids"),
    ],
)
def test_sampling_is_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(**options)


def test_request_is_checked() -> None:
    with pytest.raises(ValueError, match="prompt is empty"):
        Request(())
    with pytest.raises(ValueError, match="integer in"):
        Request((1,), key=2**64)
    with pytest.raises(ValueError, match="score and force"):
        Request((1,), score=(1,), forced=(2,))
    assert Request((3,), parent=PrefixRef(0, (1, 2))).ids == (1, 2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priority": 1.5}, "priority is 1.5; give a whole number"),
        ({"priority": "high"}, "priority is 'high'"),
        ({"key": 1.5}, "key is 1.5"),
        ({"top_logprobs": True}, "top_logprobs is True"),
        ({"deadline": math.nan}, "deadline is nan; give a number, or None"),
        ({"deadline": 10**400}, "deadline is 10"),
        ({"forced": [1, 2]}, "forced is a list; give a tuple of token ids"),
        ({"deadline": "soon"}, "deadline is 'soon'"),
        ({"next_use": "soon"}, "next_use is 'soon'"),
        ({"next_use": math.nan}, "next_use is nan"),
    ],
)
def test_what_would_bring_queues_into_disorder_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Request((1,), **options)


def test_legal_and_illegal_transitions() -> None:
    for start in State:
        for end in State:
            handle = Handle(0, Request((1,)))
            handle.state = start
            if end in TRANSITIONS[start]:
                move(handle, end)
                assert handle.state is end
            else:
                with pytest.raises(IllegalTransition, match=f"{start.value} -> {end.value}"):
                    move(handle, end)
                assert handle.state is start


def test_streaming() -> None:
    seen: list[int] = []
    handle = Handle(0, Request((1,)), lambda _, token: seen.append(token))
    handle.push(5)
    handle.push(6)
    assert handle.new_tokens() == (5, 6)
    assert handle.new_tokens() == ()
    handle.push(7)
    assert handle.new_tokens() == (7,)
    assert seen == [5, 6, 7]
    assert repr(handle) == "Handle(0, waiting)"


def test_exports_are_there_and_sorted() -> None:
    assert sorted(lampc.backend.__all__) == lampc.backend.__all__
    for name in lampc.backend.__all__:
        assert getattr(lampc.backend, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lampc.backend.nonsense


def test_import_pulls_in_no_torch() -> None:
    modules = "request, fake, tokenizer, block_pool, radix, scheduler, lifecycle, core, output, pins, sampler"
    code = (
        f"import sys; import lampc.backend; from lampc.backend import {modules}; "
        "lampc.backend.FakeEngine(); sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": "src"}).returncode == 0


def test_numbers_of_numpy_are_numbers() -> None:
    request = Request((1,), key=np.uint64(7), priority=np.int64(3), deadline=np.float32(2.5))  # type: ignore[arg-type]
    assert (request.key, request.priority, request.deadline) == (7, 3, 2.5)
    assert Sampling(top_k=np.int32(4), temperature=np.float64(0.5)).top_k == 4  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prompt is a list"):
        Request([1, 2])  # type: ignore[arg-type]
