"""lampc, the compiler for LM programs: `import lampc`, or `import lampc as dspy`.

    class QA(lampc.Signature):
        \"\"\"Answer the question.\"\"\"
        question: str = lampc.InputField()
        answer: str = lampc.OutputField(desc="one to five words")

    lampc.configure(model="firefly")
    print(lampc.ChainOfThought(QA)(question="What is the capital of France?").answer)

Everything is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lampc._names import HOMES, MODULES

if TYPE_CHECKING:
    from lampc import (
        adapters,
        clients,
        datasets,
        dsp,
        evaluate,
        experimental,
        predict,
        primitives,
        propose,
        retrievers,
        signatures,
        streaming,
        teleprompt,
        utils,
    )
    from lampc.frontend.python.awaiting import asyncify, syncify
    from lampc.frontend.python.calllog import inspect_history
    from lampc.frontend.python.conversation import Conversation, conversing
    from lampc.frontend.python.data import case as test
    from lampc.frontend.python.data import dataset, exact_match, f1, metric, normalize, optimize
    from lampc.frontend.python.declare import argmax, tune, vote
    from lampc.frontend.python.example import Completions, Example, Prediction
    from lampc.frontend.python.fields import InputField, OutputField, infer_prefix
    from lampc.frontend.python.fields import InputField as OldInputField
    from lampc.frontend.python.fields import OutputField as OldOutputField
    from lampc.frontend.python.freezing import freeze
    from lampc.frontend.python.load import load_python
    from lampc.frontend.python.logs import (
        disable_litellm_logging,
        disable_logging,
        enable_litellm_logging,
        enable_logging,
    )
    from lampc.frontend.python.module import Module
    from lampc.frontend.python.module import Module as BaseModule
    from lampc.frontend.python.modules.best_of_n import BestOfN
    from lampc.frontend.python.modules.code_act import CodeAct
    from lampc.frontend.python.modules.code_repl import SandboxSerializable
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
    from lampc.frontend.python.program import program
    from lampc.frontend.python.retrieval import Retrieve, retriever
    from lampc.frontend.python.signature import Signature, SignatureMeta, ensure_signature, make_signature
    from lampc.frontend.python.tools.calls import ToolCallResults, ToolCalls
    from lampc.frontend.python.tools.interpreter import (
        CodeExecutionError,
        CodeInterpreter,
        CodeInterpreterError,
        FinalOutput,
    )
    from lampc.frontend.python.tools.interpreter import interpreter_factory as resolve_interpreter_factory
    from lampc.frontend.python.tools.tool import Tool, pure, tool, unordered
    from lampc.frontend.python.tracing import trace
    from lampc.frontend.python.types.audio import Audio
    from lampc.frontend.python.types.base import Type
    from lampc.frontend.python.types.code import Code
    from lampc.frontend.python.types.file import File
    from lampc.frontend.python.types.history import History
    from lampc.frontend.python.types.image import Image
    from lampc.frontend.python.types.reasoning import Reasoning
    from lampc.ir.adapters.base import ParseFailure as AdapterParseError
    from lampc.ir.diag import CompileError
    from lampc.ir.errors import (
        ContextWindowExceededError,
        DSPyError,
        LMAuthError,
        LMBillingError,
        LMCollectionLimitError,
        LMConfigurationError,
        LMError,
        LMInvalidRequestError,
        LMLockTimeoutError,
        LMNotConfiguredError,
        LMProviderError,
        LMRateLimitError,
        LMServerError,
        LMStreamAssemblyError,
        LMTimeoutError,
        LMTransportError,
        LMUnexpectedError,
        LMUnsupportedFeatureError,
        LMUnsupportedModelError,
        is_retryable_lm_error,
    )
    from lampc.ir.settings import settings
    from lampc.ir.templates.template import Template
    from lampc.ir.usage import UsageTracker, track_usage
    from lampc.passes.optimize.protocol import OptimizeError
    from lampc.runtime.cache import CallCache, configure_cache
    from lampc.runtime.configure import configure, context, load_settings
    from lampc.runtime.evaluation.evaluate import Evaluate
    from lampc.runtime.interop.engine import DspyEngine
    from lampc.runtime.interop.modules import from_dspy
    from lampc.runtime.lm import LM, BaseLM
    from lampc.runtime.mcp import MCPError, MCPServer
    from lampc.runtime.optimizers.better_together import BetterTogether
    from lampc.runtime.optimizers.bootstrap import BootstrapFewShot
    from lampc.runtime.optimizers.cascade import Cascade
    from lampc.runtime.optimizers.copro import COPRO
    from lampc.runtime.optimizers.ensemble import Ensemble
    from lampc.runtime.optimizers.finetune import BootstrapFinetune
    from lampc.runtime.optimizers.fuse import Fuse
    from lampc.runtime.optimizers.gepa import GEPA
    from lampc.runtime.optimizers.infer_rules import InferRules
    from lampc.runtime.optimizers.joint import JointSearch
    from lampc.runtime.optimizers.knn import KNNFewShot
    from lampc.runtime.optimizers.labeled import LabeledFewShot
    from lampc.runtime.optimizers.mipro import MIPROv2
    from lampc.runtime.optimizers.optuna_search import BootstrapFewShotWithOptuna
    from lampc.runtime.optimizers.random_search import BootstrapFewShotWithRandomSearch, BootstrapRS
    from lampc.runtime.optimizers.simba import SIMBA
    from lampc.runtime.optimizers.traces import bootstrap_trace_data
    from lampc.runtime.retrieval.colbert import ColBERTv2
    from lampc.runtime.retrieval.embedder import Embedder
    from lampc.runtime.retrieval.embeddings import Embeddings, EmbeddingsWithScores
    from lampc.runtime.sandbox.limits import SandboxLimits
    from lampc.runtime.sandbox.local import LocalInterpreter
    from lampc.runtime.sandbox.monty import PythonInterpreter
    from lampc.runtime.session import Session
    from lampc.runtime.streaming import streamify

    cache: CallCache

__version__ = "0.1.0"


_INSTEAD = dict.fromkeys(
    ("Assert", "Suggest"), "; `lampc.Refine` and `lampc.BestOfN` call a module again until a reward is reached"
)
"""What took the place of names that DSPy had."""


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return import_module(f"lampc.{name}")
    if name == "cache":  # another one after `configure`
        from lampc.runtime.cache import cache_in_force

        return cache_in_force()
    if name not in HOMES:
        raise AttributeError(f"lampc has no `{name}`{_INSTEAD.get(name, '')}")
    home, own = HOMES[name]
    value = globals()[name] = getattr(import_module(home), own)
    return value


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "COPRO",
    "GEPA",
    "KNN",
    "LM",
    "RLM",
    "SIMBA",
    "Adapter",
    "AdapterParseError",
    "Audio",
    "BAMLAdapter",
    "BaseLM",
    "BaseModule",
    "BestOfN",
    "BetterTogether",
    "BootstrapFewShot",
    "BootstrapFewShotWithOptuna",
    "BootstrapFewShotWithRandomSearch",
    "BootstrapFinetune",
    "BootstrapRS",
    "Cascade",
    "ChainOfThought",
    "ChatAdapter",
    "Code",
    "CodeAct",
    "CodeExecutionError",
    "CodeInterpreter",
    "CodeInterpreterError",
    "ColBERTv2",
    "CompileError",
    "Completions",
    "ContextWindowExceededError",
    "Conversation",
    "DSPyError",
    "DspyEngine",
    "Embedder",
    "Embeddings",
    "EmbeddingsWithScores",
    "Ensemble",
    "Evaluate",
    "Example",
    "File",
    "FinalOutput",
    "Fuse",
    "History",
    "Image",
    "InferRules",
    "InputField",
    "JSONAdapter",
    "JointSearch",
    "KNNFewShot",
    "LMAuthError",
    "LMBillingError",
    "LMCollectionLimitError",
    "LMConfigurationError",
    "LMError",
    "LMInvalidRequestError",
    "LMLockTimeoutError",
    "LMNotConfiguredError",
    "LMProviderError",
    "LMRateLimitError",
    "LMServerError",
    "LMStreamAssemblyError",
    "LMTimeoutError",
    "LMTransportError",
    "LMUnexpectedError",
    "LMUnsupportedFeatureError",
    "LMUnsupportedModelError",
    "LabeledFewShot",
    "LocalInterpreter",
    "MCPError",
    "MCPServer",
    "MIPROv2",
    "Module",
    "MultiChainComparison",
    "OldInputField",
    "OldOutputField",
    "OptimizeError",
    "OutputField",
    "Parallel",
    "Predict",
    "Prediction",
    "ProgramOfThought",
    "PythonInterpreter",
    "ReAct",
    "ReActV2",
    "Reasoning",
    "Refine",
    "Retrieve",
    "SandboxLimits",
    "SandboxSerializable",
    "Session",
    "Signature",
    "SignatureMeta",
    "Template",
    "Tool",
    "ToolCallResults",
    "ToolCalls",
    "TwoStepAdapter",
    "Type",
    "UsageTracker",
    "XMLAdapter",
    "adapters",
    "argmax",
    "asyncify",
    "bootstrap_trace_data",
    "cache",
    "clients",
    "configure",
    "configure_cache",
    "context",
    "conversing",
    "dataset",
    "datasets",
    "disable_litellm_logging",
    "disable_logging",
    "dsp",
    "enable_litellm_logging",
    "enable_logging",
    "ensure_signature",
    "evaluate",
    "exact_match",
    "experimental",
    "f1",
    "freeze",
    "from_dspy",
    "infer_prefix",
    "inspect_history",
    "is_retryable_lm_error",
    "layout",
    "load_python",
    "load_settings",
    "majority",
    "make_signature",
    "metric",
    "normalize",
    "optimize",
    "predict",
    "primitives",
    "program",
    "propose",
    "pure",
    "resolve_interpreter_factory",
    "retriever",
    "retrievers",
    "settings",
    "signatures",
    "streamify",
    "streaming",
    "syncify",
    "teleprompt",
    "test",
    "tool",
    "trace",
    "track_usage",
    "tune",
    "unordered",
    "utils",
    "vote",
]
