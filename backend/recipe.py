"""From a text to its vector, around an encoder's model: what the files of sentence-transformers say of a checkpoint."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lampc.backend.errors import CheckpointError, Unsupported
from lampc.backend.tokenizer import read_json

POOLINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "mean": lambda states: states.mean(0),
    "cls": lambda states: states[0],
    "max": lambda states: states.amax(0),
    "mean_sqrt_len_tokens": lambda states: states.sum(0) / len(states) ** 0.5,
}
"""By the names of sentence-transformers: states [n, hidden] of a text's tokens to a vector [hidden]."""

_ENTRIES = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """`folder` holds the model, `max_length` counts tokens, special ones included (None: not said), `lower`: texts are
    put in lower case first, `prompt` is put before every text."""

    folder: Path
    pooling: str = "mean"
    normalize: bool = False
    max_length: int | None = None
    lower: bool = False
    prompt: str = ""


def read_recipe(folder: Path) -> Recipe:
    """That of a checkpoint; a folder without `modules.json` is a model alone, whose tokens are averaged.

    Raises CheckpointError for damaged files, Unsupported for modules and poolings that are not done here.
    """
    path = folder / "modules.json"
    if not path.exists():
        return _texts(Recipe(folder), folder)
    kinds = [(str(m.get("type", "")).rsplit(".", 1)[-1], str(m.get("path", ""))) for m in _modules(path)]
    names = [kind for kind, _ in kinds]
    if names not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise Unsupported(
            f"{path}: its modules are {', '.join(names)}; supported here: Transformer, Pooling and perhaps Normalize"
        )
    model = folder / kinds[0][1]
    return _texts(Recipe(model, _pooling(folder / kinds[1][1] / "config.json"), len(names) == 3), folder)


def _modules(path: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(m, dict) for m in found):
        raise CheckpointError(f"{path}: expected a list of modules")
    return found


def _pooling(path: Path) -> str:
    config = read_json(path)
    if not config:
        raise CheckpointError(f"{path}: no such file, or empty; it says how tokens become a vector")
    entries = {name: on for name, on in config.items() if name.startswith("pooling_mode_") and on}
    asked = config.get("pooling_mode") or [
        next((mode for mode, entry in _ENTRIES.items() if entry == name), name) for name in entries
    ]
    modes = [asked] if isinstance(asked, str) else list(asked) or ["mean"]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise Unsupported(f"{path}: pools by {' and '.join(map(str, modes))}; supported here: one of {list(POOLINGS)}")
    return str(modes[0])


def _texts(recipe: Recipe, folder: Path) -> Recipe:
    """With what is said about texts."""
    own = read_json(recipe.folder / "sentence_bert_config.json")
    longest = own.get("max_seq_length")
    if longest is not None and (not isinstance(longest, int) or isinstance(longest, bool) or longest < 1):
        raise CheckpointError(
            f"{recipe.folder / 'sentence_bert_config.json'}: max_seq_length is {longest!r}; expected a positive integer"
        )
    path = folder / "config_sentence_transformers.json"
    config = read_json(path)
    name, prompts = config.get("default_prompt_name"), config.get("prompts") or {}
    if name is not None and not isinstance(prompts.get(name), str):
        raise CheckpointError(f"{path}: default_prompt_name is {name!r}, but there is no such entry among its prompts")
    lower = bool(own.get("do_lower_case", False))
    return replace(recipe, max_length=longest, lower=lower, prompt="" if name is None else prompts[name])
