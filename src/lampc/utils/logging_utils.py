"""`lampc.utils.logging_utils`: the path that `dspy.utils.logging_utils` has."""

from lampc.frontend.python.logs import disable_logging, enable_logging

__all__ = ["disable_logging", "enable_logging"]
