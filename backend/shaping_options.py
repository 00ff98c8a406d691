"""The options by which a request changes logits before anything is drawn, checked. No torch here."""

from collections.abc import Mapping, Sequence
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PENALTIES = ("presence_penalty", "frequency_penalty", "repetition_penalty")


class LogitsProcessor(Protocol):
    """A function of the user's. Its result must follow from its arguments alone, or exact mode is not exact."""

    def __call__(self, prompt: Sequence[int], output: Sequence[int], logits: "NDArray[np.float32]", /) -> Any:
        """New logits, float32 [vocab]; None: those given, a copy for it alone, were changed."""
        ...


def check_shaping(sampling: Any) -> None:
    """Raises ValueError for options of a `lampc.backend.request.Sampling` that cannot be."""
    for name in PENALTIES:
        value = getattr(sampling, name)
        if not _is(value, Real) or not isfinite(value):
            raise ValueError(f"{name} is {value!r}; give a number")
    if sampling.repetition_penalty <= 0:
        raise ValueError(f"repetition_penalty is {sampling.repetition_penalty}; give a number above 0, 1.0 is off")
    if sampling.logit_bias:
        _check_bias(sampling.logit_bias)
    if sampling.allowed_ids is not None:
        check_sequence(sampling.allowed_ids, "allowed_ids")
    if not isinstance(sampling.bad_ids, tuple):
        raise ValueError(f"bad_ids is {sampling.bad_ids!r:.80}; give a tuple of tuples of token ids")
    for i, word in enumerate(sampling.bad_ids):
        check_sequence(word, f"bad_ids[{i}]")
    processors = sampling.logits_processors
    if not isinstance(processors, tuple) or not all(map(callable, processors)):
        raise ValueError(f"logits_processors is {processors!r:.80}; give a tuple of functions")


def check_sequence(ids: object, what: str) -> None:
    """Raises ValueError for what is no tuple of at least one token id."""
    if not isinstance(ids, tuple) or not ids or not all(_is(i, Integral) and i >= 0 for i in ids):
        raise ValueError(f"{what} is {ids!r:.80}; give a tuple of token ids, at least one")


def bias_pairs(bias: Mapping[Any, Any]) -> tuple[tuple[int, float], ...]:
    """A mapping of token ids, numbers or their decimal text as in JSON, to what is added, in order of ids.

    Raises ValueError.
    """
    found: dict[int, float] = {}
    for key, value in bias.items():
        if isinstance(key, str) and key.isdecimal() and key.isascii():
            key = int(key)
        if not _is(key, Integral) or key in found:
            raise ValueError(f"logit_bias has the key {key!r:.80}; give each token id once")
        found[key] = value
    return tuple(sorted(found.items()))


def _check_bias(pairs: object) -> None:
    if not isinstance(pairs, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError(f"logit_bias is {pairs!r:.80}; give pairs of a token id and a number")
    for token, value in pairs:
        if not _is(token, Integral) or token < 0:
            raise ValueError(f"logit_bias has the key {token!r:.80}; give token ids")
        if not _is(value, Real) or not isfinite(value):
            raise ValueError(f"logit_bias of token {token} is {value!r}; give a number")
    if len({token for token, _ in pairs}) < len(pairs):
        raise ValueError(f"logit_bias is {pairs!r:.80}; give each token id once")


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
