"""Encoders against transformers, small ones with random weights and MiniLM; and what exactness and options promise."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lampc.backend.encoder import Encoder, load_encoder
from lampc.backend.errors import CheckpointError, TextTooLong, UnknownArchitecture, Unsupported
from lampc.backend.load import load_engine
from tests.backend.encoders import minilm, reference, save_encoder, save_recipe

TEXTS = ["a lamp", "", "The state of a RIVER", "x", "lamp " * 60, "naïve café, 中文", "mill [SEP] river", "Zz " * 9]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"))


def theirs(model: Any, tokenizer: Any, texts: list[str], longest: int, pooling: str = "mean") -> np.ndarray[Any, Any]:
    """As sentence-transformers defines it, over a padded batch of transformers; normalised."""
    batch = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1).float()
    if pooling == "mean":
        made = (states * mask).sum(1) / mask.sum(1)
    elif pooling == "cls":
        made = states[:, 0]
    else:
        made = states.masked_fill(mask == 0, -torch.inf).amax(1)
    found: np.ndarray[Any, Any] = torch.nn.functional.normalize(made, dim=1).numpy()
    return found


def tokenizer_of(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-5},
        {"hidden_act": "relu", "num_attention_heads": 1, "type_vocab_size": 1},
        {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2},
    ],
    ids=["gelu", "gelu_new", "relu", "even"],
)
def test_vectors_equal_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    folder = save_encoder(tmp_path, **changes)
    encoder = load_encoder(folder)
    assert (encoder.info.hidden, encoder.info.max_length) == (changes.get("hidden_size", 24), 40)
    found = encoder.embed(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs(reference(**changes), tokenizer_of(folder), TEXTS, 40), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("numerics")
def test_minilm_equals_transformers() -> None:
    from transformers import AutoModel

    folder = minilm()
    encoder, model = load_encoder(folder), AutoModel.from_pretrained(folder).eval()
    assert (encoder.info.hidden, encoder.info.max_length) == (384, 256)
    texts = [*TEXTS[:4], "word " * 300, "How do I reset a forgotten password?"]
    found = encoder.embed(texts)
    np.testing.assert_allclose(found, theirs(model, tokenizer_of(folder), texts, 256), atol=1e-5, rtol=0)
    assert np.array_equal(np.concatenate([encoder.embed([t]) for t in texts]), found)


def test_minilm_knows_what_texts_mean() -> None:
    encoder = load_encoder(minilm())
    near = encoder.embed(
        ["How do I reset a forgotten password?", "I lost my login credentials", "The soup is too salty"]
    )
    assert near[0] @ near[1] > near[0] @ near[2] + 0.3


@pytest.mark.usefixtures("numerics")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.text("ab lmpzé ", max_size=60), min_size=1, max_size=9),
    budget=st.integers(1, 200),
    odd=st.booleans(),
)
def test_a_vector_is_the_same_alone_and_among_others(
    folder: Path, dtype: str, texts: list[str], budget: int, odd: bool
) -> None:
    alone, together = _pair(folder, dtype, budget)
    order = texts[::-1] if odd else texts
    found = dict(zip(order, together.embed(order), strict=True))
    for text in texts:
        assert np.array_equal(alone.embed([text])[0], found[text]), text


_LOADED: dict[Any, Encoder] = {}


def _pair(folder: Path, dtype: str, budget: int) -> tuple[Encoder, Encoder]:
    import os

    budget = min((n for n in (16, 64, 4096) if n >= budget), default=4096)
    key = (folder, dtype, os.environ.get("LAMPC_NATIVE"))
    for n in (4096, budget):
        if (*key, n) not in _LOADED:
            _LOADED[*key, n] = load_encoder(folder, dtype=dtype, max_batch_tokens=n)
    return _LOADED[*key, 4096], _LOADED[*key, budget]


@pytest.mark.usefixtures("numerics", "three_threads")
def test_so_it_is_with_several_threads(tmp_path: Path) -> None:
    """Batches that are large enough for torch to give each thread its share."""
    folder = save_encoder(tmp_path, hidden_size=64, intermediate_size=256, max_position_embeddings=512)
    encoder = load_encoder(folder, max_length=512)
    texts = ["lamp river state " * n for n in (1, 7, 160, 33, 90, 2, 160, 57)]
    found = encoder.embed(texts)
    for text, row in zip(texts, found, strict=True):
        assert np.array_equal(encoder.embed([text])[0], row)


def test_threads_do_not_disturb_each_other(folder: Path) -> None:
    encoder = load_encoder(folder)
    right = encoder.embed(TEXTS)
    same: list[bool] = []

    def ask() -> None:
        same.extend(np.array_equal(encoder.embed(TEXTS), right) for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert same == [True] * 40


@pytest.mark.parametrize(("said", "pooling"), [("cls_token", "cls"), ("max_tokens", "max")])
def test_pooling_and_length_are_those_of_the_folder(said: str, pooling: str, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path)
    save_recipe(folder, said, longest=11)
    right = theirs(reference(), tokenizer_of(folder), TEXTS, 11, pooling)
    np.testing.assert_allclose(load_encoder(folder).embed(TEXTS), right, atol=1e-5, rtol=0)
    save_recipe(folder, normalize=False)
    asked = load_encoder(folder, pooling=pooling, normalize=True, max_length=11)
    np.testing.assert_allclose(asked.embed(TEXTS), right, atol=1e-5, rtol=0)
    lengths = np.linalg.norm(load_encoder(folder).embed(TEXTS), axis=1)
    assert abs(lengths - 1).min() > 1e-3


def test_a_model_alone_averages_tokens_up_to_its_positions(folder: Path, tmp_path: Path) -> None:
    bare = save_encoder(tmp_path)
    for name in ("modules.json", "sentence_bert_config.json"):
        (bare / name).unlink()
    encoder = load_encoder(bare, normalize=True)
    assert encoder.info.max_length == 80
    right = theirs(reference(), tokenizer_of(bare), ["lamp " * 90], 80)
    np.testing.assert_allclose(encoder.embed(["lamp " * 90]), right, atol=1e-5, rtol=0)


def test_long_texts_are_cut_or_refused(folder: Path) -> None:
    cut, strict = load_encoder(folder), load_encoder(folder, truncate=False)
    assert cut.count_tokens(["lamp " * 38, "lamp " * 60]) == 80
    assert np.array_equal(*cut.embed(["lamp " * 38, "lamp " * 60]))
    assert np.array_equal(strict.embed(["lamp " * 38]), cut.embed(["lamp " * 38]))
    with pytest.raises(TextTooLong, match="text 1 has 62 tokens, this encoder takes 40"):
        strict.embed(["lamp", "lamp " * 60])
    for wrong in (2, 81):
        with pytest.raises(ValueError, match="give 3 to 80 tokens"):
            load_encoder(folder, max_length=wrong)


def test_what_texts_may_be(folder: Path) -> None:
    encoder = load_encoder(folder)
    assert encoder.embed([]).shape == (0, 24)
    assert np.array_equal(encoder.embed(["a \ud800"]), encoder.embed(["a ?"]))
    for wrong in ("lamp", [1]):
        with pytest.raises(ValueError, match="takes a list of texts"):
            encoder.embed(wrong)  # type: ignore[arg-type]


def test_spellings_of_other_files(folder: Path, tmp_path: Path) -> None:
    """With a prefix, a head, gamma and beta, as bert-base-uncased is published; and a prompt before each text."""
    other = save_encoder(tmp_path)
    tensors = {f"bert.{n}": t for n, t in load_file(other / "model.safetensors").items()}
    tensors = {n.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t for n, t in tensors.items()}
    save_file(tensors | {"cls.predictions.bias": torch.zeros(64)}, other / "model.safetensors")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    assert np.array_equal(load_encoder(other).embed(TEXTS), load_encoder(folder).embed(TEXTS))
    prompts = {"prompts": {"query": "river "}, "default_prompt_name": "query"}
    (other / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    assert np.array_equal(load_encoder(other).embed(["lamp"]), load_encoder(folder).embed(["river lamp"]))


def test_equal_digests_mean_equal_vectors(folder: Path) -> None:
    loads: list[dict[str, Any]] = [
        {},
        {"max_length": 39},
        {"pooling": "cls"},
        {"normalize": False},
        {"dtype": "bfloat16"},
    ]
    digests = [load_encoder(folder, **options).info.digest for options in loads]
    assert len(set(digests)) == len(loads)
    assert load_encoder(folder, max_batch_tokens=7).info.digest == digests[0]


def test_folders_that_cannot_be_used(folder: Path, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownArchitecture, match=r"'LlamaForCausalLM' is not supported; load_engine loads it"):
        load_encoder(tiny)
    with pytest.raises(UnknownArchitecture, match=r"'BertModel' is not supported; load_encoder loads it"):
        load_engine(folder)
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        load_encoder(tmp_path)
    other = save_encoder(tmp_path)
    save_recipe(other, "lasttoken")
    with pytest.raises(Unsupported, match="pools by pooling_mode_lasttoken"):
        load_encoder(other)
    modules = json.loads((other / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.Dense"
    (other / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(Unsupported, match="its modules are Transformer, Pooling, Dense"):
        load_encoder(other)
    (other / "modules.json").write_text("{}")
    with pytest.raises(CheckpointError, match="expected a list of modules"):
        load_encoder(other)
    save_recipe(other)
    config = json.loads((other / "config.json").read_text())
    for name, value in {"position_embedding_type": "relative_key", "hidden_act": "silu", "is_decoder": True}.items():
        (other / "config.json").write_text(json.dumps(config | {name: value}))
        with pytest.raises(Unsupported, match=name):
            load_encoder(other)
    for options in ({"dtype": "float16"}, {"backend": "triton"}, {"pooling": "sum"}, {"max_batch_tokens": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            load_encoder(folder, **options)  # type: ignore[arg-type]
