"""Optimizers: passes over parameters (instructions, demos) against a metric, with an ask/tell face.

They are handed results of runs and never run anything themselves; `lampc.runtime.driver` runs what they ask for.
"""

from lampc.passes.optimize.bootstrap import BootstrapFewShot
from lampc.passes.optimize.compose import Compose
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
from lampc.passes.optimize.labeled import LabeledFewShot
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
from lampc.passes.optimize.registry import OPTIMIZERS, findings, optimizer, optimizers

__all__ = [
    "OPTIMIZERS",
    "TEACHER",
    "BootstrapFewShot",
    "CallJob",
    "CallResult",
    "Candidate",
    "Compose",
    "Demand",
    "EmbedJob",
    "EmbedResult",
    "EvaluateJob",
    "EvaluateResult",
    "Example",
    "FeedbackJob",
    "FeedbackResult",
    "InstructionSearch",
    "Job",
    "LabeledFewShot",
    "OptimizeError",
    "Optimizer",
    "ParameterSearch",
    "Problem",
    "RandomDemos",
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
