"""Numbers between host and device without waiting for the device: a step is launched while the one before it computes.

To the device they go through pinned memory of their own, which torch hands out again only when the copy is over: what
the caller has may change at once. On the CPU nothing is copied that need not be.
"""

import numpy as np
import torch
from numpy.typing import NDArray


def upload(values: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """The values on the device; on the CPU they are the same memory."""
    if device.type != "cuda":
        return torch.from_numpy(values).to(device)
    return _pinned(values).to(device, non_blocking=True)


def fill(there: torch.Tensor, values: NDArray[np.generic]) -> None:
    """Copies values into a tensor, in the order of its stream."""
    there.copy_(_pinned(values) if there.is_cuda else torch.from_numpy(values), non_blocking=True)


class Arriving:
    """Tensors of one device on their way to the host. What is launched later may overwrite them on a GPU."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._event: torch.cuda.Event | None = None
        self._here = tensors
        if not tensors[0].is_cuda:
            return
        self._here = tuple(torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors)
        for here, there in zip(self._here, tensors, strict=True):
            here.copy_(there, non_blocking=True)
        self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._event.record()

    def get(self) -> tuple[torch.Tensor, ...]:
        """Waits for them; on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._here


def gather(ids: torch.Tensor, sources: NDArray[np.int64], drawn: torch.Tensor) -> None:
    """Sets ids[i] to drawn[sources[i]] where that is not negative. All int64, ids and drawn on one device.

    A token that could not be drawn (-1) becomes 0: whoever waits for it raises, and nothing that it led to counts.
    """
    index = upload(sources, drawn.device)
    found = drawn[index.clamp(min=0)].clamp(min=0)
    mine = ids[: len(sources)]
    mine.copy_(torch.where(index < 0, mine, found))


def _pinned(values: NDArray[np.generic]) -> torch.Tensor:
    here = torch.empty(values.shape, dtype=torch.from_numpy(values).dtype, pin_memory=True)
    here.numpy()[...] = values  # torch would wake all its threads to copy a table
    return here
