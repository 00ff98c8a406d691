"""What the layers of one step attend with: a function for models, and a structure for kernels."""

from collections.abc import Callable

import numpy as np
import torch

from lampc.backend.native.shared_library import address

Call = Callable[[int, torch.Tensor, torch.Tensor, torch.Tensor], None]


class NativeAttend:
    """An `Attend` of `lampc.backend.models.layers` whose results are always in `out` [M, heads, D]. Kernels that do
    whole layers are given `at`, the address of its structure (`attending.h`).

    It holds for its step, and what is in `out` until the next one.
    """

    __slots__ = ("_call", "_held", "_structure", "at", "out", "out_at")

    def __init__(self, call: Call, structure: list[int], out: torch.Tensor, out_at: int, held: object) -> None:
        self._call, self._held = call, held  # all that the kernels read
        self._structure = np.array(structure, np.int64)
        self.at = address(self._structure)
        self.out, self.out_at = out, out_at

    def __call__(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        self._call(layer, q, k, v)
        return self.out
