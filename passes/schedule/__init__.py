"""What can be shared between calls, and how long it must be kept."""

from lampc.passes.schedule.closed_sets import ClosedSets
from lampc.passes.schedule.critical_path import calls_left
from lampc.passes.schedule.early_prefill import EarlyPrefill
from lampc.passes.schedule.layout import Layout
from lampc.passes.schedule.liveness import Lifetime, LivenessPass, last_uses
from lampc.passes.schedule.share_prefix import SharePrefix
from lampc.passes.schedule.speculate import Speculate
from lampc.passes.schedule.stop_votes import StopVotes
from lampc.passes.schedule.stream_lists import StreamLists

__all__ = [
    "ClosedSets",
    "EarlyPrefill",
    "Layout",
    "Lifetime",
    "LivenessPass",
    "SharePrefix",
    "Speculate",
    "StopVotes",
    "StreamLists",
    "calls_left",
    "last_uses",
]
