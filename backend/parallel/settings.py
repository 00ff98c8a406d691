"""What all ranks of an engine must agree on; it travels as JSON."""

import json
from dataclasses import asdict, dataclass

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Settings:
    """`device` is "cpu" or "cuda"; `slots` the size of the KV cache in tokens, on each rank; `backend` and `kernels`
    are as in `lampc.backend.kernel_choice`, the latter a digest; `int8` says it of K/V; `threads` those of each rank;
    `host_blocks` of `block_size` tokens are each rank's second tier of K/V, in host memory; `timeout_s` how long one
    may keep the others waiting; `halve_from` how many rows a step must have to be computed in two halves. Where `trace`
    names a folder, every rank writes there what it did when, once it ends.
    """

    folder: str
    ranks: int
    device: str
    dtype: str
    exact: bool
    backend: str
    kernels: str
    int8: bool
    int8_weights: bool
    context_length: int | None
    slots: int
    host_blocks: int
    block_size: int
    timeout_s: float
    threads: int
    halve_from: int = 128
    trace: str = ""

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Settings":
        """What `to_json` wrote."""
        return cls(**json.loads(text))
