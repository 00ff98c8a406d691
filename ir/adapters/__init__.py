"""The one place for prompt texts: rendering a signature to a prompt, and reading an answer back.

`render` gives a `Prompt` with symbolic instruction and demos; `bind_prompt` fills them; `parse` reads.
"""

from lampc.ir.adapters.base import Adapter, ParseFailure
from lampc.ir.adapters.bind import (
    Bound,
    bind_predictors,
    bind_prompt,
    demo_turns,
    parse_answer,
    segment_text,
)
from lampc.ir.adapters.lengths import call_sampling
from lampc.ir.adapters.registry import ADAPTERS, adapter

__all__ = [
    "ADAPTERS",
    "Adapter",
    "Bound",
    "ParseFailure",
    "adapter",
    "bind_predictors",
    "bind_prompt",
    "call_sampling",
    "demo_turns",
    "parse_answer",
    "segment_text",
]
