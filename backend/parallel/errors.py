"""What can go wrong between ranks."""

from lampc.backend.errors import BackendError


class RankFailed(BackendError):
    """A process of a tensor-parallel engine died, hung, ran out of memory or lost the others; says which and how."""
