"""Lowering: typed calls to prompts, prompts to contexts that grow run by run."""

from lampc.passes.lower.kv import LowerKv
from lampc.passes.lower.prompts import LowerPrompts
from lampc.passes.lower.runs import UNKNOWN, begun_text, cut, run_text

__all__ = ["UNKNOWN", "LowerKv", "LowerPrompts", "begun_text", "cut", "run_text"]
