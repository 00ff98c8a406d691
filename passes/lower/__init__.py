"""Lowering: typed calls to prompts, prompts to contexts that grow run by run."""

from lampc.passes.lower.kv import LowerKv
from lampc.passes.lower.prompts import LowerPrompts
from lampc.passes.lower.runs import cut, run_text

__all__ = ["LowerKv", "LowerPrompts", "cut", "run_text"]
