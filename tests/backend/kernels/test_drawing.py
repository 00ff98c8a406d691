"""Draws on the device under masks of grammars, penalties, bias and bad ids, against those on the host."""

from typing import Any

import numpy as np
import pytest
import torch

from lampc.backend.api import EngineInfo
from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.texts import choice, regex
from lampc.backend.job import Job
from lampc.backend.kernels.drawing import DeviceSampler
from lampc.backend.kernels.edits import edit_rows
from lampc.backend.plan import Want
from lampc.backend.request import Handle, Request, Sampling
from lampc.backend.sampler import resolve
from lampc.backend.shaping import Shaper, edit
from lampc.backend.tokenizer import ByteTokenizer

pytestmark = pytest.mark.kernels

INFO = EngineInfo("test", 260, 100, 0, 16, True, "test")


def _halve(prompt: Any, output: Any, logits: Any) -> Any:
    return logits / 2 + len(output)


SHAPES: list[dict[str, Any]] = [
    {"repetition_penalty": 1.7, "frequency_penalty": 0.3, "presence_penalty": -0.7, "bad_ids": ((98, 99, 100),)},
    {"logit_bias": ((3, 4.5), (259, 2.0)), "repetition_penalty": 0.8},
    {"allowed_ids": (3, 97, 98, 99, 256), "logits_processors": (_halve,)},
    {"bad_ids": ((5,), (99, 7)), "frequency_penalty": 2.0},
    {"logit_bias": ((110, 30.0),), "logits_processors": (_halve, _halve)},
]


def wants(shapes: list[dict[str, Any]] | None = None) -> list[Want]:
    tokenizer = ByteTokenizer()
    grammars = Grammars(tokenizer, INFO.vocab_size)
    made = []
    for i, grammar in enumerate([choice(["yes", "no"]), None, regex("[a-m]{3,}"), regex("[0-9]*"), None]):
        for temperature in (0.0, 1.3):
            more: dict[str, Any] = {} if shapes is None else shapes[i]
            sampling = Sampling(temperature, top_k=2 * i, max_tokens=9, min_tokens=i % 2, **more)
            forced = () if grammar or shapes is None else (99, 97, 99)
            request = Request((97, 98), sampling, 7 * i, grammar=grammar, logprobs=i == 2, forced=forced)
            job = Job(Handle(i, request), tokenizer, INFO, grammars.matcher(grammar))
            made.append(Want(job, len(job.ids) - 1, [len(made)], True))
    return made


def test_masked_rows_draw_as_on_the_host(device: torch.device) -> None:
    noise = torch.Generator().manual_seed(5)
    for _ in range(3):
        logits = torch.randn(10, INFO.vocab_size, generator=noise) * 4
        there = DeviceSampler().resolve(wants(), logits.to(device)).get()
        here = resolve(wants(), logits.numpy())
        assert [d.token for d in there] == [d.token for d in here]
        assert [d.logprobs for d in there] == [d.logprobs for d in here]
        for want, drawn in zip(wants(), there, strict=True):
            mask = want.job.mask()
            assert drawn.token is not None
            if mask is not None:
                assert np.unpackbits(mask.view(np.uint8), bitorder="little")[drawn.token]


def test_shaped_rows_draw_as_on_the_host(device: torch.device) -> None:
    noise = torch.Generator().manual_seed(6)
    for _ in range(3):
        logits = torch.randn(10, INFO.vocab_size, generator=noise) * 4
        before = logits.clone()
        there = DeviceSampler().resolve(wants(SHAPES), logits.to(device)).get()
        here = resolve(wants(SHAPES), logits.numpy())
        assert [d.token for d in there] == [d.token for d in here]
        assert [d.logprobs for d in there] == [d.logprobs for d in here]
        assert torch.equal(before, logits)


def test_edits_on_the_device_have_the_bits_of_the_host(device: torch.device) -> None:
    rng = np.random.default_rng(7)
    rows = (rng.normal(0, 5, (6, INFO.vocab_size))).astype(np.float32)
    edits = {}
    for i, shape in zip((0, 1, 3, 4, 5), SHAPES, strict=True):
        found = Shaper(Sampling(**shape), (97, 98, 5), INFO.vocab_size).edits([99, 97, 99, int(rng.integers(260))])
        assert found is not None
        edits[i] = found
    there = torch.from_numpy(rows.copy()).to(device)
    edit_rows(there, edits)
    for i, some in edits.items():
        edit(rows[i], some)
    assert torch.equal(there.cpu(), torch.from_numpy(rows))
