"""What holds for calls unless they say otherwise: layout, compatibility, callbacks, defaults of sampling.

`lampc.configure` sets the process's values, which every thread sees; `lampc.context` those of one thread or task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """`layout` names the adapter of predictors that name none ("": `compact`); `compat` whose behaviour is wanted
    where ours differs by choice ("": ours, `dspy-3.4`: theirs); `sampling` holds defaults under each predictor's
    own options; `history_size` is how many calls each module remembers."""

    layout: str = ""
    compat: str = ""
    callbacks: tuple[Any, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    history_size: int = 100

    @property
    def strict_dspy(self) -> bool:
        """Whether order and texts are to be DSPy's wherever ours differ by choice."""
        return self.compat.startswith("dspy")


_process = [Settings()]
_here: ContextVar[Mapping[str, Any] | None] = ContextVar("lampc_settings", default=None)
NAMES = tuple(f.name for f in fields(Settings))


def settings() -> Settings:
    """What holds here."""
    overrides = _here.get()
    return replace(_process[0], **overrides) if overrides else _process[0]


def set_settings(**changes: Any) -> None:
    """Change the process's values. Raises TypeError for a name that there is not."""
    _process[0] = replace(_process[0], **changes)


@contextmanager
def overriding(**changes: Any) -> Iterator[None]:
    """Other values for the calls made inside of the block by this thread or task. Raises TypeError as above."""
    replace(_process[0], **changes)
    token = _here.set({**(_here.get() or {}), **changes})
    try:
        yield
    finally:
        _here.reset(token)
