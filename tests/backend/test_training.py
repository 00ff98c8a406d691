"""Training of adapters: gradients against transformers, the same bits again and after a stop, files that serve."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from lampc.backend.errors import CheckpointError, UnknownOption, Unsupported
from lampc.backend.load import load_engine
from lampc.backend.request import Request, Sampling
from lampc.backend.training import Pair, Trainer, TrainingSettings
from lampc.backend.training.pairs import batch_at
from tests.backend.architectures import reference, save
from tests.backend.test_exact import finish
from tests.backend.test_lora import merged
from tests.backend.test_models import prompt

PAIRS = [
    Pair(tuple(prompt(n, seed=n)), tuple(prompt(m, seed=100 + n))) for n, m in ((60, 9), (17, 4), (33, 12), (5, 1))
]
FAST = TrainingSettings(rank=4, learning_rate=0.01, num_train_epochs=4, per_device_train_batch_size=2)


def their_gradients(name: str, pairs: list[Pair]) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss of the answers' tokens, and what transformers says its gradients by the weights are."""
    model = reference(name)
    for p in model.parameters():
        p.requires_grad_()
    total = torch.zeros(())
    for p in pairs:
        logits = model(torch.tensor([[*p.prompt, *p.answer]])).logits[0, len(p.prompt) - 1 : -1]
        total = total + functional.cross_entropy(logits, torch.tensor(p.answer), reduction="sum")
    total.backward()
    return float(total.detach()), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["llama", "qwen2", "mistral", "gemma2", "gemma3", "phi3", "olmo2", "mixtral"])
def test_gradients_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    trainer = Trainer(save(name, tmp_path), PAIRS[:3], FAST)
    loss = trainer._loss(PAIRS[:3])
    loss.backward()  # type: ignore[no-untyped-call]
    theirs, by_weight = their_gradients(name, PAIRS[:3])
    assert float(loss.detach()) == pytest.approx(theirs, rel=1e-4)
    tensors, scale = trainer.adapter.tensors, FAST.lora_alpha / FAST.rank
    targets = [n.removesuffix(".lora_A.weight") for n in tensors if n.endswith("lora_A.weight")]
    assert len(targets) >= 8
    for target in targets:
        down, up = (tensors[f"{target}.lora_{x}.weight"] for x in "AB")
        by = by_weight[f"{target.removeprefix('base_model.model.')}.weight"]
        # The weight in use is W + scale * B A: by the chain rule, with B = 0 as training begins.
        wanted = scale * by @ down.detach().T
        torch.testing.assert_close(up.grad, wanted, atol=2e-4 * float(wanted.abs().max()), rtol=1e-3)
        assert down.grad is not None
        assert not down.grad.any()


def test_loss_falls_and_what_is_saved_gives_the_tokens_of_merged_weights(tiny: Path, tmp_path: Path) -> None:
    trainer = Trainer(tiny, PAIRS, FAST)
    steps = list(trainer.run())
    assert [s.number for s in steps] == list(range(1, 9))
    assert {s.total for s in steps} == {8}
    assert steps[-1].loss < steps[0].loss
    folder = tmp_path / "adapter"
    folder.mkdir()
    trainer.adapter.save(folder, str(tiny))
    served = load_engine(tiny, adapters={"a": folder}, kv_tokens=1024)
    right = load_engine(merged(tiny, folder, tmp_path / "merged", 16 / 4), kv_tokens=1024)
    sampling = Sampling(max_tokens=12, ignore_eos=True)
    asked = [p.prompt for p in PAIRS]
    ours = finish(served, [Request(ids, sampling, logprobs=True, adapter="a") for ids in asked])
    theirs = finish(right, [Request(ids, sampling, logprobs=True) for ids in asked])
    plain = finish(served, [Request(ids, sampling, logprobs=True) for ids in asked])
    for a, b, c in zip(ours, theirs, plain, strict=True):
        assert a.tokens == b.tokens
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-4)
        assert a.logprobs != c.logprobs


def state(trainer: Trainer) -> list[Any]:
    return [trainer.losses, *(t.detach().clone() for t in trainer.adapter.tensors.values())]


def same(a: list[Any], b: list[Any]) -> bool:
    return a[0] == b[0] and all(torch.equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))


def test_again_and_after_a_stop_the_same_bits(tiny: Path, tmp_path: Path) -> None:
    whole = Trainer(tiny, PAIRS, FAST)
    list(whole.run())
    for stop in (1, 5):
        first = Trainer(tiny, PAIRS, FAST)
        for step in first.run():
            if step.number == stop:
                first.keep(tmp_path / "state")
                break
        second = Trainer(tiny, PAIRS, FAST)
        second.restore(tmp_path / "state")
        assert [s.number for s in second.run()] == list(range(stop + 1, 9))
        assert same(state(second), state(whole))
    other = Trainer(tiny, PAIRS, TrainingSettings(**{**FAST.outcome(), "seed": 1}))
    list(other.run())
    assert not same(state(other), state(whole))


def test_small_pieces_of_a_step_add_up(tiny: Path) -> None:
    at_once = Trainer(tiny, PAIRS, TrainingSettings(per_device_train_batch_size=4, max_steps=1))
    pieces = Trainer(
        tiny, PAIRS, TrainingSettings(per_device_train_batch_size=1, gradient_accumulation_steps=4, max_steps=1)
    )
    a, b = (next(iter(t.run())).loss for t in (at_once, pieces))
    assert a == pytest.approx(b, rel=1e-5)
    grads = [[t.grad for t in x.adapter.tensors.values()] for x in (at_once, pieces)]
    for x, y in zip(*grads, strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-3)


def test_an_adapter_is_trained_further(tiny: Path, tmp_path: Path) -> None:
    first = Trainer(tiny, PAIRS, FAST)
    list(first.run())
    folder = tmp_path / "a"
    folder.mkdir()
    first.adapter.save(folder, str(tiny))
    second = Trainer(tiny, PAIRS, TrainingSettings(rank=16), folder)
    assert second.adapter.rank == 4  # the one it has
    began = float(second._loss(PAIRS).detach()) / sum(len(p.answer) for p in PAIRS)
    fresh = float(Trainer(tiny, PAIRS, FAST)._loss(PAIRS).detach()) / sum(len(p.answer) for p in PAIRS)
    assert began < fresh


def test_every_epoch_takes_each_pair_once() -> None:
    for epoch in range(3):
        seen = [p for step in range(2 * epoch, 2 * epoch + 2) for p in batch_at(PAIRS, 3, step, seed=7)]
        assert sorted(seen, key=len) == sorted(PAIRS, key=len)


def test_what_is_too_long_is_left_out(tiny: Path) -> None:
    trainer = Trainer(tiny, PAIRS, TrainingSettings(max_seq_length=40))
    assert (len(trainer.pairs), trainer.skipped) == (2, 2)
    with pytest.raises(ValueError, match=r"none of 4 pairs has at most 3 tokens; .* raise max_seq_length"):
        Trainer(tiny, PAIRS, TrainingSettings(max_seq_length=3))


def test_what_cannot_be_is_said(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownOption, match="a training has no option 'learning_rat'; did you mean 'learning_rate'"):
        TrainingSettings.of({"learning_rat": 1})
    with pytest.raises(Unsupported, match="only adapters are trained here"):
        TrainingSettings.of({"use_peft": False})
    with pytest.raises(ValueError, match="rank is 0; give a whole number from 1 on"):
        TrainingSettings.of({"r": 0})
    with pytest.raises(ValueError, match="learning_rate is -1; give a number above 0"):
        TrainingSettings.of({"learning_rate": -1})
    with pytest.raises(ValueError, match="target_modules has 'q'; the model has down_proj, gate_proj"):
        Trainer(tiny, PAIRS, TrainingSettings(target_modules=("q",)))
    with pytest.raises(Unsupported, match="models of this architecture take no adapters"):
        Trainer(save("gpt2", tmp_path), PAIRS, FAST)
    (tmp_path / "state").write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="not the state of this training"):
        Trainer(tiny, PAIRS, FAST).restore(tmp_path / "state")
    with pytest.raises(ArithmeticError, match="lower learning_rate"):
        list(Trainer(tiny, PAIRS, TrainingSettings(learning_rate=1e30, max_grad_norm=1e30, num_train_epochs=9)).run())
