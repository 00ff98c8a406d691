"""1, 2 and 4 ranks: the same bits for every architecture; what they read and send is what the docs say."""

from pathlib import Path

import pytest

from lampc.backend.parallel.share import Share
from tests.backend.architectures import EVERY, VARIANTS, save
from tests.backend.parallel.ranks import load, threads, two_nodes
from tests.backend.test_exact import finish
from tests.backend.test_models_exact import KV, answers, requests

__all__ = ["threads"]


@pytest.mark.usefixtures("numerics", "threads")
@pytest.mark.parametrize("name", list(VARIANTS))
def test_any_number_of_ranks_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    folder, asked = save(name, tmp_path), requests()
    found = {}
    for ranks in (1, 2, 4):
        engine = load(folder, ranks, kv_tokens=KV)
        found[ranks] = answers(finish(engine, asked))
        engine.close()
    assert found[1] == found[2] == found[4]
