"""Muon for the matrices of the blocks: momentum with an orthogonalised step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Push the singular values of a stack of matrices towards one (quintic Newton-Schulz)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Equal shapes are updated as one stack, which keeps the number of small calls low."""

    def __init__(self, params: Sequence[Tensor], lr: float, momentum: float = 0.95, decay: float = 0.05):
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update with Nesterov momentum and decoupled weight decay."""
        for group in self.param_groups:
            stacks: dict[tuple[int, ...], list[Tensor]] = {}
            for param in group["params"]:
                if param.grad is not None:
                    stacks.setdefault(tuple(param.shape), []).append(param)
            for shape, params in stacks.items():
                grads = []
                for param in params:
                    state = self.state[param]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(param)
                    buffer = state["momentum"]
                    gradient = param.grad
                    assert gradient is not None
                    buffer.lerp_(gradient, 1 - group["momentum"])
                    grads.append(gradient.lerp(buffer, group["momentum"]))
                updates = orthogonalise(torch.stack(grads)).to(params[0].dtype)
                scale = 0.2 * max(shape) ** 0.5
                for param, update in zip(params, updates, strict=True):
                    param.mul_(1 - group["lr"] * group["decay"])
                    param.add_(update, alpha=-group["lr"] * scale)
