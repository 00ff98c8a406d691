"""Whether what an engine has written down is whole: an interrupt may come between any two lines."""

from types import TracebackType

from lampc.backend.errors import BackendError


class Books:
    """A context in which an engine changes its state; may be entered again within.

    What is raised is an `Exception`: whoever raises it knows what he leaves. Anything else (Ctrl-C, for one) may come
    halfway: the books are `torn` then, unless `kept` says that all was taken back, and cannot be opened again.
    """

    def __init__(self) -> None:
        self.torn = False
        self.kept = False

    def __enter__(self) -> None:
        """Raises BackendError if they are torn."""
        if self.torn:
            raise BackendError("a step of this engine was interrupted halfway; close it, and load another one")

    def __exit__(self, kind: type[BaseException] | None, error: object, at: TracebackType | None) -> None:
        self.torn = self.torn or (kind is not None and not issubclass(kind, Exception) and not self.kept)
