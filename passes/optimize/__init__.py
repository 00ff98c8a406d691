"""Optimizers: passes over parameters (instructions, demos) against a metric, with an ask/tell face.

They are handed results of runs and never run anything themselves; `lampc.runtime.driver` runs what they ask for.
"""

from lampc.passes.optimize.better_together import BetterTogether
from lampc.passes.optimize.bootstrap import BootstrapFewShot
from lampc.passes.optimize.bootstrap_optuna import BootstrapOptuna
from lampc.passes.optimize.cascade import Cascade
from lampc.passes.optimize.compose import Compose
from lampc.passes.optimize.copro import COPRO
from lampc.passes.optimize.demo_sets import DemoSets
from lampc.passes.optimize.finetune import BootstrapFinetune
from lampc.passes.optimize.fuse import Fuse
from lampc.passes.optimize.gepa import GEPA
from lampc.passes.optimize.infer_rules import InferRules
from lampc.passes.optimize.instructions import InstructionSearch
from lampc.passes.optimize.jobs import (
    TEACHER,
    CallJob,
    CallResult,
    EmbedJob,
    EmbedResult,
    EvaluateJob,
    EvaluateResult,
    FeedbackJob,
    FeedbackResult,
    Job,
    Result,
    RunJob,
    RunResult,
    TracedCall,
    TrainJob,
    TrainResult,
)
from lampc.passes.optimize.joint import JointSearch
from lampc.passes.optimize.labeled import LabeledFewShot
from lampc.passes.optimize.mipro import MIPROv2
from lampc.passes.optimize.parameters import ParameterSearch
from lampc.passes.optimize.protocol import (
    Candidate,
    Demand,
    Example,
    OptimizeError,
    Optimizer,
    Problem,
    Strategy,
)
from lampc.passes.optimize.random_demos import RandomDemos
from lampc.passes.optimize.random_search import RandomSearch
from lampc.passes.optimize.registry import OPTIMIZERS, findings, optimizer, optimizers
from lampc.passes.optimize.simba import SIMBA

__all__ = [
    "COPRO",
    "GEPA",
    "OPTIMIZERS",
    "SIMBA",
    "TEACHER",
    "BetterTogether",
    "BootstrapFewShot",
    "BootstrapFinetune",
    "BootstrapOptuna",
    "CallJob",
    "CallResult",
    "Candidate",
    "Cascade",
    "Compose",
    "Demand",
    "DemoSets",
    "EmbedJob",
    "EmbedResult",
    "EvaluateJob",
    "EvaluateResult",
    "Example",
    "FeedbackJob",
    "FeedbackResult",
    "Fuse",
    "InferRules",
    "InstructionSearch",
    "Job",
    "JointSearch",
    "LabeledFewShot",
    "MIPROv2",
    "OptimizeError",
    "Optimizer",
    "ParameterSearch",
    "Problem",
    "RandomDemos",
    "RandomSearch",
    "Result",
    "RunJob",
    "RunResult",
    "Strategy",
    "TracedCall",
    "TrainJob",
    "TrainResult",
    "findings",
    "optimizer",
    "optimizers",
]
