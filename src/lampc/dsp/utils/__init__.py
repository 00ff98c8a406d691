"""`lampc.dsp.utils`: settings and small helpers, under the names of `dspy.dsp.utils`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.dsp.utils.settings import settings
from lampc.frontend.python.values.dotdict import deduplicate, dotdict

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = ["deduplicate", "dotdict", "settings"]
