"""Options of `Sampling` that change how likely tokens are: as they are given, and as endpoints have them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from operator import attrgetter
from typing import Any

from lampc.ir.content import Sampling

PENALTIES = ("presence_penalty", "frequency_penalty", "repetition_penalty", "min_p", "logit_bias")
SAMPLING = ("temperature", "top_k", "top_p", "max_tokens", "stop", *PENALTIES)
"""Options of `Sampling` that a call may say by name."""
_UNSAID = Sampling()
_NAMES = frozenset(PENALTIES)
_said = attrgetter(*PENALTIES)
_NOTHING = _said(_UNSAID)


def penalties_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `PENALTIES` that are among options (None: left out), as `Sampling` has them.

    `logit_bias` is a mapping of token ids, whole numbers or their text as in JSON, to numbers. Raises ValueError.
    """
    if _NAMES.isdisjoint(options):  # as in nearly all calls
        return {}
    found = {name: options[name] for name in PENALTIES if options.get(name) is not None}
    return {name: _pairs(value) if name == "logit_bias" else _number(name, value) for name, value in found.items()}


def told_penalties(sampling: Sampling) -> dict[str, Any]:
    """Those that a sampling says, in the form of OpenAI's API."""
    if _said(sampling) == _NOTHING:
        return {}
    found = {name: getattr(sampling, name) for name in PENALTIES}
    if found["logit_bias"]:
        found["logit_bias"] = {str(token): value for token, value in sampling.logit_bias}
    return {name: value for name, value in found.items() if value != getattr(_UNSAID, name)}


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{name} is {value!r:.80}; give a number")
    if name == "repetition_penalty" and value <= 0:
        raise ValueError(f"repetition_penalty is {value}; give a number above 0, 1.0 is off")
    if name == "min_p" and not 0 <= value <= 1:
        raise ValueError(f"min_p is {value}; give a number in [0, 1], 0.0 is off")
    return float(value)


def _pairs(bias: Any) -> tuple[tuple[int, float], ...]:
    pairs = list(bias.items()) if isinstance(bias, Mapping) else bias
    if not isinstance(pairs, list | tuple) or not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
        raise ValueError(f"logit_bias is {bias!r:.80}; give a mapping of token ids to numbers")
    made: dict[int, float] = {}
    for key, value in pairs:
        token = int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() else key
        if isinstance(token, bool) or not isinstance(token, int) or token < 0 or token in made:
            raise ValueError(f"logit_bias has the key {key!r:.80}; give each token id once")
        made[token] = _number(f"logit_bias of token {token}", value)
    return tuple(sorted(made.items()))
