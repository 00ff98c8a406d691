"""Small helpers that programs and retrievers have from DSPy's older versions: `deduplicate`, `dotdict`."""

import copy
from collections.abc import Hashable, Iterable
from typing import Any, TypeVar

from lampc.ir.diag import there_are

T = TypeVar("T", bound=Hashable)


def deduplicate(seq: Iterable[T]) -> list[T]:
    """What is in `seq`, each once, in the order of first mention."""
    return list(dict.fromkeys(seq))


class dotdict(dict[str, Any]):
    """A dict whose entries are attributes too: `dotdict(long_text="...").long_text`."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"there is no entry `{name}`; {there_are(self)}")

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        self.pop(name, None)

    def __deepcopy__(self, memo: dict[int, Any]) -> "dotdict":
        return dotdict(copy.deepcopy(dict(self), memo))


__all__ = ["deduplicate", "dotdict"]
