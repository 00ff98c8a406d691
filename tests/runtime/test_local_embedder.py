"""Vectors by an encoder of this machine: `Embedder(folder)`, and what searches and asks with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

import lampc
from lampc.backend.encoder import load_encoder
from lampc.backend.errors import CheckpointError, UnknownOption
from lampc.frontend.python import trace
from lampc.passes.optimize import EmbedJob, OptimizeError
from lampc.retrievers import BM25, Embedder, Vectors
from lampc.runtime.budget import Spending
from lampc.runtime.outside import Outside
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.backend.checkpoints import save_checkpoint
from tests.backend.encoders import minilm, save_encoder

CORPUS = ["the lamp", "a river bends", "state of things", "lamp river", "an old mill"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


def test_a_folder_is_an_embedder(folder: Path) -> None:
    right = load_encoder(folder).embed(CORPUS)
    for model in (folder, str(folder)):
        embed = Embedder(model, batch_size=2)
        assert np.array_equal(embed(CORPUS), right)
        assert np.array_equal(embed(CORPUS[1]), right[1])
        assert np.array_equal(asyncio.run(embed.acall(CORPUS[2:])), right[2:])
        assert embed.count_tokens(["lamp", "lamp river"]) == 7
    assert Embedder(len).count_tokens(["lamp"]) is None
    short = Embedder(folder, max_length=4)
    assert np.array_equal(*short(["lamp river state", "lamp river mill"], caching=False))
    assert short.identity != embed.identity == Embedder(folder, batch_size=9).identity


def test_what_is_wrong_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownOption, match="a local encoder has no option 'maxlength'; did you mean 'max_length'"):
        Embedder(folder, maxlength=4)
    with pytest.raises(ValueError, match="options of a local encoder are given when it is made: dimensions"):
        Embedder(folder)(["a"], dimensions=3)
    with pytest.raises(CheckpointError, match=r"nowhere/config\.json: no such file"):
        Embedder(f"{tmp_path}/nowhere")
    with pytest.raises(ValueError, match=r"gives no vectors: .*'LlamaForCausalLM'.*load_engine loads it"):
        Embedder(save_checkpoint(tmp_path / "llama"))


def test_rows_of_a_program_search_by_it(folder: Path) -> None:
    class Search(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.near = lampc.Embeddings(CORPUS, Embedder(folder), k=2)

        def forward(self, question: str) -> lampc.Prediction:
            return lampc.Prediction(passages=self.near(question).passages)

    program = Search()
    assert [program(question=text).passages[0] for text in CORPUS] == CORPUS
    exact = load_encoder(folder).embed([*CORPUS, "old lamp"])
    order = np.argsort(-(exact[:-1] @ exact[-1]), kind="stable")[:2]
    assert program(question="old lamp").passages == [CORPUS[i] for i in order]
    with Session(model="firefly", base=Path()) as session:
        unit = trace(program)
        assert unit.dynamic is None
        outcomes = session.run(unit, [Row(str(i), {"question": text}) for i, text in enumerate(CORPUS)])
    assert [o.value and o.value["passages"][0] for o in outcomes] == CORPUS


def test_stores_and_jobs_of_optimizers_ask_it(folder: Path) -> None:
    embed = Embedder(folder)
    with Session(model="firefly", base=Path(), retrievers={"facts": Vectors(CORPUS, embed)}) as session:
        outside = Outside(session, trace(lampc.Predict("a -> b")).module, Spending(), {})
        found = outside.embed(EmbedJob(("the lamp", "an old mill")))
        assert np.array_equal(np.array(found.vectors, np.float32), embed(["the lamp", "an old mill"]))
        with pytest.raises(OptimizeError, match="no embedder `other`"):
            outside.embed(EmbedJob(("x",), "other"))


def test_examples_near_a_question_are_found_by_it(folder: Path) -> None:
    examples = [lampc.Example(question=text, answer="x").with_inputs("question") for text in CORPUS]
    knn = lampc.KNN(1, examples, Embedder(folder))
    assert [knn(question=text)[0].question for text in CORPUS] == CORPUS


def test_minilm_finds_what_shares_no_word() -> None:
    passages = [
        "Felines sleep for most of the day.",
        "The central bank raised interest rates.",
        "Photosynthesis turns sunlight into sugar.",
        "Vaccines train the immune system.",
    ]
    asked = ["why does my cat nap so often", "borrowing money got more expensive", "how do plants get energy"]
    near = lampc.Embeddings(passages, Embedder(minilm()), k=1)
    assert [near(q).indices for q in asked] == [[0], [1], [2]]
    assert BM25(passages).search_many(asked, 1) == [[], [], []]
