"""Engines whose adapters come and go while they are loaded."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from lampc.backend.api import EngineInfo
from lampc.backend.errors import BackendError, Unsupported

if TYPE_CHECKING:
    from lampc.backend.models.lora import Adapters

_SINGLE = "own"
"""What the one adapter is called in the digest of what is computed with it, whatever requests call it."""


@runtime_checkable
class Adaptable(Protocol):
    """What such an engine offers beside `lampc.backend.api.TokenEngine`."""

    def add_adapter(self, name: str, folder: Path | str) -> None:
        """Loads a LoRA adapter as PEFT saves it: from now on requests may name it, beside all others. Raises
        CheckpointError, Unsupported, or BackendError if there is one of that name."""
        ...

    def drop_adapter(self, name: str) -> None:
        """Gives back what an adapter takes, cached prefixes among it. Raises BackendError if there is none of that name
        or a request has named it and is not done."""
        ...

    def digest_of(self, adapter: str | None = None) -> str:
        """Names what requests with an adapter, or without one, follow from: whatever it is called, and whichever
        others are loaded."""
        ...


class Adapting:
    """`Adaptable` for an engine over a model of ours."""

    _info: EngineInfo
    _adapters: "Adapters | None"
    _parts: tuple[str, ...]

    def adapt(self, adapters: "Adapters | None", parts: tuple[str, ...]) -> None:
        """`parts` name what requests without an adapter follow from; `adapters` are the model's, None if it takes
        none."""
        self._adapters, self._parts = adapters, parts

    def add_adapter(self, name: str, folder: Path | str) -> None:
        """See `Adaptable`."""
        self._open()
        if self._adapters is None:
            raise Unsupported(
                f"{folder}: models like {self._info.name} take no adapters, or not as this engine computes them: they "
                "are for decoders of ours, on one rank, without Triton's kernels or K/V in host memory"
            )
        if name in self._info.adapters:
            raise BackendError(f"there is an adapter {name!r} already; give another name, or drop that one")
        self._adapters.add(name, Path(folder))
        self._told()

    def drop_adapter(self, name: str) -> None:
        """See `Adaptable`."""
        self._open()
        if self._adapters is None or name not in self._info.adapters:
            loaded = ", ".join(map(repr, self._info.adapters)) or "none"
            raise BackendError(f"there is no adapter {name!r}; loaded: {loaded}")
        if name in self._named():
            raise BackendError(f"requests with adapter {name!r} are under way; abort them, or wait for their end")
        self._adapters.drop(name)
        self._forget(name)
        self._told()

    def digest_of(self, adapter: str | None = None) -> str:
        """See `Adaptable`. Raises BackendError if there is no adapter of that name."""
        if adapter is None:
            return digest_of(self._parts)
        if self._adapters is None or adapter not in self._info.adapters:
            raise BackendError(f"there is no adapter {adapter!r}")
        return digest_of((*self._parts, digest_of([f"{_SINGLE} {self._adapters.contents(adapter)}"])))

    def _told(self) -> None:
        adapters = self._adapters
        assert adapters is not None
        names, parts = adapters.names(), self._parts
        if names:
            parts = (*parts, digest_of(["together", *(f"{name} {adapters.contents(name)}" for name in names)]))
        self._info = replace(self._info, adapters=names, digest=digest_of(parts))

    def _open(self) -> None:
        """Raises EngineClosed."""
        raise NotImplementedError

    def _named(self) -> set[str | None]:
        """Adapters of requests that are not done."""
        raise NotImplementedError

    def _forget(self, name: str) -> None:
        """Drops what is cached of an adapter."""


def digest_of(parts: Iterable[str]) -> str:
    """32 hexadecimal digits that name all of some texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
