"""Norm of q and k, rotation and the write to the cache, against the twin and the engine's own code."""

from collections.abc import Iterator

import pytest
import torch

from lampc.backend.kernels.rope_write import LayerCache, Rotation, rope_write, rope_write_torch
from lampc.backend.kv_cache import KVCache
from lampc.backend.models.layers import rms_norm, rotate

TOLERANCE = {torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
SLOTS = 20
CONTEXT = 50
EPS = 1e-6


def cases() -> Iterator[tuple[int, int, int, torch.dtype, bool, bool]]:
    """Heads, K/V heads, head size, dtype, int8, norm."""
    yield from ((heads, 2, dim, torch.float32, False, dim == 128) for heads, dim in ((2, 64), (6, 128), (16, 256)))
    yield 4, 4, 64, torch.float16, False, True
    yield 9, 3, 128, torch.float16, True, False
    yield 2, 1, 256, torch.float32, True, True
    yield 8, 1, 96, torch.float32, False, True
    yield 4, 2, 64, torch.bfloat16, False, True


class Setting:
    """A step of rows whose slots are ragged, one of them not kept."""

    def __init__(
        self, heads: int, kv_heads: int, dim: int, dtype: torch.dtype, int8: bool, norm: bool, device: torch.device
    ) -> None:
        noise = torch.Generator().manual_seed(dim + heads)
        self.heads, self.kv_heads, self.dim = heads, kv_heads, dim
        self.cache = KVCache(SLOTS, 2, kv_heads, dim, device, dtype, int8)
        self.qkv = torch.randn(5, (heads + 2 * kv_heads) * dim, generator=noise).to(dtype).to(device)
        self.positions = torch.tensor([7, 0, CONTEXT - 1, 3, 3], device=device)
        self.slots = torch.tensor([SLOTS - 1, 0, 4, -1, 11], device=device)
        angles = torch.outer(torch.arange(CONTEXT).float(), torch.rand(dim // 2, generator=noise))
        weight = torch.randn(heads + kv_heads, dim, generator=noise).to(dtype).to(device) if norm else None
        self.rotation = Rotation(angles.cos().to(device), angles.sin().to(device), weight, EPS)

    def layer(self, cache: KVCache) -> LayerCache:
        return LayerCache(cache.data[1], None if cache.scales is None else cache.scales[1], cache.trash)

    def copy(self) -> KVCache:
        int8 = self.cache.scales is not None
        return KVCache(SLOTS, 2, self.kv_heads, self.dim, self.cache.device, self.cache.dtype, int8)


@pytest.mark.parametrize(("heads", "kv_heads", "dim", "dtype", "int8", "norm"), list(cases()))
def test_equals_its_twin(
    heads: int, kv_heads: int, dim: int, dtype: torch.dtype, int8: bool, norm: bool, device: torch.device
) -> None:
    s, limit = Setting(heads, kv_heads, dim, dtype, int8, norm, device), TOLERANCE[dtype]
    twin = s.copy()
    q = rope_write(s.qkv, s.positions, s.slots, s.rotation, s.layer(s.cache), heads)
    want = rope_write_torch(s.qkv, s.positions, s.slots, s.rotation, s.layer(twin), heads)
    torch.testing.assert_close(q, want, rtol=limit, atol=limit)
    kept = [i for i in range(SLOTS + 2) if i != s.cache.trash]
    if int8:
        # A value within rounding of a half may fall to either side of it.
        assert (s.cache.data.int() - twin.data.int())[:, :, :, kept].abs().max() <= 1
        assert s.cache.scales is not None
        assert twin.scales is not None
        torch.testing.assert_close(s.cache.scales[..., kept], twin.scales[..., kept], rtol=limit, atol=0.0)
        written = s.cache.scales[1].amax((0, 1)) > 0
    else:
        torch.testing.assert_close(s.cache.data[:, :, :, kept], twin.data[:, :, :, kept], rtol=limit, atol=limit)
        written = s.cache.data[1].float().abs().amax((0, 1, 3)) > 0
    assert not s.cache.data[0].any(), "another layer was written"
    assert sorted(written.nonzero().flatten().tolist()) == [0, 4, 11, SLOTS - 1, s.cache.trash]


@pytest.mark.parametrize("int8", [False, True])
def test_the_twin_is_what_the_engine_does(int8: bool, device: torch.device) -> None:
    s = Setting(4, 2, 64, torch.float32, int8, True, device)
    twin = s.copy()
    q = rope_write_torch(s.qkv, s.positions, s.slots, s.rotation, s.layer(s.cache), 4)
    heads = s.qkv.view(5, 8, 64)
    assert s.rotation.weight is not None
    qk = rms_norm(heads[:, :6], s.rotation.weight, EPS)
    cos, sin = (table[s.positions].unsqueeze(1) for table in s.rotation[:2])
    qk = rotate(qk, cos, sin)
    twin.write(1, torch.where(s.slots < 0, twin.trash, s.slots), qk[:, 4:], heads[:, 6:])
    assert torch.equal(q, qk[:, :4])
    assert torch.equal(s.cache.data, twin.data)
    if twin.scales is not None:
        assert torch.equal(s.cache.scales, twin.scales)


@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply:RuntimeWarning")  # inf * 0
def test_int8_halves_go_to_the_even_and_what_is_not_finite_is_marked(device: torch.device) -> None:
    cache = KVCache(SLOTS, 1, 1, 64, device, torch.float32, int8=True)
    values = torch.zeros(3, 3, 64)
    values[0, 1] = torch.linspace(-2.5, 2.5, 64).round(decimals=1)
    values[0, 1, :8] = torch.tensor([127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5])
    values[1, 1, 3], values[2, 2, 40] = torch.inf, torch.nan
    flat = torch.zeros(1, 32, device=device)
    rotation = Rotation(flat + 1.0, flat)  # no turn
    slots = torch.tensor([2, 3, 4], device=device)
    at = torch.zeros(3, dtype=torch.int64, device=device)
    assert cache.scales is not None
    layer = LayerCache(cache.data[0], cache.scales[0], cache.trash)
    rope_write(values.view(3, -1).to(device), at, slots, rotation, layer, 1)
    assert cache.data[0, 0, 0, 2, :8].tolist() == [127, 0, 2, 2, 0, -2, -2, 126]
    assert cache.scales[0, :, 0, 2].tolist() == [1.0, 0.0]
    assert not cache.data[0, 0, 0, 3].any()
    assert cache.scales[0, :, 0, 3:5].isnan().tolist() == [[True, False], [False, True]]


def test_a_row_is_the_same_alone_and_among_others(device: torch.device) -> None:
    s = Setting(6, 2, 64, torch.float32, True, True, device)
    alone = s.copy()
    whole = rope_write(s.qkv, s.positions, s.slots, s.rotation, s.layer(s.cache), 6)
    for i in range(5):
        row = slice(i, i + 1)
        q = rope_write(s.qkv[row], s.positions[row], s.slots[row], s.rotation, s.layer(alone), 6)
        assert torch.equal(q[0], whole[i])
    assert torch.equal(alone.data, s.cache.data)


def test_what_does_not_fit_is_refused(device: torch.device) -> None:
    s = Setting(4, 2, 64, torch.float32, False, False, device)
    layer = s.layer(s.cache)
    with pytest.raises(ValueError, match="qkv is"):
        rope_write(s.qkv, s.positions, s.slots, s.rotation, layer, 5)
    with pytest.raises(ValueError, match=r"slots is .*int32"):
        rope_write(s.qkv, s.positions, s.slots.int(), s.rotation, layer, 4)
    with pytest.raises(ValueError, match="with scales"):
        rope_write(s.qkv, s.positions, s.slots, s.rotation, layer._replace(scales=torch.zeros(2, 2, SLOTS + 2)), 4)
    empty = rope_write(s.qkv[:0], s.positions[:0], s.slots[:0], s.rotation, layer, 4)
    assert empty.shape == (0, 4, 64)
