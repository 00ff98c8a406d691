"""Deep import paths of DSPy lead to the same names here, and where lampc stands in dspy's place."""

import importlib
import subprocess
import sys
import warnings

import pytest

import lampc
import lampc.streaming

PATHS = """
adapters Adapter ChatAdapter JSONAdapter XMLAdapter TwoStepAdapter
adapters.base Adapter
adapters.baml_adapter BAMLAdapter
adapters.chat_adapter ChatAdapter
adapters.json_adapter JSONAdapter
adapters.two_step_adapter TwoStepAdapter
adapters.xml_adapter XMLAdapter
adapters.types Audio Code File History Image Reasoning Tool ToolCallResults ToolCalls Type
adapters.types.audio Audio
adapters.types.base_type Type
adapters.types.citation Citations
adapters.types.code Code
adapters.types.document Document
adapters.types.file File
adapters.types.history History
adapters.types.image Image
adapters.types.reasoning Reasoning
adapters.types.tool Tool ToolCalls ToolCallResults
clients BaseLM Embedder LM configure_cache disable_litellm_logging enable_litellm_logging
clients.base_lm BaseLM inspect_history
clients.embedding Embedder
clients.lm LM
datasets.dataloader DataLoader
dsp.colbertv2 ColBERTv2
dsp.utils deduplicate dotdict
dsp.utils.settings settings
dsp.utils.utils deduplicate dotdict
evaluate.auto_evaluation CompleteAndGrounded SemanticF1
evaluate.evaluate Evaluate EvaluationResult
evaluate.metrics EM F1 answer_exact_match answer_passage_match normalize_text
experimental Citations Document
predict ReActV2
predict.aggregation default_normalize majority
predict.best_of_n BestOfN
predict.chain_of_thought ChainOfThought
predict.code_act CodeAct
predict.knn KNN
predict.multi_chain_comparison MultiChainComparison
predict.parallel Parallel
predict.parameter Parameter
predict.predict Predict
predict.program_of_thought ProgramOfThought
predict.react ReAct Tool
predict.react_v2 ReActV2
predict.refine Refine
predict.rlm RLM
primitives BaseModule
primitives.base_module BaseModule
primitives.code_interpreter CodeExecutionError CodeInterpreter CodeInterpreterError FinalOutput
primitives.code_interpreter resolve_interpreter_factory
primitives.example Example
primitives.local_interpreter LocalInterpreter
primitives.module Module
primitives.prediction Completions Prediction
primitives.python_interpreter PythonInterpreter
primitives.sandbox_serializable SandboxSerializable
retrievers.embeddings Embeddings EmbeddingsWithScores
retrievers.retrieve Retrieve
signatures OldInputField OldOutputField
signatures.field InputField OldInputField OldOutputField OutputField
signatures.signature InputField OutputField Signature SignatureMeta ensure_signature infer_prefix make_signature
streaming.messages StatusMessage StatusMessageProvider StreamResponse
streaming.streamify apply_sync_streaming streamify streaming_response
streaming.streaming_listener StreamListener
teleprompt Teleprompter
teleprompt.bootstrap BootstrapFewShot
teleprompt.copro_optimizer COPRO
teleprompt.mipro_optimizer_v2 MIPROv2
teleprompt.gepa GEPA InstructionProposer
teleprompt.gepa.gepa GEPA DspyGEPAResult
teleprompt.gepa.gepa_utils ScoreWithFeedback
teleprompt.gepa.instruction_proposal InstructionProposer
teleprompt.simba SIMBA
teleprompt.teleprompt Teleprompter
teleprompt.vanilla LabeledFewShot
utils.asyncify asyncify
utils.callback BaseCallback
utils.dummies DummyLM
utils.exceptions AdapterParseError ContextWindowExceededError DSPyError LMError LMRateLimitError LMTimeoutError
utils.logging_utils disable_logging enable_logging
utils.syncify syncify
utils.usage_tracker UsageTracker track_usage
"""
NAMES = [(path, name) for path, *names in map(str.split, PATHS.strip().splitlines()) for name in names]


def found(library: str, path: str, name: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(importlib.import_module(f"{library}.{path}"), name)


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_a_path_of_dspy_is_one_here(path: str, name: str) -> None:
    theirs, ours = found("dspy", path, name), found("lampc", path, name)
    assert theirs is not ours
    assert callable(ours) == callable(theirs)
    assert name.startswith("Old") or isinstance(ours, type) == isinstance(theirs, type)
    assert ours is getattr(lampc, name, ours)


def test_paths_give_the_same_objects_where_lampc_stands_in_the_place_of_dspy() -> None:
    code = (
        "import importlib, sys, lampc\n"
        "sys.modules['dspy'] = lampc\n"
        f"for path, name in {NAMES!r}:\n"
        "    theirs, ours = (getattr(importlib.import_module(f'{p}.{path}'), name) for p in ('dspy', 'lampc'))\n"
        "    assert theirs is ours, (path, name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_paths_need_no_import_of_their_own() -> None:
    hidden = ("streaming.streamify", "utils.asyncify", "utils.syncify", "dsp.utils.settings")  # by what they hold
    code = f"import functools, lampc\nfor path in {sorted({path for path, _ in NAMES} - set(hidden))!r}:\n"
    code += "    module = functools.reduce(getattr, path.split('.'), lampc)\n"
    code += "    assert module.__name__ == f'lampc.{path}', path\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    with pytest.raises(AttributeError, match=r"lampc\.utils has no `callbak`"):
        lampc.utils.callbak  # type: ignore[attr-defined]  # noqa: B018


def test_functions_are_not_hidden_by_modules_of_their_name() -> None:
    importlib.import_module("lampc.streaming.streamify")
    importlib.import_module("lampc.dsp.utils.settings")
    assert lampc.streaming.streamify is lampc.streamify
    assert lampc.dsp.utils.settings is lampc.settings


def test_helpers_of_an_older_version() -> None:
    from lampc.dsp.utils import deduplicate, dotdict

    assert deduplicate(["b", "a", "b"]) == ["b", "a"]
    passage = dotdict(long_text="x")
    passage.score = 2
    assert (passage.long_text, passage["score"]) == ("x", 2)
    with pytest.raises(AttributeError, match="no entry `title`; there are long_text, score"):
        passage.title  # noqa: B018


def test_an_optimizer_of_the_users_own() -> None:
    class Mine(lampc.teleprompt.Teleprompter):
        def __init__(self, k: int) -> None:
            self.k = k

    assert Mine(3).get_params() == {"k": 3}
    with pytest.raises(NotImplementedError, match="Mine has no `compile`"):
        Mine(3).compile(lampc.Predict("q -> a"), trainset=[])
    assert isinstance(lampc.LabeledFewShot(), lampc.teleprompt.Teleprompter)
