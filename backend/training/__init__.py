"""Training of low-rank adapters for models of this engine: token ids in, an adapter in PEFT's layout out."""

from lampc.backend.training.pairs import Pair
from lampc.backend.training.settings import TrainingSettings
from lampc.backend.training.trainer import Step, Trainer

__all__ = ["Pair", "Step", "Trainer", "TrainingSettings"]
