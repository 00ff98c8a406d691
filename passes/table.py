"""The one table of passes: name -> place, imported when first asked for."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

PASSES: dict[str, str] = {
    "inline": "lampc.passes.simplify.inline:Inline",
    "fold": "lampc.passes.simplify.fold:Fold",
    "cse": "lampc.passes.simplify.cse:Cse",
    "dce": "lampc.passes.simplify.dce:Dce",
    "hoist": "lampc.passes.simplify.hoist:Hoist",
    "layout": "lampc.passes.schedule.layout:Layout",
    "fuse-calls": "lampc.passes.schedule.fuse_calls:FuseCalls",
    "stop-votes": "lampc.passes.schedule.stop_votes:StopVotes",
    "speculate": "lampc.passes.schedule.speculate:Speculate",
    "lower-prompts": "lampc.passes.lower.prompts:LowerPrompts",
    "lower-kv": "lampc.passes.lower.kv:LowerKv",
    "closed-sets": "lampc.passes.schedule.closed_sets:ClosedSets",
    "early-prefill": "lampc.passes.schedule.early_prefill:EarlyPrefill",
    "stream-lists": "lampc.passes.schedule.stream_lists:StreamLists",
    "share-prefix": "lampc.passes.schedule.share_prefix:SharePrefix",
    "liveness": "lampc.passes.schedule.liveness:LivenessPass",
}
"""Pass classes as `module:class`, in the order in which they usually run."""

STANDARD = (
    "inline,fold,cse,dce,stop-votes,speculate,lower-prompts,lower-kv,closed-sets,early-prefill,stream-lists,"
    "share-prefix,liveness"
)
"""The pipeline from a frontend's module to what the executor runs."""

LABELS: dict[str, str] = {
    "E": "exact: the same token ids for every node, row and sample",
    "S": "the same distribution, perhaps other draws",
    "D": "exact if the program's declarations (`@pure`, `@unordered`) are true",
    "G": "gated: may change meaning, so it needs a test on held-out rows",
}
"""What the labels of passes promise."""


class UnknownPass(LookupError):
    """There is no such pass. The message names near ones, else all."""


def load(name: str) -> type:
    """The class of pass `name`. Raises UnknownPass."""
    place = PASSES.get(name)
    if place is None:
        near = get_close_matches(name, PASSES, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(PASSES)}"
        raise UnknownPass(f"there is no pass `{name}`; {hint}")
    module, _, cls = place.partition(":")
    found = getattr(import_module(module), cls)
    assert isinstance(found, type)
    return found
