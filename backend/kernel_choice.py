"""What computes an engine's steps: torch alone, the native kernels of the CPU, or torch with Triton's kernels."""

from dataclasses import dataclass
from types import ModuleType
from typing import Literal, get_args

import torch

from lampc.backend.native import shared_library
from lampc.backend.native.build import NoKernels
from lampc.backend.native.shared_library import Library

Backend = Literal["auto", "torch", "native", "triton"]
BACKENDS: tuple[str, ...] = get_args(Backend)


@dataclass(frozen=True, slots=True)
class Kernels:
    """`backend` is "torch", "native" or "triton"; equal digests give equal bits where torch gives them.

    `native` are the kernels of that name, None for other backends.
    """

    backend: str
    digest: str
    native: Library | None = None

    @property
    def triton(self) -> bool:
        """Whether attention is Triton's."""
        return self.backend == "triton"


def check_backend(backend: str, kind: str) -> None:
    """Raises ValueError for a backend that does not exist, or that this kind of engine does not have."""
    if backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; choose one of {', '.join(BACKENDS)}")
    if backend == "triton" and kind != "paged":
        raise ValueError(f"the {kind} engine has no Triton kernels; choose another backend")


def usual_device(backend: str) -> str:
    """Where an engine computes unless told otherwise. Raises NoKernels without triton, if that is the backend."""
    return "cuda" if backend == "triton" and not _paged().interpreted() else "cpu"


def choose_kernels(backend: str, device: torch.device, dtype: torch.dtype) -> Kernels:
    """Raises NoKernels if a backend is demanded that cannot be had here; only "auto" makes do with another."""
    if backend == "triton":
        return Kernels(backend, _paged().digest(device))
    wanted: dict[str, bool] = {"torch": False, "native": True}
    native = shared_library.choose(wanted.get(backend, "auto"), device, dtype)
    return Kernels("torch", "torch") if native is None else Kernels("native", native.digest, native)


def _paged() -> ModuleType:
    try:
        import triton  # noqa: F401
    except ImportError as error:
        raise NoKernels(
            f"backend 'triton' needs triton, which cannot be imported ({error}); on Linux `pip install triton` "
            "installs it, elsewhere choose another backend"
        ) from error
    from lampc.backend.kernels import paged

    return paged
