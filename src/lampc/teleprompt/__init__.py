"""`lampc.teleprompt`: the optimizers that are here, under the names of `dspy.teleprompt`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.runtime.teleprompt import BootstrapFewShot, LabeledFewShot
from lampc.runtime.teleprompter import Teleprompter

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = ["BootstrapFewShot", "LabeledFewShot", "Teleprompter"]
