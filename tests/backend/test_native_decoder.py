"""A decoder's layers by native kernels against those of torch, and their bits against themselves."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lampc.backend.kv_cache import KVCache
from lampc.backend.models.decoder import Layers
from lampc.backend.models.decoder_config import AROUND, DecoderConfig, Norms
from lampc.backend.models.decoder_torch import TorchLayers
from lampc.backend.models.decoder_weights import DecoderWeights, LayerWeights
from lampc.backend.models.experts import ExpertWeights, Mixture, MlpWeights
from lampc.backend.models.fields import Fields
from lampc.backend.models.rope import Rope
from lampc.backend.models.rows import Rows
from lampc.backend.native.attention import NativeAttention
from lampc.backend.native.decoder import NativeLayers
from lampc.backend.native.linear import Memory
from lampc.backend.native.shared_library import Library
from lampc.backend.spans import Span

DTYPES = [torch.float32, torch.bfloat16]
CONTEXT = 200
CPU = torch.device("cpu")


def config(head_dim: int = 10, **changes: Any) -> DecoderConfig:
    """By default widths that are no multiple of a vector or a panel, and heads narrower than a vector."""
    fields = Fields({"max_position_embeddings": CONTEXT, "rope_theta": 1e4}, Path("config.json"))
    small = DecoderConfig(
        vocab_size=90,
        hidden=40,
        intermediate=51,
        layers=2,
        heads=6,
        kv_heads=2,
        head_dim=head_dim,
        norm_eps=1e-5,
        rope=Rope.read(fields, head_dim, None),
        windows=(None, None),
        tied=False,
    )
    return replace(small, **changes)


WIDE = config(vocab_size=320, hidden=256, intermediate=704, heads=8, kv_heads=4, head_dim=64)
ODD = config()
EVERYTHING = config(qkv_bias=True, o_bias=True, mlp_bias=True, qk_norm=True, hidden=41)
SOME = replace(WIDE, layers=3, mixtures=(Mixture(5, 5, 96, True), None, Mixture(5, 5, 96, True)), windows=(None,) * 3)
FEW = replace(ODD, mixtures=(Mixture(21, 3, 51, False),) * 2)
AROUND_BOTH = replace(
    ODD,
    hidden=41,
    qk_norm=True,
    norms=AROUND,
    activation="gelu_tanh",
    embed_scale=6.4,
    logit_cap=1.5,
    local_rope=replace(ODD.rope, frequencies=ODD.rope.frequencies / 7),
    local=(True, False),
)
BEHIND = replace(WIDE, qk_norm=True, qk_joint=True, norms=Norms(None, "a", None, "b"), mixtures=SOME.mixtures[:2])
CONFIGS = {
    "wide": WIDE,
    "odd": ODD,
    "everything": EVERYTHING,
    "some experts": SOME,
    "few of many": FEW,
    "around": AROUND_BOTH,
    "behind": BEHIND,
}


def weights(c: DecoderConfig, dtype: torch.dtype) -> DecoderWeights:
    noise = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return (torch.randn(shape, generator=noise) / shape[-1] ** 0.5).to(dtype)

    def projection(n: int, k: int, bias: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        return drawn(n, k), drawn(n) if bias else None

    def norm(*shape: int) -> torch.Tensor:
        return (1 + 0.1 * torch.randn(shape, generator=noise)).to(dtype)

    def some(name: str | None) -> torch.Tensor | None:
        return None if name is None else norm(c.hidden)

    def mlp(inner: int, bias: bool) -> MlpWeights:
        return MlpWeights(projection(2 * inner, c.hidden, bias), projection(c.hidden, inner, bias))

    def feed(mixture: Mixture | None) -> MlpWeights | ExpertWeights:
        if mixture is None:
            return mlp(c.intermediate, c.mlp_bias)
        experts = [mlp(mixture.intermediate, False) for _ in range(mixture.count)]
        return ExpertWeights(mixture, drawn(mixture.count, c.hidden), experts)

    q = c.heads * c.head_dim
    layers = [
        LayerWeights(
            norm=some(c.norms.before_attention),
            qkv=projection(q + 2 * c.kv_heads * c.head_dim, c.hidden, c.qkv_bias),
            qk_norm=norm(c.heads + c.kv_heads, c.head_dim) if c.qk_norm else None,
            o=projection(c.hidden, q, c.o_bias),
            mlp_norm=some(c.norms.before_feed),
            mlp=feed(c.mixture(i)),
            after_norm=some(c.norms.after_attention),
            after_mlp_norm=some(c.norms.after_feed),
        )
        for i in range(c.layers)
    ]
    head, tables = (drawn(c.vocab_size, c.hidden), None), c.rope.tables(torch.device("cpu"))
    local = None if c.local_rope is None else c.local_rope.tables(torch.device("cpu"))
    return DecoderWeights(drawn(c.vocab_size, c.hidden), layers, norm(c.hidden), head, *tables, local)


def run(layers: Layers, c: DecoderConfig, ids: torch.Tensor, positions: torch.Tensor) -> list[torch.Tensor]:
    """All that comes out of a pass, with a stand-in for attention that works row by row."""
    found = []
    step = layers.start(ids, positions)
    for i in range(c.layers):
        q, k, v = step.queries(i)
        found += [q.clone(), k.clone(), v.clone()]
        fold = c.heads // c.kv_heads
        step.finish(i, q + v.repeat_interleave(fold, 1) - k.repeat_interleave(fold, 1))
    return [*found, step.logits(torch.arange(len(ids)))]


def tokens(c: DecoderConfig, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(count)
    return torch.randint(c.vocab_size, (count,), generator=noise), torch.randint(CONTEXT, (count,), generator=noise)


def native(c: DecoderConfig, kernels: Library, dtype: torch.dtype, int8: bool = False) -> NativeLayers:
    return NativeLayers(c, weights(c, dtype), kernels, Memory(kernels), int8)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_results_are_those_of_torch(kernels: Library, name: str, dtype: torch.dtype, int8: bool) -> None:
    c = CONFIGS[name]
    if c is FEW and dtype is torch.bfloat16:
        pytest.skip("of experts that are nearly as likely, rounding chooses others")
    ids, positions = tokens(c, 70)
    wide = weights(c, dtype)
    doubled = DecoderWeights(
        *(_double(x) for x in wide._replace(layers=list(wide.layers)))  # type: ignore[arg-type]
    )
    right = run(TorchLayers(c, doubled, Rows(exact=False, packed=False, int8=int8)), c, ids, positions)
    close = 2e-5 if dtype is torch.float32 else 6e-2
    for found, expected in zip(run(native(c, kernels, dtype, int8), c, ids, positions), right):
        assert found.dtype is (torch.float32 if found.shape[-1] == c.vocab_size and found.dim() == 2 else dtype)
        torch.testing.assert_close(found.double(), expected.double(), rtol=close, atol=close)


def _double(x: object) -> object:
    if isinstance(x, torch.Tensor):
        return x.double()
    if isinstance(x, LayerWeights | MlpWeights | ExpertWeights):
        return type(x)(*map(_double, x))  # type: ignore[arg-type]
    return type(x)(map(_double, x)) if isinstance(x, list | tuple) else x


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_has_the_same_bits_among_any_number_of_others(
    kernels: Library, name: str, dtype: torch.dtype, int8: bool
) -> None:
    c = CONFIGS[name]
    layers = native(c, kernels, dtype, int8)
    ids, positions = tokens(c, 300)
    full = run(layers, c, ids, positions)
    for count in (*range(24), 63, 64, 65, 130, 253):
        for part in (slice(0, count), slice(300 - count, 300)):
            for found, expected in zip(run(layers, c, ids[part], positions[part]), full):
                assert torch.equal(found, expected[part])


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_no_bit(
    kernels: Library, dtype: torch.dtype, int8: bool, three_threads: None
) -> None:
    layers = native(WIDE, kernels, dtype, int8)
    for count in (1, 2, 5, 70):
        ids, positions = tokens(WIDE, count)
        several = run(layers, WIDE, ids, positions)
        torch.set_num_threads(1)
        assert all(map(torch.equal, several, run(layers, WIDE, ids, positions)))
        torch.set_num_threads(3)


def test_wanted_rows_are_picked_in_their_order(kernels: Library) -> None:
    layers = native(ODD, kernels, torch.bfloat16)
    step = layers.start(*tokens(ODD, 20))
    every = step.logits(torch.arange(20))
    assert torch.equal(step.logits(torch.tensor([7, 3, 3, 19])), every[[7, 3, 3, 19]])
    assert step.logits(torch.tensor([], dtype=torch.int64)).shape == (0, ODD.vocab_size)


def test_a_narrow_pass_after_a_wide_one_is_not_disturbed(kernels: Library) -> None:
    """Buffers are kept, what stands in them must not matter."""
    for c in CONFIGS.values():
        used, fresh = native(c, kernels, torch.bfloat16), native(c, kernels, torch.bfloat16)
        run(used, c, *tokens(c, 200))
        assert all(map(torch.equal, run(used, c, *tokens(c, 3)), run(fresh, c, *tokens(c, 3))))


def test_what_attention_gives_must_fit(kernels: Library) -> None:
    step = native(ODD, kernels, torch.bfloat16).start(*tokens(ODD, 3))
    q, _, _ = step.queries(0)
    for wrong in (q.float(), q[:2]):
        with pytest.raises(ValueError, match="attention gave"):
            step.finish(0, wrong)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_the_likeliest_is_the_first_of_the_largest_logits(
    kernels: Library, name: str, dtype: torch.dtype, threads: int
) -> None:
    c = CONFIGS[name]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        twin = TorchLayers(c, weights(c, dtype), Rows(exact=False, packed=False))
        for compute in (native(c, kernels, dtype), native(c, kernels, dtype, int8=True), twin):
            for count in (1, 7, 70):
                run = compute.start(*tokens(c, count))
                rows = torch.arange(count).flip(0)
                logits = run.logits(rows)
                ids, top = run.likeliest(rows)
                assert ids.tolist() == logits.numpy().argmax(1).tolist()
                assert torch.equal(top, logits.amax(1))
                for mine, same in zip(run.likeliest_and_logits(rows), (ids, top, logits), strict=True):
                    assert torch.equal(mine, same)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 9])
def test_equal_logits_and_none(kernels: Library, count: int) -> None:
    c = config(vocab_size=150)
    for bias, first, value in (
        ({3: 50.0, 17: 50.0, 149: 50.0}, 3, 50.0),  # in one vector and in another panel
        ({80: 50.0, 70: 50.0}, 70, 50.0),
        ({5: float("nan"), 9: float("inf")}, 5, float("nan")),
        ({140: float("inf")}, 140, float("inf")),
        (dict.fromkeys(range(150), float("-inf")), 0, float("-inf")),
    ):
        w = weights(c, torch.float32)
        added = torch.zeros(150)
        for at, much in bias.items():
            added[at] = much
        w = w._replace(head=(torch.zeros_like(w.head[0]), added))
        layers = NativeLayers(c, w, kernels, Memory(kernels))
        ids, top = layers.start(*tokens(c, count)).likeliest(torch.arange(count))
        assert ids.tolist() == [first] * count
        assert torch.equal(top.nan_to_num(-7.0), torch.full((count,), value).nan_to_num(-7.0))


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_all_layers_at_once_are_the_layers_one_by_one(
    kernels: Library, name: str, dtype: torch.dtype, int8: bool, three_threads: None
) -> None:
    """With attention in either: prompts of two requests, then a row of each; the first layer sees a window alone."""
    c = CONFIGS[name]
    layers = native(c, kernels, dtype, int8)
    paths = np.arange(100, 140), np.arange(40, 90)
    found: list[list[torch.Tensor]] = []
    for whole in (True, False):
        cache = KVCache(200, c.layers, c.kv_heads, c.head_dim, CPU, dtype, int8)
        attention = NativeAttention(kernels, cache, c.heads, [8, *[None] * (c.layers - 1)])
        found.append([])
        for spans in (
            [Span(0, 0, 39, paths[0]), Span(39, 0, 49, paths[1])],
            [Span(0, 39, 1, paths[0]), Span(1, 49, 1, paths[1])],
        ):
            places = np.concatenate([np.arange(s.start, s.start + s.count) for s in spans])
            slots = np.concatenate([s.slots[s.start : s.start + s.count] for s in spans])
            ids, _ = tokens(c, len(places))
            step = layers.start(ids, torch.from_numpy(places))
            attend = attention.step(spans, slots)
            step.through(attend if whole else attend.__call__)
            found[-1] += [step.logits(torch.arange(len(places))), cache.data.clone()]
    assert all(map(torch.equal, *found))
    assert found[0][0].isfinite().all()
    assert found[0][-1].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_at_once_where_threads_share_a_long_context(
    kernels: Library, dtype: torch.dtype, three_threads: None
) -> None:
    """Such a context is cut, and its parts are added up: a row of one beside a prompt that is worth a team."""
    c = ODD
    layers = native(c, kernels, dtype)
    path, other = np.arange(1200), np.arange(1200, 1400)
    spans = [Span(0, 1100, 1, path), Span(1, 0, 40, other)]
    slots = np.concatenate([path[1100:1101], other[:40]])
    ids, positions = tokens(c, len(slots))
    found: list[torch.Tensor] = []
    for whole in (False, *[True] * 40):  # who computes which part changes from time to time
        cache = KVCache(1400, c.layers, c.kv_heads, c.head_dim, CPU, dtype)
        cache.data.copy_(torch.randn(cache.data.shape, generator=torch.Generator().manual_seed(3)))
        attention = NativeAttention(kernels, cache, c.heads, [None] * c.layers)
        step = layers.start(ids, positions)
        attend = attention.step(spans, slots)
        step.through(attend if whole else attend.__call__)
        found.append(step.logits(torch.arange(len(slots))))
    assert all(torch.equal(found[0], other) for other in found)
    assert found[0].isfinite().all()


def test_attention_of_another_shape_is_refused_before_any_layer(kernels: Library) -> None:
    step = native(ODD, kernels, torch.bfloat16).start(*tokens(ODD, 3))
    for heads, dtype in ((4, torch.bfloat16), (6, torch.float32)):
        attention = NativeAttention(kernels, KVCache(8, 2, 2, 10, CPU, dtype), heads, [None, None])
        with pytest.raises(ValueError, match="attention gave"):
            step.through(attention.step([Span(0, 0, 3, np.arange(3))], np.arange(3)))
