"""What the machine can do: GEMM rate at shapes of the model, and the rate at which memory is read."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from typing import Any

import torch
from _harness import Item, Spec, serve

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_READ_BYTES = 512 << 20


class Machine:
    """`options` has `shapes`: pairs (inputs, outputs) of the model's matrices."""

    def __init__(self, spec: Spec) -> None:
        torch.set_num_threads(spec.threads)
        self._dtype = _DTYPES[spec.dtype]
        self._shapes = spec.options["shapes"]

    def generate(self, items: list[Item]) -> list[list[int]]:
        raise NotImplementedError

    @torch.inference_mode()
    def measure(self, items: list[Item], seconds: float = 0.3) -> dict[str, Any]:
        """The best of several calls each: a floor is what the machine can do at its best."""
        gemm = {f"{k}x{n} m={m}": self._gemm(k, n, m, seconds) for k, n in self._shapes for m in (256, 512)}
        big = _large_pages()
        read = {
            "sum float32": _READ_BYTES / _best(lambda: big.view(torch.float32).sum(), seconds) / 1e9,
            "max float32": _READ_BYTES / _best(lambda: big.view(torch.float32).max(), seconds) / 1e9,
            "sum int64": _READ_BYTES / _best(lambda: big.view(torch.int64).sum(), seconds) / 1e9,
        }
        return {"gemm_gflops": gemm, "read_gb_s": read}

    def _gemm(self, inputs: int, outputs: int, rows: int, seconds: float) -> float:
        x = torch.randn(rows, inputs).to(self._dtype)
        weight = torch.randn(outputs, inputs).to(self._dtype)
        best = _best(lambda: torch.nn.functional.linear(x, weight), seconds)
        if self._dtype is torch.bfloat16 and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
            linear = torch.ops.mkldnn._linear_pointwise.default
            best = min(best, _best(lambda: linear(x, packed, None, "none", [], None), seconds))
        ours = _native(weight)
        if ours is not None:
            best = min(best, _best(lambda: ours(x), seconds))
        return 2 * rows * inputs * outputs / best / 1e9


def _large_pages() -> torch.Tensor:
    """uint8 [_READ_BYTES], in large pages where there are such: through them memory is read faster."""
    memory = mmap.mmap(-1, _READ_BYTES)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=torch.uint8).fill_(1)


def _native(weight: torch.Tensor) -> Callable[[torch.Tensor], Any] | None:
    """Our own product with this weight, where its kernels are built: a floor above our rate would be none."""
    try:
        from lampc.backend.native import shared_library
        from lampc.backend.native.linear import Memory, NativeLinear

        kernels = shared_library.load()
        return NativeLinear(kernels, weight, None, Memory(kernels))
    except Exception:  # not built, or of another form: torch's rates count then
        return None


def _best(work: Callable[[], Any], seconds: float) -> float:
    work()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best


if __name__ == "__main__":
    serve(Machine, "torch")
