"""`lampc.teleprompt`: the optimizers that are here, under the names of `dspy.teleprompt`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.runtime.optimizers.base import Teleprompter
from lampc.runtime.optimizers.bootstrap import BootstrapFewShot
from lampc.runtime.optimizers.copro import COPRO
from lampc.runtime.optimizers.ensemble import Ensemble
from lampc.runtime.optimizers.knn import KNNFewShot
from lampc.runtime.optimizers.labeled import LabeledFewShot
from lampc.runtime.optimizers.mipro import MIPROv2

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = ["COPRO", "BootstrapFewShot", "Ensemble", "KNNFewShot", "LabeledFewShot", "MIPROv2", "Teleprompter"]
