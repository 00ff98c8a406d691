"""Whether a library computes what torch computes, on small inputs: asked once per process, before it is used."""

import torch

from lampc.backend.native.library import FLOAT, INT, POINTER, SIZE, Library


def passes(library: Library) -> bool:
    """All kernels against torch."""
    try:
        return _norm(library) and _attention(library)
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


def _attention(library: Library) -> bool:
    from lampc.backend.attention import make_attention
    from lampc.backend.kv_cache import KVCache
    from lampc.backend.tiles import Span

    heads, kv_heads, dim, rows = 6, 2, 40, 70
    noise = torch.Generator().manual_seed(0)
    drawn = [torch.randn(rows, n, dim, generator=noise) for n in (heads, kv_heads, kv_heads)]
    slots = torch.randperm(rows, generator=noise).numpy()
    for dtype, int8, close in (
        (torch.float32, False, 1e-5),
        (torch.bfloat16, False, 2e-2),
        (torch.float32, True, 1e-5),
    ):
        q, k, v = (x.to(dtype) for x in drawn)
        found = []
        for native in (None, library):
            cache = KVCache(rows, 1, kv_heads, dim, q.device, dtype, int8)
            step = make_attention(cache, heads, [50], False, native).step([Span(0, 0, rows, slots)], slots)
            found.append(step(0, q, k, v).float())
        if not torch.allclose(found[0], found[1], rtol=close, atol=close):
            return False
    return True
