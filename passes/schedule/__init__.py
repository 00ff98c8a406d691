"""What can be shared between calls, and how long it must be kept."""

from lampc.passes.schedule.liveness import Lifetime, LivenessPass, last_uses
from lampc.passes.schedule.share_prefix import SharePrefix

__all__ = ["Lifetime", "LivenessPass", "SharePrefix", "last_uses"]
