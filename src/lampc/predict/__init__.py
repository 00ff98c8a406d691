"""`lampc.predict`: the modules, under the names of `dspy.predict`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.frontend.python.modules.best_of_n import BestOfN
from lampc.frontend.python.modules.code_act import CodeAct
from lampc.frontend.python.modules.code_rlm import RLM
from lampc.frontend.python.modules.code_thought import ProgramOfThought
from lampc.frontend.python.modules.comparison import MultiChainComparison
from lampc.frontend.python.modules.knn import KNN
from lampc.frontend.python.modules.majority import majority
from lampc.frontend.python.modules.parallel import Parallel
from lampc.frontend.python.modules.react import ReAct
from lampc.frontend.python.modules.react_v2 import ReActV2
from lampc.frontend.python.modules.refine import Refine
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.frontend.python.tools.tool import Tool

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = [
    "KNN",
    "RLM",
    "BestOfN",
    "ChainOfThought",
    "CodeAct",
    "MultiChainComparison",
    "Parallel",
    "Predict",
    "ProgramOfThought",
    "ReAct",
    "ReActV2",
    "Refine",
    "Tool",
    "majority",
]
