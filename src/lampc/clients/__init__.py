"""`lampc.clients`: models and their cache, under the names of `dspy.clients`."""

from lampc.frontend.python.calllog import inspect_history
from lampc.frontend.python.logs import disable_litellm_logging, enable_litellm_logging
from lampc.runtime.cache import configure_cache
from lampc.runtime.lm import LM, BaseLM
from lampc.runtime.retrieval.embedder import Embedder

__all__ = [
    "LM",
    "BaseLM",
    "Embedder",
    "configure_cache",
    "disable_litellm_logging",
    "enable_litellm_logging",
    "inspect_history",
]
