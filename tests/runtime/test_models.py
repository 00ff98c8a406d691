"""The pool of models: what fits beside what."""

from __future__ import annotations

from pathlib import Path

import pytest

from lampc.backend.errors import CheckpointError
from lampc.frontend.lmp import compile_lmp
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
