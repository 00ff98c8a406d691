"""The weights start with heads that look back; these tests hold the circuit to what it says."""

from __future__ import annotations

import torch
from firefly.circuit import wire
from firefly.model import Firefly, Shape, rms_norm, rope, rotate

SHAPE = Shape(vocab=400, layers=2)


def scores(model: Firefly, ids: torch.Tensor) -> torch.Tensor:
    """Attention of the first head of layer 0, (length, length)."""
    block, dim = model.blocks[0], SHAPE.head_dim
    hidden = rms_norm(model.embed[ids], block.input_norm, SHAPE.eps)
    cos, sin = rope(torch.arange(len(ids))[None], SHAPE)
    query = rotate((hidden @ block.q_proj.weight[:dim].T)[None, None], cos, sin)[0, 0]
    key = rotate((hidden @ block.k_proj.weight[:dim].T)[None, None], cos, sin)[0, 0]
    later = torch.ones(len(ids), len(ids)).triu(1).bool()
    return (query @ key.T / dim**0.5).masked_fill(later, -torch.inf).softmax(-1)


def test_the_first_head_attends_mostly_to_the_previous_token() -> None:
    model = Firefly(SHAPE)
    wire(model)
    with torch.no_grad():
        attention = scores(model, torch.randint(0, 400, (60,), generator=torch.Generator().manual_seed(0)))
    back = [attention.diagonal(-distance).mean().item() for distance in range(6)]
    assert back[1] == max(back)
    assert back[1] > 0.3


def test_repeats_are_predicted_better_than_without_the_circuit() -> None:
    noise = torch.Generator().manual_seed(1)
    words = torch.stack([torch.randperm(400, generator=noise)[:24] for _ in range(16)])
    ids = words.repeat(1, 2)
    length = ids.shape[1]
    mask = torch.full((length, length), -1e9).triu(1).expand(len(ids), 1, length, length)
    losses = []
    for wired in (False, True):
        model = Firefly(SHAPE)
        if wired:
            wire(model)
        with torch.no_grad():
            hidden = model(ids, torch.arange(length).expand(len(ids), length), mask)
            logits = hidden[:, 24:-1] @ model.embed.T
        losses.append(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 25:].flatten()).item())
    assert losses[1] < losses[0] - 0.05


def test_the_circuit_is_the_same_every_time() -> None:
    one, two = Firefly(SHAPE), Firefly(SHAPE)
    wire(one)
    wire(two)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
