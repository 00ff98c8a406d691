"""The pool of models: what fits beside what."""

from __future__ import annotations

from pathlib import Path

import pytest

from lampc.backend.errors import CheckpointError
from lampc.runtime.models import ModelError, ModelPool
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
    assert pool.get("main").target.info.name == "main"
    with pytest.raises(ModelError, match="do not fit beside"):
        pool._make("other", str(folder), {})
    pool.close()
