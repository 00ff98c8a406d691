"""What a module has learnt, as data and as a file, in the form that DSPy 3.4 saves.

The file is one JSON object: for each predictor, by its name in the module, `traces train demos signature lm`; and
`metadata`. Field names and types are not kept: it is loaded into a module of the same shape.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.frontend.python.module import Module


def dump_state(module: Module, json_mode: bool = True) -> dict[str, Any]:
    """Demos, instructions, field texts and model of each predictor, by name."""
    return {name: p.dump_state(json_mode) for name, p in module.named_predictors()}


def load_state(module: Module, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> None:
    """Take over a dumped state. Raises KeyError or ValueError, and then changes nothing.

    Addresses of endpoints in it are dropped unless `allow_unsafe_lm_state`: a file must not say where calls go.
    """
    predictors = module.named_predictors()
    for name, predictor in predictors:
        if name not in state:
            raise KeyError(
                f"the saved state has nothing for predictor `{name}`; it has {', '.join(state) or 'nothing'}"
            )
        predictor.deepcopy().load_state(state[name], allow_unsafe_lm_state=allow_unsafe_lm_state)
    for name, predictor in predictors:
        predictor.load_state(state[name], allow_unsafe_lm_state=allow_unsafe_lm_state)


def save_state(module: Module, path: str | Path) -> None:
    """Write the state as JSON. Raises ValueError for another ending than `.json`, or a value that JSON cannot hold."""
    target = Path(path)
    if target.suffix != ".json":
        raise ValueError(f"{target}: state is saved as JSON, end the name in .json")
    state = {**dump_state(module), "metadata": _metadata()}
    try:
        text = json.dumps(state, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as e:
        raise ValueError(f"{target}: the state cannot be written as JSON: {e}") from None
    temporary = target.with_suffix(".json.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, target)


def read_state(module: Module, path: str | Path, *, allow_unsafe_lm_state: bool = False) -> None:
    """Load a file that `save_state` or DSPy wrote. Raises ValueError, naming the file, if it is none."""
    load_state(module, state_of(path), allow_unsafe_lm_state=allow_unsafe_lm_state)


def state_of(path: str | Path) -> dict[str, Any]:
    """What such a file holds. Raises ValueError, naming the file."""
    if Path(path).suffix != ".json":
        raise ValueError(f"{path}: state is read from a .json file (pickles run code and are not read)")
    try:
        state = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as e:
        raise ValueError(f"{path}: not a saved state: {e}") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a saved state: it holds no object")
    return state


def _metadata() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("lampc")
    except PackageNotFoundError:
        own = "0"
    python = ".".join(platform.python_version_tuple()[:2])
    return {"dependency_versions": {"python": python}, "lampc": own}
