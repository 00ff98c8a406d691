"""What an engine is told about speculation."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from lampc.backend.errors import UnknownOption, Unsupported


@dataclass(frozen=True, slots=True)
class Speculation:
    """Drafts by prompt lookup, `method` "ngram" (Saxena 2023): where the last few tokens of a request stood before in
    its prompt or output, what followed them is guessed to follow again.

    At most `num_speculative_tokens` are guessed for a request in a step. The last `prompt_lookup_max` tokens are looked
    for, then the last `prompt_lookup_min`. Unless `adaptive` is False, no more is guessed than pays by measured
    times and by how often guesses of the request were right.
    """

    method: str = "ngram"
    num_speculative_tokens: int = 8
    prompt_lookup_min: int = 3
    prompt_lookup_max: int = 5
    adaptive: bool = True

    def __post_init__(self) -> None:
        if self.method != "ngram":
            raise Unsupported(f"speculative method is {self.method!r}; there is 'ngram', which needs no second model")
        for name, least in (("num_speculative_tokens", 1), ("prompt_lookup_min", 1), ("prompt_lookup_max", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 64:
                raise ValueError(f"speculative {name} is {value!r}; give a whole number from {least} to 64")
        if self.prompt_lookup_min > self.prompt_lookup_max:
            raise ValueError(
                f"speculative prompt_lookup_min is {self.prompt_lookup_min}, more than prompt_lookup_max, "
                f"{self.prompt_lookup_max}"
            )
        if not isinstance(self.adaptive, bool):
            raise ValueError(f"speculative adaptive is {self.adaptive!r}; give True or False")


def speculation_of(told: "Mapping[str, Any] | str | Speculation | None") -> Speculation | None:
    """What `speculative` says: options by name, the method alone, or None for no speculation.

    Raises UnknownOption (a TypeError), Unsupported or ValueError.
    """
    if told is None or isinstance(told, Speculation):
        return told
    if isinstance(told, str):
        return Speculation(told)
    if not isinstance(told, Mapping):
        raise ValueError(f"speculative is {told!r:.80}; give options by name, as in {{'method': 'ngram'}}, or None")
    known = [f.name for f in fields(Speculation)]
    for name in told:
        if name not in known:
            raise UnknownOption(name, known, "speculative")
    return Speculation(**told)
