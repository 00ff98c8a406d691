"""Shared checkpoints for the backend's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lampc.backend.models import rows
from lampc.backend.native import build, shared_library
from tests.backend.checkpoints import save_checkpoint
from tests.backend.trials import once


@pytest.fixture(scope="session", autouse=True)
def _calls_are_tried_once() -> Iterator[None]:
    """Tests load many engines on the same few weights, and would try out the same calls in each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_agrees", once(rows._agrees))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama with 2 layers and grouped-query attention."""
    return save_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with an odd shape: three heads per K/V head, tied embeddings, long contexts."""
    return save_checkpoint(
        tmp_path_factory.mktemp("wide"),
        seed=1,
        hidden_size=48,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=80,
        tie_word_embeddings=True,
        max_position_embeddings=512,
    )


@pytest.fixture(scope="session")
def kernels() -> shared_library.Library:
    """The native kernels, built if they were not before; skips where there is no way to build them."""
    try:
        path, _ = build.library_path(), build.compiler()
    except build.NoKernels as reason:
        pytest.skip(str(reason))
    if not path.is_file():
        build.build()
    return shared_library.load()


@pytest.fixture(params=["torch", "native"])
def numerics(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines are loaded to compute in torch, and then with native kernels."""
    if request.param == "native":
        request.getfixturevalue("kernels")
        monkeypatch.delenv("LAMPC_NATIVE", raising=False)
    else:
        monkeypatch.setenv("LAMPC_NATIVE", "0")


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)
