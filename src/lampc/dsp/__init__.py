"""`lampc.dsp`: what programs still import from `dspy.dsp`, which is left of an older version."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)
