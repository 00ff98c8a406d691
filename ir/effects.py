"""Effects as traits: what a pass may do with an op without changing what the program means."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lampc.ir.core import Op


class Trait(Enum):
    """What holds for every op of a class."""

    PURE = "pure"  # may be merged with its equal, moved, or dropped
    SAMPLES = "samples"  # draws from a model: may be dropped; merged only when greedy or equally keyed
    CALLS = "calls"  # runs the user's code; its `effect` attribute says what that code may do
    TERMINATOR = "terminator"
    DEFINITION = "definition"  # module-level, named by a symbol

    __hash__ = object.__hash__  # members are single objects; passes ask for traits of every op many times


EFFECTS = ("pure", "unordered", "effect")
"""Values of the `effect` attribute of `CALLS` ops: no effect; effects in any order; effects in order."""


def is_pure(op: Op) -> bool:
    """Whether the op and all it contains have no effect and draw no random numbers."""
    if Trait.CALLS in op.traits:
        own = op.attrs.get("effect", "effect") == "pure"
    else:
        own = Trait.PURE in op.traits or Trait.TERMINATOR in op.traits
    return own and all(is_pure(o) for r in op.regions for o in r.ops)


def is_droppable(op: Op) -> bool:
    """Whether the op may be removed when nothing uses its results."""
    if Trait.TERMINATOR in op.traits or Trait.DEFINITION in op.traits or not op.results:
        return False
    if Trait.CALLS in op.traits and op.attrs.get("effect", "effect") != "pure":
        return False
    return all(is_droppable(o) or Trait.TERMINATOR in o.traits for r in op.regions for o in r.ops) and bool(
        {Trait.PURE, Trait.SAMPLES, Trait.CALLS} & op.traits
    )


def is_greedy(op: Op) -> bool:
    """Whether a `SAMPLES` op surely takes the most likely token each time."""
    sampling = getattr(op, "sampling", None)  # the property: a default is not among the attributes
    return sampling is not None and getattr(sampling, "temperature", 1.0) == 0.0


def is_mergeable(a: Op, b: Op) -> bool:
    """Whether two ops, equal in name, operands and attributes other than `key`, are one computation."""
    if Trait.SAMPLES in a.traits:
        return (is_greedy(a) and is_greedy(b)) or a.attrs.get("key") == b.attrs.get("key")
    return is_pure(a) and is_pure(b)
