"""Options of predictors: which there are, and what they say of how answers are drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from lampc.ir import Key, Sampling
from lampc.ir.adapters.schema import option
from lampc.ir.content import SPREAD
from lampc.ir.penalties import SAMPLING, penalties_of

_UNSAID = Sampling()
_OTHER = ("n", "rollout_id", "max_completion_tokens", "num_generations", "cache")
_OF_MODELS = (
    "model",
    "api_base",
    "base_url",
    "api_key",
    "headers",
    "extra_headers",
    "timeout",
    "num_retries",
    "messages",
)


def checked_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a predictor. Raises TypeError for what belongs to a model, and for an own option misspelt."""
    for name in config:
        if name in SAMPLING or name in _OTHER:
            continue
        if name in _OF_MODELS:
            raise TypeError(f"`{name}` is no option of a predictor: give it to the LM")
        if near := get_close_matches(name, SAMPLING + _OTHER, 1, 0.9):
            raise TypeError(f"a predictor has no option `{name}`; did you mean `{near[0]}`?")
    return dict(config)


def sampling_of(config: Mapping[str, Any]) -> tuple[int, Sampling]:
    """(number of samples, how to draw them). More than one sample needs a temperature: at 0.15 or less it is 0.7."""
    if not config:
        return 1, _UNSAID
    n = int(config.get("n") or config.get("num_generations") or 1)
    options = {k: v for k, v in config.items() if k in SAMPLING and v is not None}
    if config.get("max_completion_tokens"):
        options.setdefault("max_tokens", config["max_completion_tokens"])
    if "stop" in options:
        options["stop"] = (options["stop"],) if isinstance(options["stop"], str) else tuple(options["stop"])
    options.update(penalties_of(options))
    more = {k: v for k, v in config.items() if k not in SAMPLING and k not in _OTHER and v is not None}
    if more:
        options["extra"] = json.dumps(checked_options(more), sort_keys=True, default=option)
    said = tuple(k for k, v in options.items() if v == getattr(_UNSAID, k))
    sampling = Sampling(**options, firm=said)
    if n > 1 and sampling.temperature <= 0.15:
        sampling = replace(sampling, temperature=0.7, firm=said if "temperature" in options else (*said, SPREAD))
    if "temperature" in options:
        sampling = replace(sampling, temperature=float(sampling.temperature))
    return n, sampling


def call_key(name: str, config: Mapping[str, Any]) -> Key:
    """The call site that draws come from; `rollout_id` makes another one of it."""
    rollout = config.get("rollout_id")
    return Key((name,) if rollout is None else (f"{name}@{rollout}",))
