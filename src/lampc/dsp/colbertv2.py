"""`lampc.dsp.colbertv2`: the path that `dspy.dsp.colbertv2` has."""

from lampc.runtime.retrieval.colbert import ColBERTv2

__all__ = ["ColBERTv2"]
