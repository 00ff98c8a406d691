"""Rotary position embeddings and the ways to stretch them.

Su et al., arXiv 2104.09864. Frequencies are fixed when the model is loaded: those of a prefix must not depend on
how long its text becomes, else nothing could be shared. Where the published scheme makes them depend on the
length ("dynamic", "longrope"), the length is the engine's context length.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import pad

from lampc.backend.errors import Unsupported
from lampc.backend.models.fields import Fields


@dataclass(frozen=True, slots=True)
class _Plain:
    """What the schemes start from."""

    dim: int
    theta: float
    trained: int  # positions that config.json gives the model
    original: int  # positions before it was stretched
    context: int  # positions of the engine

    def frequencies(self, theta: float | None = None) -> torch.Tensor:
        exponents = torch.arange(0, self.dim, 2, dtype=torch.int64).float() / self.dim
        return 1.0 / (theta or self.theta) ** exponents


Scaled = tuple[torch.Tensor, float]
"""Frequencies [D / 2] in radians per position, and a factor on cos and sin."""


@dataclass(frozen=True, slots=True, eq=False)
class Rope:
    """Frequencies [D / 2], float32, and the factor on cos and sin, for positions below `context`.

    The last `still` of D / 2 pairs have no frequency and are not rotated, whatever the factor.
    """

    kind: str
    frequencies: torch.Tensor
    scale: float
    context: int
    still: int = 0

    @classmethod
    def read(cls, fields: Fields, head_dim: int, context: int | None, rotary: int | None = None) -> "Rope":
        """From a config's rope_scaling or rope_parameters, rope_theta and max_position_embeddings.

        `rotary` values of each head are rotated, None for all: see `rotary_size` and `rotary_rows`. `context` asks for
        other positions than max_position_embeddings: fewer, or up to the stretched length.
        Raises CheckpointError, Unsupported or ValueError.
        """
        rope = fields.section("rope_scaling" if fields.values.get("rope_scaling") else "rope_parameters")
        kind = rope.values.get("rope_type", rope.values.get("type", "default"))
        if kind not in _SCHEMES or any(isinstance(value, dict) for value in rope.values.values()):
            raise Unsupported(
                f"{fields.path}: rope scaling {rope.values!r}; supported are the types {', '.join(_SCHEMES)}, "
                "one for all layers"
            )
        for place in (fields, rope) if rotary is None else ():
            place.only("partial_rotary_factor", 1.0)
        trained = fields.count("max_position_embeddings")
        original = fields if "original_max_position_embeddings" in fields else rope
        plain = _Plain(
            dim=rotary or head_dim,
            theta=rope.number("rope_theta", fields.number("rope_theta", 10000.0)),
            trained=trained,
            original=original.count("original_max_position_embeddings", trained),
            context=context or trained,
        )
        most = trained
        if kind != "default" and "factor" in rope:
            most = max(most, int(rope.number("factor") * plain.original))
        if plain.context > most:
            raise ValueError(
                f"context_length {plain.context} is more than the {most} positions of {fields.path}; ask for fewer"
            )
        return cls(kind, *_SCHEMES[kind](plain, rope), plain.context, (head_dim - plain.dim) // 2)

    def tables(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """cos and sin [context, D / 2], float32."""
        angles = torch.outer(torch.arange(self.context).float(), self.frequencies)
        cos, sin = angles.cos() * self.scale, angles.sin() * self.scale
        return pad(cos, (0, self.still), value=1.0).to(device), pad(sin, (0, self.still)).to(device)


def rotary_size(fields: Fields, head_dim: int) -> int | None:
    """How many values of each head are rotated, by a config's partial_rotary_factor; None for all.

    Raises CheckpointError.
    """
    name = "partial_rotary_factor"
    place = next((x for x in (fields, *map(fields.section, ("rope_scaling", "rope_parameters"))) if name in x), fields)
    size = int(place.number(name, 1.0) * head_dim)
    if not 0 < size <= head_dim or size % 2:
        raise place.wrong(name, f"such that it gives an even part of {head_dim} values")
    return size if size < head_dim else None


def rotary_rows(heads: int, head_dim: int, rotary: int) -> torch.Tensor:
    """Rows [heads * D] of a projection to q or k in the order in which pairs lie half a head apart, rotated pairs
    first, though only the first `rotary` values of a head make pairs. q and k are reordered alike: no score changes."""
    half = rotary // 2
    rest = torch.arange(rotary, head_dim).chunk(2)
    order = torch.cat([torch.arange(half), rest[0], torch.arange(half, rotary), rest[1]])
    return (torch.arange(heads).unsqueeze(1) * head_dim + order).flatten()


def _default(plain: _Plain, rope: Fields) -> Scaled:
    return plain.frequencies(), 1.0


def _linear(plain: _Plain, rope: Fields) -> Scaled:
    """Position interpolation: Chen et al., arXiv 2306.15595."""
    return plain.frequencies() / rope.number("factor"), 1.0


def _dynamic(plain: _Plain, rope: Fields) -> Scaled:
    """NTK-aware scaling: theta grows with the context, if that is longer than what the model was trained on."""
    factor = rope.number("factor")
    growth = factor * max(plain.context, plain.trained) / plain.trained - (factor - 1)
    return plain.frequencies(plain.theta * growth ** (plain.dim / (plain.dim - 2))), 1.0


def _yarn(plain: _Plain, rope: Fields) -> Scaled:
    """Peng et al., arXiv 2309.00071: high frequencies stay, low ones are divided, a ramp lies between."""
    factor = rope.number("factor", plain.trained / plain.original)
    last = plain.dim - 1

    def pair(turns: float) -> float:
        """Index of the frequency that makes this many turns over the original context."""
        return plain.dim * math.log(plain.original / (turns * 2 * math.pi)) / (2 * math.log(plain.theta))

    low, high = pair(rope.number("beta_fast", 32.0)), pair(rope.number("beta_slow", 1.0))
    if rope.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, last)
    span = high - low if high != low else 0.001
    ramp = ((torch.arange(plain.dim // 2).float() - low) / span).clamp(0, 1)
    frequencies = plain.frequencies()
    mixed = frequencies / factor * ramp + frequencies * (1 - ramp)

    def temperature(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    scale = temperature(1.0)
    if "mscale" in rope and "mscale_all_dim" in rope:
        scale = temperature(rope.number("mscale")) / temperature(rope.number("mscale_all_dim"))
    return mixed, rope.number("attention_factor", scale)


def _llama3(plain: _Plain, rope: Fields) -> Scaled:
    """Llama 3.1's published scheme: by wavelength, with a blend between kept and divided frequencies."""
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if high <= low:
        raise rope.wrong("high_freq_factor", f"more than low_freq_factor, {low}")
    frequencies = plain.frequencies()
    turns = plain.original * frequencies / (2 * math.pi)
    keep = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - keep) * frequencies / rope.number("factor") + keep * frequencies, 1.0


def _longrope(plain: _Plain, rope: Fields) -> Scaled:
    """Ding et al., arXiv 2402.13753: a divisor per frequency, of two sets by the context."""
    name = "long_factor" if plain.context > plain.original else "short_factor"
    divisors = torch.tensor(rope.numbers(name, plain.dim // 2))
    factor = rope.number("factor", plain.trained / plain.original)
    scale = math.sqrt(1 + math.log(factor) / math.log(plain.original)) if factor > 1 else 1.0
    return plain.frequencies() / divisors, rope.number("attention_factor", scale)


_SCHEMES: dict[str, Callable[[_Plain, Fields], Scaled]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _longrope,
}
