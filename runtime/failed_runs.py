"""What is told of the runs and proposals of an optimisation that failed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lampc.passes.optimize import BootstrapFewShot, OptimizeError, Strategy
from lampc.runtime.types import RowError

logger = logging.getLogger(__name__)

MENDABLE = ("parse", "assert")
"""Kinds of failures that other demos or instructions may do away with."""


def tell_failures(
    steps: Sequence[Strategy], runs: int, errors: Sequence[RowError], proposals: int, lost: Sequence[str]
) -> None:
    """Warn of distinct runs that failed (`errors`, of `runs`), and of proposals if all of them did.

    Raises OptimizeError if every run failed, unless of failures that an optimizer may mend. Bootstrapping alone tells
    both itself.
    """
    if errors and not all(isinstance(s, BootstrapFewShot) for s in steps):
        if hopeless(runs, errors):
            raise OptimizeError(f"every one of {runs} runs failed; the first: {errors[0]}")
        logger.warning("%d of %d runs failed; the first: %s", len(errors), runs, errors[0])
    if lost and len(lost) == proposals:
        logger.warning("every one of %d proposals failed; the first: %s", proposals, lost[0])


def hopeless(runs: int, errors: Sequence[RowError]) -> bool:
    """Whether nothing ran that other parameters could make better."""
    return len(errors) >= runs and not any(e.kind in MENDABLE for e in errors)
