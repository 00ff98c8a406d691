"""`lampc.utils`: a model that says what it is told, callbacks, status messages, under the names of `dspy.utils`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.frontend.python.callbacks import BaseCallback
from lampc.runtime.scripted import DummyLM
from lampc.runtime.streaming import StatusMessage, StatusMessageProvider

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = ["BaseCallback", "DummyLM", "StatusMessage", "StatusMessageProvider"]
