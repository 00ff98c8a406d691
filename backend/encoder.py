"""Encoders: models that make a vector of a text, in folders as sentence-transformers saves them, computed on the CPU.

Texts of a batch stand one after the other, without padding between them: rows go through layers together, and
each text attends to itself. In exact mode a vector is the same, to the bit, whatever other texts it was made with.
"""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.errors import CheckpointError, TextTooLong
from lampc.backend.kernel_choice import choose_kernels
from lampc.backend.models.checkpoint import Checkpoint
from lampc.backend.models.fields import Fields
from lampc.backend.models.registry import EncoderModel, resolve_encoder
from lampc.backend.models.rows import Rows
from lampc.backend.models.weights import Weights
from lampc.backend.recipe import POOLINGS, Recipe, read_recipe
from lampc.backend.tokenizer import Tokenizer, read_json

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """`hidden` is the length of a vector, `max_length` the most tokens of a text, special ones included; equal digests
    give equal vectors."""

    name: str
    hidden: int
    max_length: int
    exact: bool
    digest: str


class Encoder:
    """See the module's text; made by `load_encoder`. Any thread may call it; they take turns."""

    def __init__(
        self,
        model: EncoderModel,
        tokenizer: Tokenizer,
        recipe: Recipe,
        info: EncoderInfo,
        rows: Rows,
        *,
        truncate: bool,
        max_batch_tokens: int,
    ) -> None:
        from tokenizers import Tokenizer as Fast

        self.info = info
        self._model, self._recipe, self._rows = model, recipe, rows
        self._truncate, self._batch = truncate, max_batch_tokens
        self._fast = Fast.from_str(tokenizer.definition)
        self._fast.enable_truncation(info.max_length)
        self._mutex = threading.Lock()

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text as the model sees them, cut if need be. Raises ValueError; TextTooLong if nothing is cut."""
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise ValueError("an encoder takes a list of texts")
        recipe = self._recipe
        whole = [recipe.prompt + text for text in texts]
        # Halves of a character, which JSON can hold, are no text; engines read them as '?' as well.
        clean = [text.encode("utf-8", "replace").decode() for text in whole]
        found = self._fast.encode_batch([text.lower() for text in clean] if recipe.lower else clean)
        if not self._truncate:
            for i, one in enumerate(found):
                if one.overflowing:
                    special = sum(one.special_tokens_mask)
                    parts = [one, *one.overflowing]
                    size = special + sum(len(part.ids) - sum(part.special_tokens_mask) for part in parts)
                    raise TextTooLong(i, size, self.info.max_length)
        return [list(one.ids) for one in found]

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Tokens that `embed` would compute."""
        return sum(map(len, self.tokens(texts)))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors [n, hidden] float32 of n texts. Raises ValueError; TextTooLong if nothing is cut."""
        ids = self.tokens(texts)
        out = np.zeros((len(ids), self.info.hidden), np.float32)
        with self._mutex, torch.inference_mode():
            for part in self._batches(ids):
                out[part] = torch.stack(self._vectors(ids[part])).numpy()
        return out

    def _batches(self, ids: Sequence[Sequence[int]]) -> Iterator[slice]:
        """Texts side by side, as many as the budget of tokens has room for, and one at least."""
        start, size = 0, 0
        for i, one in enumerate(ids):
            if i > start and size + len(one) > self._batch:
                yield slice(start, i)
                start, size = i, 0
            size += len(one)
        if start < len(ids):
            yield slice(start, len(ids))

    def _vectors(self, ids: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        lengths = [len(one) for one in ids]
        flat = torch.zeros(self._rows.padded(sum(lengths)), dtype=torch.int64)
        flat[: sum(lengths)] = torch.tensor([i for one in ids for i in one])
        states = self._model.forward(flat, lengths).float()
        pool, made = POOLINGS[self._recipe.pooling], []
        for own in torch.split(states[: sum(lengths)], lengths):
            vector = pool(own)
            made.append(vector / vector.norm().clamp_min(1e-12) if self._recipe.normalize else vector)
        return made


def load_encoder(
    folder: Path | str,
    *,
    dtype: str = "float32",
    exact: bool = True,
    backend: Literal["auto", "torch", "native"] = "auto",
    max_length: int | None = None,
    truncate: bool = True,
    pooling: str | None = None,
    normalize: bool | None = None,
    max_batch_tokens: int = 4096,
) -> Encoder:
    """An encoder for a checkpoint folder: config.json, *.safetensors, tokenizer.json, and, if there are any, the files
    of sentence-transformers, which say how tokens become a vector (`lampc.backend.recipe`).

    `max_length` is the most tokens of a text, special ones included, by default what the folder says, at most the
    model's positions; longer texts are cut, or, with `truncate` False, an error. `pooling` ("mean", "cls", "max" or
    "mean_sqrt_len_tokens") and `normalize` (vectors of length 1) are by default the folder's. Texts go through the
    model in batches of about `max_batch_tokens`. `dtype` is float32 or bfloat16; `exact` and `backend` as in
    `lampc.backend.load.load_engine`, on the CPU.
    Raises CheckpointError, UnknownArchitecture, Unsupported, NoKernels or ValueError.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype is {dtype!r}; encoders compute in {' or '.join(_DTYPES)}")
    if backend not in ("auto", "torch", "native"):
        raise ValueError(f"backend is {backend!r}; encoders compute by 'auto', 'torch' or 'native'")
    if pooling is not None and pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; choose one of {', '.join(POOLINGS)}")
    if max_batch_tokens < 1:
        raise ValueError(f"max_batch_tokens is {max_batch_tokens}; give a positive number of tokens")
    folder = Path(folder)
    recipe = read_recipe(folder)
    path = recipe.folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the folder of a checkpoint")
    config = read_json(path)
    fields, where, number = Fields(config, path), torch.device("cpu"), _DTYPES[dtype]
    model_class = resolve_encoder(config, path)
    fields.only("quantization_config")
    tokenizer = Tokenizer.load(recipe.folder)
    kernels = choose_kernels(backend, where, number)
    rows = Rows(exact, native=kernels.native)
    weights = Weights(recipe.folder)
    model = model_class.load(Checkpoint(fields, weights, where, number, rows))
    weights.check_all_read()
    weights.close()
    if tokenizer.vocab_size > model.vocab_size:
        raise CheckpointError(
            f"{recipe.folder}: the tokenizer has {tokenizer.vocab_size} ids but the model only {model.vocab_size}"
        )
    longest = _longest(recipe, model.positions, len(tokenizer.encode_prompt("")), max_length)
    recipe = replace(
        recipe,
        pooling=pooling or recipe.pooling,
        normalize=recipe.normalize if normalize is None else normalize,
        max_length=longest,
    )
    around = repr(replace(recipe, folder=Path()))
    own = (weights.digest(), path.read_text(encoding="utf-8"), tokenizer.digest, around)
    numerics = (dtype, str(exact), kernels.digest, torch.__version__, torch.backends.cpu.get_cpu_capability())
    info = EncoderInfo(
        name=folder.resolve().name,
        hidden=model.hidden,
        max_length=longest,
        exact=exact,
        digest=hashlib.sha256("\0".join((*own, *numerics, str(truncate))).encode()).hexdigest()[:32],
    )
    return Encoder(model, tokenizer, recipe, info, rows, truncate=truncate, max_batch_tokens=max_batch_tokens)


def _longest(recipe: Recipe, positions: int, special: int, asked: int | None) -> int:
    """Tokens that a text may have. Raises ValueError if more are asked for than there are positions, or none."""
    if asked is None:
        said = recipe.max_length or read_json(recipe.folder / "tokenizer_config.json").get("model_max_length")
        return min(positions, int(said) if isinstance(said, int | float) else positions)
    if not special < asked <= positions:
        raise ValueError(
            f"max_length is {asked}; give {special + 1} to {positions} tokens, {special} of which are special ones"
        )
    return asked
