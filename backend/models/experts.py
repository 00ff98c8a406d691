"""A feed-forward part made of experts, of which every row goes through a few (Shazeer et al., arXiv 1701.06538).

All rows of an expert are computed together; an expert that no row has chosen costs nothing. What a row gets does not
depend on how many rows share its experts: products go through the rows' scheme, and what its experts give is added up
in the order of experts. Routers are never rounded to eight bits: a row would go through other experts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import torch

from lampc.backend.models.checkpoint import Projection
from lampc.backend.models.layers import elementwise, row_sums

Feed = Callable[[torch.Tensor], torch.Tensor]
"""A feed-forward part: rows [M, hidden] to [M, hidden]."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """`count` experts of `intermediate` inner values; a row goes through the `chosen` that are likeliest for it.

    `normalised`: their weights add up to 1; else they are what they are among those of all experts. `place` is where
    they stand within a layer's weights, and `names` those of gate, up and down there.
    """

    count: int
    chosen: int
    intermediate: int
    normalised: bool
    place: str = "mlp"
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj")


class MlpWeights(NamedTuple):
    """Of a feed-forward part, or of an expert: weights [N, K] with biases [N]."""

    gate_up: Projection  # [2 * intermediate, hidden]
    down: Projection


class ExpertWeights(NamedTuple):
    """`experts` is read once, so that not all need be held twice."""

    mixture: Mixture
    router: torch.Tensor  # [count, hidden]
    experts: Iterable[MlpWeights]


def route(logits: torch.Tensor, mixture: Mixture) -> tuple[torch.Tensor, torch.Tensor]:
    """The experts of each row, int64 [M, chosen], likeliest first, and their weights, float32, of logits [M, count]."""
    wide = logits.float()
    likely = elementwise(torch.exp, wide - wide.amax(1, keepdim=True))
    top, experts = (likely / row_sums(likely)).topk(mixture.chosen, dim=1)
    return experts, top / row_sums(top) if mixture.normalised else top


class Experts:
    """Those from `first` on; `router` gives logits [M, count] of rows."""

    def __init__(self, mixture: Mixture, router: Feed, experts: Sequence[Feed], first: int = 0) -> None:
        self._mixture = mixture
        self._router = router
        self._experts = experts
        self._first = first

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [M, hidden] through all experts, in x's dtype."""
        return self.sums(x, [(0, self._mixture.count)])[0].to(x.dtype)

    def sums(self, x: torch.Tensor, parts: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        """What the experts begin .. end - 1 of each part add to the rows of x [M, hidden], in float32."""
        chosen, weights = route(self._router(x), self._mixture)
        flat = chosen.flatten()
        order = flat.argsort(stable=True)
        counts = torch.bincount(flat, minlength=self._mixture.count).tolist()
        ends = list(accumulate(counts))
        rows = order.div(self._mixture.chosen, rounding_mode="floor")
        weights = weights.flatten()[order].unsqueeze(1)
        found = []
        for begin, end in parts:
            total = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
            for expert in range(begin, end):
                if counts[expert]:
                    some = slice(ends[expert] - counts[expert], ends[expert])
                    at = rows[some]
                    more = self._experts[expert - self._first](x[at]).float() * weights[some]
                    total.index_copy_(0, at, total[at] + more)
            found.append(total)
        return found
