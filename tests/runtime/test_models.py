"""The pool of models: what fits beside what."""

from __future__ import annotations

from pathlib import Path

import pytest

import lampc
from lampc.backend.errors import CheckpointError
from lampc.frontend.lmp import compile_lmp
from lampc.ir.modelnames import model_name
from lampc.ir.prog import DefModel
from lampc.runtime.models import ModelError
from lampc.runtime.pool import ModelPool
from tests.backend.checkpoints import save_checkpoint


def test_a_model_that_could_not_be_loaded_takes_no_room(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_checkpoint(folder)
    weights, tokenizer = folder / "model.safetensors", folder / "tokenizer.json"
    pool = ModelPool(str(folder), budget=weights.stat().st_size)
    kept = tokenizer.read_text()
    tokenizer.write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        pool.get("main")
    tokenizer.write_text(kept)
    first = pool.get("main").model
    assert first.target.info.name == "main"
    other = pool.using("firefly")
    with pytest.raises(ModelError, match="do not fit beside"):
        other.get("main")
    assert pool.get("main").model is not first, "it was given back to make room, and is loaded again"
    pool.close()


def test_what_a_session_says_counts_more_than_a_definition() -> None:
    module = compile_lmp('model main = engine("firefly", backend: "torch", tensor_parallel: 16);\n').module
    with pytest.raises(ModelError, match="firefly: tensor_parallel is 16; choose 1, 2, 4 or 8"):
        ModelPool().get("main", module)
    pool = ModelPool(options={"tensor_parallel": 1})
    assert pool.get("main", module).target.info.name == "main"
    pool.close()


def test_a_plain_name_never_finds_an_object() -> None:
    warm = lampc.LM("firefly", temperature=1.0)
    assert model_name(warm) == "firefly#1"
    pool = ModelPool()
    assert pool.get(model_name(warm)).lm is warm
    assert pool.get("firefly").lm is None, "who names the model gets it without the object's options"
    with pytest.raises(ValueError, match="give the object, not its name"):
        model_name("firefly#1")
    pool.close()


def test_a_name_of_an_object_that_is_gone_is_that_of_its_model() -> None:
    """A program that was saved elsewhere names objects of that process."""
    module = compile_lmp('model m = engine("firefly#7");\n').module
    pool = ModelPool()
    assert pool.get("m", module).model is pool.get("firefly").model
    pool.close()


def test_models_of_like_names_have_symbols_of_their_own() -> None:
    one, two = lampc.Predict("q -> a"), lampc.Predict("a -> b")
    one.lm, two.lm = lampc.LM("openai/gpt-4"), lampc.LM("openai/gpt_4")

    class Both(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = one, two

        def forward(self, q: str) -> lampc.Prediction:
            return self.two(a=self.one(q=q).a)

    unit = lampc.trace(Both())
    assert unit.dynamic is None
    models = [op for op in unit.module.body.ops if isinstance(op, DefModel)]
    assert [m.source for m in models] == ["openai/gpt-4#1", "openai/gpt_4#1"]
    assert len({m.symbol for m in models}) == 2
