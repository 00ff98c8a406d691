"""Which proposer a strategy's options mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lampc.passes.optimize.proposers.edits import Edits
from lampc.passes.optimize.proposers.pool import Pool
from lampc.passes.optimize.proposers.protocol import Proposer
from lampc.passes.optimize.proposers.templates import Templates
from lampc.passes.optimize.protocol import OptimizeError

WITHOUT_MODEL = ("pool", "templates", "edits")


def chosen(who: str, proposer: Any, pool: Any, base: Path, written: Proposer, seed: int) -> Proposer:
    """A proposer as it is, or by its name: `pool`, `templates`, `edits`, or that of `written`, which asks a model.

    Empty: `pool` if there is one, else `written`. `pool` holds the texts of a pool, or the templates. Raises
    OptimizeError, naming `who`.
    """
    if not isinstance(proposer, str):
        return proposer  # type: ignore[no-any-return]
    match proposer or ("pool" if pool else written.name):
        case "pool":
            return Pool(pool, base)
        case "templates":
            return Templates(tuple(pool)) if pool else Templates()
        case "edits":
            return Edits(seed=seed)
        case name if name == written.name:
            return written
        case name:
            known = ", ".join((*WITHOUT_MODEL, written.name))
            raise OptimizeError(f"{who}: there is no proposer `{name}`; known: {known}")
