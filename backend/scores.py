"""How products of queries and keys become scores."""

import math
from dataclasses import dataclass

import torch

from lampc.backend.models.layers import soft_cap

_BITS = math.log2(math.e)  # weights are powers of two: exp2 of scores that are multiplied by this


@dataclass(frozen=True, slots=True)
class Scores:
    """q . k / sqrt(`divisor`); with a `cap` of that cap * tanh(x / cap), which never leaves -cap .. cap.

    The divisor is the head size in most models. Capping: Bello et al., arXiv 1611.09940.
    """

    divisor: float
    cap: float | None = None

    @property
    def factor(self) -> float:
        """What products are multiplied with, in powers of two."""
        return _BITS / math.sqrt(self.divisor)

    @property
    def limit(self) -> float:
        """The cap in powers of two, 0 if there is none."""
        return 0.0 if self.cap is None else self.cap * _BITS

    def __call__(self, products: torch.Tensor) -> torch.Tensor:
        """Scores in powers of two of products [...], which are float32, in one piece, and lost."""
        scores = products.mul_(self.factor)
        return scores if self.cap is None else soft_cap(scores, self.limit)


def scores_of(model: object, head_dim: int) -> Scores:
    """Those of a model: what it says as `scores`, else by the head size and without a cap."""
    found = getattr(model, "scores", None)
    return found if isinstance(found, Scores) else Scores(head_dim)
