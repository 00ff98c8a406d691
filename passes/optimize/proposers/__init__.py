"""Proposers of instructions: out of a pool, of templates, by edits, or written by a model."""

from lampc.passes.optimize.proposers.attempts import Attempts
from lampc.passes.optimize.proposers.choose import chosen
from lampc.passes.optimize.proposers.edits import Edits
from lampc.passes.optimize.proposers.grounded import TIPS, Grounded
from lampc.passes.optimize.proposers.pool import Pool, pool_texts
from lampc.passes.optimize.proposers.protocol import Calls, Drafted, Drafting, Proposer, Wish
from lampc.passes.optimize.proposers.reflect import Reflect
from lampc.passes.optimize.proposers.templates import Templates

__all__ = [
    "TIPS",
    "Attempts",
    "Calls",
    "Drafted",
    "Drafting",
    "Edits",
    "Grounded",
    "Pool",
    "Proposer",
    "Reflect",
    "Templates",
    "Wish",
    "chosen",
    "pool_texts",
]
