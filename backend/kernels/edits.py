"""The edits of `lampc.backend.shaping` on a device: a few operations of torch for all rows of a step together."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from lampc.backend.shaping import Edits, process
from lampc.backend.staging import upload


def edit_rows(logits: torch.Tensor, edits: Mapping[int, Edits]) -> None:
    """Changes logits [n, vocab], float32, of rows that have edits, to the bits that `lampc.backend.shaping.edit` gives.

    Rows with processors wait for the device, go to the host and come back. Raises BackendError.
    """
    device = logits.device
    biased = {i: e for i, e in edits.items() if len(e.bias_ids)}
    if biased:
        places = _places({i: e.bias_ids for i, e in biased.items()}, device)
        bias = upload(np.concatenate([e.bias for e in biased.values()]), device)
        logits[places] = logits[places] + bias
    penalised = {i: e for i, e in edits.items() if len(e.ids)}
    if penalised:
        places = _places({i: e.ids for i, e in penalised.items()}, device)
        found = list(penalised.values())
        repetition = np.concatenate([np.full(len(e.ids), e.repetition) for e in found])
        frequency = np.concatenate([e.frequency * e.counts for e in found])
        presence = np.concatenate([e.presence * (e.counts > 0) for e in found])
        # One row each, so that one copy brings them all; every operation rounds once, as on the host.
        r, f, p = upload(np.stack([repetition, frequency, presence]), device)
        z = logits[places]
        z = torch.where(z < 0, z * r, z / r)
        logits[places] = (z - f) - p
    for i, e in edits.items():
        if e.processors:
            row = logits[i].cpu().numpy().copy()
            process(row, e)
            logits[i] = torch.from_numpy(row).to(device)


def _places(ids: Mapping[int, NDArray[np.int64]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    rows = np.concatenate([np.full(len(some), i, np.int64) for i, some in ids.items()])
    row, column = upload(np.stack([rows, np.concatenate(list(ids.values()))]), device)
    return row, column
