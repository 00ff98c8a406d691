"""What a task is: a sampler of examples, and wordings that ask for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from firefly.prompts import Example

Sampler = Callable[[Random], Example]


@dataclass(frozen=True)
class Kit:
    """One concrete case of a task, for instance one choice of labels."""

    sample: Sampler
    options: tuple[str, ...] = ()
    fill: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A family of examples and how people ask for it.

    ``inputs`` and ``outputs`` hold candidate names for each field; ``types``
    are the types of the outputs, ``listed`` marks an input that is a list.
    ``hidden`` says that the input does not give the operation away.
    """

    name: str
    kit: Callable[[Random], Kit]
    precise: tuple[str, ...]
    semi: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ("text|input|words|list|items|query|data|value",)
    outputs: tuple[str, ...] = ("answer|output|result|label|response|value",)
    types: tuple[str, ...] = ("str",)
    in_types: tuple[str, ...] = ()
    hidden: bool = True
    weight: float = 1.0
    seen: bool = True


def plain(sample: Sampler) -> Callable[[Random], Kit]:
    """A task without anything to choose per episode."""
    kit = Kit(sample)
    return lambda rng: kit
