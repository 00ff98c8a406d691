"""Whether a library computes what torch computes, on small inputs: asked once per process, before it is used."""

import torch

from lampc.backend.native.library import FLOAT, INT, POINTER, SIZE, Library


def passes(library: Library) -> bool:
    """All kernels against torch."""
    try:
        return _norm(library)
    except AttributeError:  # a function is missing
        return False


def _norm(library: Library) -> bool:
    norm = library.function("rms_norm", POINTER, POINTER, POINTER, SIZE, SIZE, FLOAT, INT, INT)
    noise = torch.Generator().manual_seed(0)
    for dtype, close in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        x, weight = torch.randn(3, 40, generator=noise).to(dtype), torch.randn(40, generator=noise).to(dtype)
        out = torch.empty_like(x)
        half = dtype is torch.bfloat16
        norm(x.data_ptr(), weight.data_ptr(), out.data_ptr(), 3, 40, 1e-6, half, torch.get_num_threads())
        right = torch.nn.functional.rms_norm(x.float(), (40,), weight.float(), 1e-6)
        if not torch.allclose(out.float(), right, rtol=close, atol=close):
            return False
    return True
