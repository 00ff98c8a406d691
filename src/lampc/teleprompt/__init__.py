"""`lampc.teleprompt`: the optimizers that are here, under the names of `dspy.teleprompt`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.runtime.optimizers.base import Teleprompter
from lampc.runtime.optimizers.better_together import BetterTogether
from lampc.runtime.optimizers.bootstrap import BootstrapFewShot
from lampc.runtime.optimizers.copro import COPRO
from lampc.runtime.optimizers.ensemble import Ensemble
from lampc.runtime.optimizers.finetune import BootstrapFinetune
from lampc.runtime.optimizers.gepa import GEPA
from lampc.runtime.optimizers.infer_rules import InferRules
from lampc.runtime.optimizers.knn import KNNFewShot
from lampc.runtime.optimizers.labeled import LabeledFewShot
from lampc.runtime.optimizers.mipro import MIPROv2
from lampc.runtime.optimizers.optuna_search import BootstrapFewShotWithOptuna
from lampc.runtime.optimizers.random_search import BootstrapFewShotWithRandomSearch
from lampc.runtime.optimizers.simba import SIMBA
from lampc.runtime.optimizers.traces import bootstrap_trace_data

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = [
    "COPRO",
    "GEPA",
    "SIMBA",
    "BetterTogether",
    "BootstrapFewShot",
    "BootstrapFewShotWithOptuna",
    "BootstrapFewShotWithRandomSearch",
    "BootstrapFinetune",
    "Ensemble",
    "InferRules",
    "KNNFewShot",
    "LabeledFewShot",
    "MIPROv2",
    "Teleprompter",
    "bootstrap_trace_data",
]
