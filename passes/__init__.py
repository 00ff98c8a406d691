"""IR to IR: passes, the table of them and the manager that runs them.

`simplify/` makes programs smaller, `lower/` brings them from `prog.*` to prompts and contexts, `schedule/` finds what
can be shared and how long it lives, `optimize/` changes parameters against a metric. No pass knows a model, a file or
a token id; what a target can do reaches it through `PassContext`.
"""

if __name__ != "lampc.passes":
    raise ImportError("import lampc.passes, not passes: the second import would make a second set of classes")

from lampc.passes.gate import Gate, GateRecord, judge
from lampc.passes.manager import Pass, PassContext, PassRow, Pipeline, Report, RunOptions
from lampc.passes.table import LABELS, PASSES, STANDARD, load

__all__ = [
    "LABELS",
    "PASSES",
    "STANDARD",
    "Gate",
    "GateRecord",
    "Pass",
    "PassContext",
    "PassRow",
    "Pipeline",
    "Report",
    "RunOptions",
    "judge",
    "load",
]
