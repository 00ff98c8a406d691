"""Draws on the device under masks of grammars, against those on the host."""

import numpy as np
import pytest
import torch

from lampc.backend.api import EngineInfo
from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.texts import choice, regex
from lampc.backend.job import Job
from lampc.backend.kernels.drawing import DeviceSampler
from lampc.backend.plan import Want
from lampc.backend.request import Handle, Request, Sampling
from lampc.backend.sampler import resolve
from lampc.backend.tokenizer import ByteTokenizer

pytestmark = pytest.mark.kernels

INFO = EngineInfo("test", 260, 100, 0, 16, True, "test")


def wants() -> list[Want]:
    tokenizer = ByteTokenizer()
    grammars = Grammars(tokenizer, INFO.vocab_size)
    made = []
    for i, grammar in enumerate([choice(["yes", "no"]), None, regex("[a-m]{3,}"), regex("[0-9]*"), None]):
        for temperature in (0.0, 1.3):
            sampling = Sampling(temperature, top_k=2 * i, max_tokens=9, min_tokens=i % 2)
            request = Request((97, 98), sampling, 7 * i, grammar=grammar, logprobs=i == 2)
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
