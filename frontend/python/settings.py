"""What holds for calls unless they say otherwise, as this layer reads it: a view of `lampc.ir.settings`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lampc.ir.settings import settings as shared

NAMES = ("layout", "compat", "callbacks", "sampling", "history_size")


class Settings:
    """`layout` names the adapter of predictors that name none ("": `compact`); `compat` whose behaviour is wanted
    where ours differs by choice ("": ours, `dspy-3.4`: theirs); `sampling` holds defaults under each predictor's
    own options; `history_size` is how many calls each module remembers."""

    __slots__ = ()

    @property
    def layout(self) -> str:
        return str(shared.get("layout"))

    @property
    def compat(self) -> str:
        return str(shared.get("compat"))

    @property
    def callbacks(self) -> tuple[Any, ...]:
        return tuple(shared.get("callbacks") or ())

    @property
    def sampling(self) -> Mapping[str, Any]:
        return dict(shared.get("sampling") or {})

    @property
    def history_size(self) -> int:
        return int(shared.get("history_size"))

    @property
    def strict_dspy(self) -> bool:
        """Whether order and texts are to be DSPy's wherever ours differ by choice."""
        return self.compat.startswith("dspy")


_here = Settings()


def settings() -> Settings:
    """What holds here."""
    return _here


def set_settings(**changes: Any) -> None:
    """Change the process's values. Raises TypeError for a name that there is not."""
    _known(changes)
    shared.configure(**changes)


@contextmanager
def overriding(**changes: Any) -> Iterator[None]:
    """Other values for the calls made inside of the block by this thread or task. Raises TypeError as above."""
    _known(changes)
    with shared.context(**changes):
        yield


def _known(changes: Mapping[str, Any]) -> None:
    unknown = [n for n in changes if n not in NAMES]
    if unknown:
        raise TypeError(f"there is no setting `{unknown[0]}`; there are {', '.join(NAMES)}")
