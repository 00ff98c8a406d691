"""Training repeats itself exactly, also across a stop."""

from __future__ import annotations

from pathlib import Path

import torch
from firefly.batches import Source, Stage
from firefly.dense import DenseRows
from firefly.episodes import maker
from firefly.export import export, load_average, load_folder
from firefly.model import Shape
from firefly.tokenizer import build_tokenizer
from firefly.trainer import Plan, Trainer

TOY = Shape(hidden=32, layers=2, heads=4, kv_heads=2, head_dim=8, ffn=48)


def trainer(seed: int = 5, steps: int = 3) -> Trainer:
    tokenizer = build_tokenizer()
    source = Source(DenseRows(tokenizer), maker(tokenizer), 512, seed)
    stages = (Stage(0.3, 1.0, (128,)), Stage(1.0, 0.2, (256,), "full"))
    return Trainer(TOY, Plan(stages, steps, 1e9), source, "cpu", seed)


def weights(one: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in (*one.model.parameters(), *one.average.parameters())])


def test_same_seed_same_weights() -> None:
    runs = [trainer(), trainer(), trainer(seed=6)]
    for one in runs:
        one.run(None)
    assert torch.equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0]), weights(runs[2]))


def test_resume_equals_uninterrupted(tmp_path: Path) -> None:
    whole = trainer()
    whole.run(None)
    first, path = trainer(), tmp_path / "toy.pt"
    first.train_step()
    first.save(path)
    second = trainer()
    second.restore(torch.load(path, weights_only=True))
    second.run(path)
    assert torch.equal(weights(whole), weights(second))
    assert not path.with_suffix(".tmp").exists()


def test_export_of_a_checkpoint(tmp_path: Path) -> None:
    one = trainer()
    one.train_step()
    one.save(tmp_path / "toy.pt")
    model = load_average(tmp_path / "toy.pt")
    export(model, tmp_path / "out")
    again = load_folder(tmp_path / "out")
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a.bfloat16(), b.bfloat16())
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_every_episode_fits_and_has_something_to_learn() -> None:
    from random import Random

    make = maker(build_tokenizer())("full")
    rng = Random(1)
    for _ in range(300):
        ids, loss = make(rng, 256)
        assert len(ids) == len(loss) <= 256
        assert sum(loss) > 0
