"""Options of a training, under the names that DSPy's local trainer and PEFT give them."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from lampc.backend.errors import UnknownOption, Unsupported

ALL = "all-linear"


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """See the module's text.

    A step takes `per_device_train_batch_size` times `gradient_accumulation_steps` pairs, the former at once: that, and
    `max_seq_length` (in tokens; 0: the model's context), bound the memory. Pairs that are longer are left out.
    `learning_rate` rises over the first `warmup_ratio` of the steps and falls in a line to 0 at the end. `max_steps`
    (0: none) ends the training early. `target_modules` are projections by the last part of their names. A checkpoint
    is due every `save_steps`. Raises ValueError for values out of range.
    """

    rank: int = 8
    lora_alpha: float = 16.0
    target_modules: tuple[str, ...] = (ALL,)
    learning_rate: float = 1e-3
    num_train_epochs: int = 5
    per_device_train_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    max_seq_length: int = 0
    max_steps: int = 0
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    save_steps: int = 20
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("rank", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"):
            _whole(name, getattr(self, name), 1)
        for name in ("max_seq_length", "max_steps", "seed"):
            _whole(name, getattr(self, name), 0)
        _whole("save_steps", self.save_steps, 1)
        for name in ("lora_alpha", "learning_rate", "max_grad_norm"):
            _number(name, getattr(self, name), positive=True)
        for name in ("warmup_ratio", "weight_decay"):
            _number(name, getattr(self, name), positive=False)
        if self.warmup_ratio > 1:
            raise ValueError(f"warmup_ratio is {self.warmup_ratio}; give a share of the steps, 0 to 1")
        if not self.target_modules:
            raise ValueError(f"target_modules is empty; give names of projections, or {ALL!r}")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "TrainingSettings":
        """From options by name. Raises UnknownOption, Unsupported or ValueError."""
        given = dict(options)
        if given.pop("use_peft", True) is not True:
            raise Unsupported("use_peft is false: only adapters are trained here; leave it out, or say true")
        if given.pop("bf16", False) is not False:
            raise Unsupported("bf16 is true: training computes in float32; leave it out")
        given.pop("packing", None)  # what stands side by side in a batch never sees each other, with it and without
        if "r" in given:
            given["rank"] = given.pop("r")
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known:
                raise UnknownOption(name, [*known, "output_dir"], "a training")
        targets = given.get("target_modules", ALL)
        given["target_modules"] = (targets,) if isinstance(targets, str) else tuple(targets)
        return cls(**{n: v for n, v in given.items() if v is not None})

    def steps(self, pairs: int) -> int:
        """How many steps there are for so many pairs."""
        whole = -(-pairs // self.step_pairs) * self.num_train_epochs
        return min(whole, self.max_steps) if self.max_steps else whole

    @property
    def step_pairs(self) -> int:
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = math.ceil(self.warmup_ratio * steps)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * (steps - step) / max(1, steps - warm)

    def outcome(self) -> dict[str, Any]:
        """What of them decides the result: all but when checkpoints are due."""
        return {n: v for n, v in asdict(self).items() if n != "save_steps"}


def _whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} is {value!r}; give a whole number from {least} on")


def _number(name: str, value: Any, positive: bool) -> None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or value < 0 or (positive and not value):
        raise ValueError(
            f"{name} is {value!r}; give a number {'above' if positive else 'from'} 0{'' if positive else ' on'}"
        )
