"""`lampc.dsp`: what programs still import from `dspy.dsp`, which is left of an older version."""
