"""Adapters in training (Hu et al., arXiv 2106.09685): what a model's products are wrapped with, and their files.

See `lampc.backend.models.lora` for how they are served.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from lampc.backend.errors import CheckpointError, Unsupported
from lampc.backend.models.experts import Feed
from lampc.backend.models.lora import PREFIX
from lampc.backend.models.peft import CONFIG, TENSORS
from lampc.backend.models.targets import Target
from lampc.backend.models.weights import Weights
from lampc.backend.tokenizer import read_json
from lampc.backend.training.settings import ALL


class LowRank:
    """Trainable products of low rank for projections of a model, in float32: A [r, K] begins at random, B [N, r] at 0,
    or both are those of the adapter in `start`, whose rank and projections are then kept.

    Raises CheckpointError or Unsupported for a `start` that cannot be trained further.
    """

    def __init__(
        self, rank: int, alpha: float, targets: Sequence[str], seed: int, device: torch.device, start: Path | None
    ) -> None:
        self.rank, self.alpha = rank, alpha
        self._targets, self._seed, self._device = tuple(targets), seed, device
        self._file: Weights | None = None
        self._seen: set[str] = set()
        if start is not None:
            self.rank, self.alpha = _shape(start)
            self._file = Weights(start, TENSORS)
        self.tensors: dict[str, torch.Tensor] = {}

    def around(self, product: Feed, targets: Sequence[Target], width: int) -> Feed:
        """A product of rows [M, width] with what its adapters add to it."""
        self._seen.update(t.name.rpartition(".")[2] for t in targets)
        parts = [(t, self._pair(t, width)) for t in targets]
        if not any(pair for _, pair in parts):
            return product
        scale = self.alpha / self.rank

        def adapted(x: torch.Tensor) -> torch.Tensor:
            y = product(x)
            more = []
            for target, pair in parts:
                if pair is None:
                    more.append(y.new_zeros(len(y), target.size))
                    continue
                down, up = pair
                more.append((x @ down.T) @ (up if target.order is None else up[target.order]).T * scale)
            return y + torch.cat(more, dim=1)

        return adapted

    def _pair(self, target: Target, width: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        names = [f"{PREFIX}{target.name}.lora_{x}.weight" for x in "AB"]
        if self._file is not None:
            if names[0] not in self._file:
                return None
            shapes = (self.rank, width), (target.size, self.rank)
            made = [self._file.get(n, s, self._device, torch.float32) for n, s in zip(names, shapes, strict=True)]
        else:
            if ALL not in self._targets and target.name.rpartition(".")[2] not in self._targets:
                return None
            # each from a generator of its own: values do not depend on which others there are
            seed = hashlib.sha256(f"{self._seed} {target.name}".encode()).digest()
            noise = torch.Generator().manual_seed(int.from_bytes(seed[:7], "big"))
            bound = 1 / math.sqrt(width)
            down = torch.empty(self.rank, width).uniform_(-bound, bound, generator=noise)
            made = [down.to(self._device), torch.zeros(target.size, self.rank, device=self._device)]
        for name, tensor in zip(names, made, strict=True):
            self.tensors[name] = tensor.requires_grad_()
        return made[0], made[1]

    def check_all_read(self) -> None:
        """Raises CheckpointError or ValueError if an adapter is for what the model does not have."""
        if self._file is not None:
            self._file.check_all_read()
        for name in self._targets if self._file is None else ():
            if name not in (ALL, *self._seen):
                raise ValueError(
                    f"target_modules has {name!r}; the model has {', '.join(sorted(self._seen))}, or {ALL!r}"
                )
        if not self.tensors:
            raise ValueError("there is nothing to train: the model has none of the projections")

    def save(self, folder: Path, base: str) -> None:
        """The adapter in PEFT's layout; `base` is what its config says the model is."""
        save_file({n: t.detach().cpu().contiguous() for n, t in self.tensors.items()}, folder / TENSORS)
        targets = sorted({n.removesuffix(".lora_A.weight").rpartition(".")[2] for n in self.tensors if "lora_A" in n})
        entries: dict[str, Any] = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "target_modules": targets,
            "bias": "none",
            "inference_mode": True,
        }
        (folder / CONFIG).write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def _shape(folder: Path) -> tuple[int, float]:
    """Rank and alpha of an adapter. Raises CheckpointError or Unsupported."""
    config: Mapping[str, Any] = read_json(folder / CONFIG)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or not isinstance(alpha, int | float):
        raise CheckpointError(f"{folder / CONFIG}: no 'r' and 'lora_alpha'; give the folder of an adapter")
    if config.get("use_rslora") or config.get("rank_pattern"):
        raise Unsupported(f"{folder / CONFIG}: an adapter with use_rslora or rank_pattern cannot be trained further")
    return rank, float(alpha)
