"""`lampc.utils`: a model that says what it is told, callbacks, status messages, under the names of `dspy.utils`."""

from lampc.frontend.python.callbacks import BaseCallback
from lampc.runtime.scripted import DummyLM
from lampc.runtime.streaming import StatusMessage, StatusMessageProvider

__all__ = ["BaseCallback", "DummyLM", "StatusMessage", "StatusMessageProvider"]
