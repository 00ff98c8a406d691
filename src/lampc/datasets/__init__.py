"""`lampc.datasets`: loading examples, under the names of `dspy.datasets`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.runtime.loading import DataLoader

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = ["DataLoader"]
