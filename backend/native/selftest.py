"""Whether a library computes what torch computes, on small inputs: asked once per process, before it is used."""

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from lampc.backend.int8 import decode, encode
from lampc.backend.native.linear import Memory, NativeLinear
from lampc.backend.native.shared_library import POINTER, SIZE, Library

if TYPE_CHECKING:
    from lampc.backend.models.decoder_weights import LayerWeights
    from lampc.backend.native.decoder import NativeLayers

_PARTS = (("gates", SIZE), ("take",))  # functions of a rank's layer, and what they are told beside it
_CLOSE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}


def passes(library: Library) -> bool:
    """All kernels against torch."""
    try:
        return _linear(library) and _decoder(library) and _attention(library) and _drawing(library)
    except AttributeError:  # a function is missing
        return False


def _linear(library: Library) -> bool:
    """Also that a row has the same bits alone. Every code of eight bits is met."""
    noise = torch.Generator().manual_seed(0)
    for (dtype, close), int8 in itertools.product(_CLOSE.items(), (False, True)):
        weight, bias, x = (torch.randn(*shape, generator=noise).to(dtype) for shape in ((70, 41), (70,), (9, 41)))
        product = NativeLinear(library, weight, bias, Memory(library), int8)
        known = decode(*encode(weight)) if int8 else weight.float()
        found, right = product(x, wide=True), torch.nn.functional.linear(x.float(), known, bias.float())
        if not torch.allclose(found, right, rtol=close, atol=close) or not torch.equal(product(x[8:], True), found[8:]):
            return False
    return True


def _decoder(library: Library) -> bool:
    from lampc.backend.models.decoder_config import DecoderConfig
    from lampc.backend.models.decoder_torch import TorchLayers
    from lampc.backend.models.decoder_weights import DecoderWeights, LayerWeights
    from lampc.backend.models.experts import ExpertWeights, Mixture, MlpWeights
    from lampc.backend.models.rope import Rope
    from lampc.backend.models.rows import Rows
    from lampc.backend.native.decoder import NativeLayers

    rope = Rope("default", torch.tensor([1.0, 0.1, 0.01, 0.001]), 1.0, 16)
    three = Mixture(3, 2, 40, normalised=True)
    c = DecoderConfig(50, 24, 40, 2, 4, 2, 8, 1e-5, rope, (None, None), False, True, True, True, True)
    noise = torch.Generator().manual_seed(0)
    shapes = ((24,), (64, 24), (6, 8), (24, 32), (24,), (80, 24), (24, 40))
    for dtype, close in _CLOSE.items():
        drawn = [torch.randn(*shape, generator=noise) / shape[-1] ** 0.5 for shape in (*shapes, (50, 24))]
        n1, qkv, qk, o, n2, gate_up, down, embed = (x.to(dtype) for x in drawn)
        mlp = MlpWeights((gate_up, gate_up[:, 0]), (down, down[:, 0]))
        layer = LayerWeights(n1, (qkv, qkv[:, 0]), qk, (o, o[:, 0]), n2, mlp)
        # All experts in bfloat16, where rounding may choose others.
        mixture = replace(three, chosen=3 if dtype is torch.bfloat16 else 2)
        experts = [MlpWeights((gate_up * scale, None), (down, None)) for scale in (1.0, 0.5, -1.0)]
        both = [layer, layer._replace(mlp=ExpertWeights(mixture, qkv[:3], experts))]
        c = replace(c, mixtures=(None, mixture))
        weights = DecoderWeights(embed, both, n1, (embed, None), *rope.tables(embed.device))
        found = []
        for layers in (TorchLayers(c, weights, Rows(False, False)), NativeLayers(c, weights, library, Memory(library))):
            run = layers.start(torch.arange(9), torch.arange(9))
            for i in range(2):
                q, k, v = run.queries(i)
                run.finish(i, q + torch.cat([k, v], 1))
            found.append(run.logits(torch.arange(9)))
        assert isinstance(run, NativeLayers)
        ids, top = run.likeliest(torch.arange(9))
        if not torch.equal(top, found[1].amax(1)) or not torch.equal(ids, found[1].argmax(1)):
            return False
        if not torch.equal(run.likeliest_and_logits(torch.arange(9))[2], found[1]):
            return False
        if not torch.allclose(found[0], found[1], rtol=close, atol=close) or not _sums(library, run, layer, close):
            return False
    return True


def _sums(library: Library, run: "NativeLayers", layer: "LayerWeights", close: float) -> bool:
    """Whether a layer whose products are summed elsewhere is the layer: what ranks compute between sums."""
    from lampc.backend.models.experts import MlpWeights

    assert isinstance(layer.mlp, MlpWeights)
    (o, o_bias), (down, down_bias) = layer.o, layer.mlp.down
    assert o_bias is not None
    assert down_bias is not None
    run.start(torch.arange(9), torch.arange(9))
    x, mixed = run._buffers["x"][:9], run.queries(0)[0].clone()
    before = x.clone()
    run.finish(0, mixed)
    right = x.clone()
    x.copy_(before)
    gates, take = (library.function(f"decoder_{name}", POINTER, POINTER, POINTER, *more) for name, *more in _PARTS)
    inner = run._buffers["inner"]
    refs = run._shape_ref, run._refs[0], run._pass_ref
    first = torch.nn.functional.linear(mixed.flatten(1).float(), o.float(), o_bias.float())
    run._pass.more = first.data_ptr()
    gates(*refs, inner.shape[1])
    second = torch.nn.functional.linear(inner[:9, : down.shape[1]].float(), down.float(), down_bias.float())
    run._pass.more = second.data_ptr()
    take(*refs)
    return torch.allclose(x, right, rtol=close, atol=close)


def _attention(library: Library) -> bool:
    """Many rows, whose keys are brought into order first, and few, whose keys are read where they lie."""
    return _attends(library, 40, 70) and _attends(library, 64, 1)


def _drawing(library: Library) -> bool:
    """In order of ids and by rank."""
    from lampc.backend.bare_draws import BARE, bare_of
    from lampc.backend.native.drawing import native_kernel
    from lampc.backend.request import Sampling
    from lampc.backend.sampler import NUMPY, Draw

    logits = torch.randn(12, 1100, generator=torch.Generator().manual_seed(0)).numpy() * 3
    kinds = Sampling(1.0), Sampling(0.7, min_p=0.01), Sampling(1.0, top_p=0.9), Sampling(0.5, top_k=40)
    draws = [Draw(kinds[i % 4], i, 0) for i in range(12)]
    kernel = native_kernel(library)
    close = np.allclose(kernel.masses(logits), NUMPY.masses(logits), rtol=1e-12)
    bare, at = np.array([bare_of(kinds[0], i, 0) for i in range(12)], BARE), np.arange(12)
    same = kernel.draw_bare(logits, bare, at, 2) == NUMPY.draw_bare(logits, bare, at, 2)
    return close and same and kernel.draw(logits, draws) == NUMPY.draw(logits, draws)


def _attends(library: Library, dim: int, rows: int) -> bool:
    from lampc.backend.attention import make_attention
    from lampc.backend.kv_cache import KVCache
    from lampc.backend.spans import Span

    heads, kv_heads, before = 6, 2, 1030  # what is there before is more than one segment
    noise = torch.Generator().manual_seed(0)
    drawn = [torch.randn(rows, n, dim, generator=noise) for n in (heads, kv_heads, kv_heads)]
    known = [torch.randn(before, kv_heads, dim, generator=noise) for _ in range(2)]
    slots = torch.randperm(before + rows, generator=noise).numpy()
    for (dtype, close), int8 in itertools.product(((torch.float32, 1e-5), (torch.bfloat16, 2e-2)), (False, True)):
        q, k, v = (x.to(dtype) for x in drawn)
        found = []
        for native in (None, library):
            cache = KVCache(before + rows, 2, kv_heads, dim, q.device, dtype, int8)
            attention = make_attention(cache, heads, [50, None], False, native)
            step = attention.step([Span(0, before, rows, slots)], slots[before:])
            for layer in range(2):
                cache.write(layer, torch.from_numpy(slots[:before]), *(x.to(dtype) for x in known))
                found.append(step(layer, q, k, v).double())
        if not all(torch.allclose(*pair, rtol=close, atol=close) for pair in zip(found[:2], found[2:], strict=True)):
            return False
    return True
