"""`lampc.clients`: models and their cache, under the names of `dspy.clients`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.frontend.python.calllog import inspect_history
from lampc.frontend.python.logs import disable_litellm_logging, enable_litellm_logging
from lampc.runtime.cache import configure_cache
from lampc.runtime.lm import LM, BaseLM
from lampc.runtime.retrieval.embedder import Embedder

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = [
    "LM",
    "BaseLM",
    "Embedder",
    "configure_cache",
    "disable_litellm_logging",
    "enable_litellm_logging",
    "inspect_history",
]
