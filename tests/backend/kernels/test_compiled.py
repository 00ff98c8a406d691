"""Kernels over rows compile for two generations of GPUs: registers and shared memory fit, nothing is spilled."""

from typing import Any, NamedTuple

import pytest

from lampc.backend.kernels.copy_slots import copy_slots_kernel
from lampc.backend.kernels.gated import gated_kernel
from lampc.backend.kernels.grouped import add_chosen_kernel, grouped_kernel
from lampc.backend.kernels.grouped import launch_shape as grouped_shape
from lampc.backend.kernels.int8_gemv import int8_gemv_kernel, launch_shape, sum_stretches_kernel
from lampc.backend.kernels.linear import TILES, Tile, linear_kernel
from lampc.backend.kernels.norm import rms_norm_kernel
from lampc.backend.kernels.nucleus import draw_kernel
from lampc.backend.kernels.rope_write import rope_write_kernel
from lampc.backend.kernels.routing import route_kernel, sort_pairs_kernel
from lampc.backend.kernels.sampling import best_kernel, gather_kernel, weigh_kernel
from lampc.backend.kernels.token_masks import mask_logits_kernel
from tests.backend.kernels import aot

ARGUMENTS = {
    **dict.fromkeys(["logits", "tops", "cos", "sin", "scales", "parts"], "*fp32"),
    **dict.fromkeys(["temperatures", "top_ps", "min_ps", "sums", "rungs"], "*fp64"),
    **dict.fromkeys(["best", "top_ks", "counts", "found", "counted", "masks", "index"], "*i32"),
    **dict.fromkeys(["tokens", "keys", "indices", "positions", "slots"], "*i64"),
    **dict.fromkeys(["x", "residual", "weight", "out", "gate_up", "qkv", "q", "data", "bias"], "*bf16"),
    **dict.fromkeys(["rows", "size", "tiles", "words", "trash", "length"], "i32"),
    "codes": "*i8",
    "vocab": "i32:16",
    "eps": "fp32",
}
VOCAB_TILES = {"tile": 4096, "tile_block": 64}
HEADS = {"heads": 32, "kv_heads": 8, "group": 8}


class Case(NamedTuple):
    """`registers` bounds those of a thread so that a device holds as many programs as the kernel's speed needs."""

    kernel: Any
    constexprs: dict[str, Any]
    registers: int
    warps: int = 4
    stages: int = 3
    types: dict[str, str] = {}  # noqa: RUF012
    matrix: bool = False
    shared: int = 48 * 1024


def rope(dim: int, norm: bool, int8: bool) -> Case:
    shape = {**HEADS, "dim": dim, "half_block": dim // 2, "normed": norm, "wide_weight": False, "int8": int8}
    return Case(rope_write_kernel, shape, 64, types={"data": "*i8"} if int8 else {})


def gemv(n: int, k: int, group: int) -> Case:
    return Case(int8_gemv_kernel, {**launch_shape(n, k, group), "biased": False}, 64, stages=4, matrix=True)


def experts(n: int, k: int, exact: bool, pairs: int, gather: bool, int8: bool, registers: int) -> Case:
    tile = grouped_shape(k, exact, pairs, 128)
    shape = {"n": n, "k": k, "chosen": 8, "gather": gather, "coded": int8, "wide": False}
    shape |= {name: tile[name] for name in ("row_block", "block", "step")}
    types = {"values": "*i8" if int8 else "*bf16", "out": "*bf16" if gather else "*fp32"}
    types |= {"shares": "*fp32", "order": "*i32", "starts": "*i32"}
    return Case(grouped_kernel, shape, registers, tile["num_warps"], tile["num_stages"], types, matrix=True)


def exact(tile: Tile, registers: int) -> Case:
    """Loads that are waited for lie in shared memory: half of a processor's, at most."""
    shape = {"row_block": tile.rows, "block": tile.outputs, "step": 64, "bands": 16, "whole": True}
    shape |= {"biased": False, "wide": False}
    types = {"m": "i32", "n": "i32:16", "k": "i32:16"}
    return Case(linear_kernel, shape, registers, tile.num_warps, tile.num_stages, types, True, 112 * 1024)


PAIRS = dict.fromkeys(("experts", "order", "starts", "pairs"), "*i32") | {"pairs": "i32", "weights": "*fp32"}
COPY = dict.fromkeys(("source_at", "target_at", "counts"), "*i64")
COPY |= dict.fromkeys(("source_plane", "target_plane", "width"), "i32:16")

CASES = {
    "norm-4096": Case(rms_norm_kernel, {"hidden": 4096, "block": 4096, "add": True, "wide_weight": False}, 64, 16),
    "norm-4096-wide": Case(
        rms_norm_kernel,
        {"hidden": 4096, "block": 4096, "add": True, "wide_weight": True},
        64,
        16,
        types={"weight": "*fp32"},
    ),
    "norm-16384": Case(rms_norm_kernel, {"hidden": 16384, "block": 16384, "add": True, "wide_weight": False}, 64, 16),
    "silu": Case(gated_kernel, {"inner": 14336, "block": 1024, "kind": "silu"}, 48),
    "gelu": Case(gated_kernel, {"inner": 14336, "block": 1024, "kind": "gelu"}, 48),
    "rope-64": rope(64, False, False),
    "rope-128-norm": rope(128, True, False),
    "rope-256-int8": rope(256, True, True),
    "best": Case(best_kernel, {"tile": 4096}, 64, 8),
    "weigh": Case(weigh_kernel, {**VOCAB_TILES, "levels": 16}, 128, 8),
    "gather": Case(gather_kernel, {**VOCAB_TILES, "levels": 16}, 128, 8),
    "draw": Case(draw_kernel, {**VOCAB_TILES, "block": 128}, 128, 8),
    "masks": Case(mask_logits_kernel, {"block": 2048}, 64),
    "gemv-channel": gemv(4096, 4096, 4096),
    "gemv-64": gemv(28672, 4096, 64),
    "gemv-sum": Case(sum_stretches_kernel, {"n": 1024, "count": 4, "block": 256, "biased": True}, 64),
    **{f"linear-{tile.rows}x{tile.outputs}": exact(tile, 128 if tile.rows == 64 else 255) for tile in TILES},
    "experts-exact": experts(1536, 2048, True, 64, True, False, 128),
    "experts-exact-down": experts(2048, 768, True, 64, False, False, 128),
    "experts-exact-int8": experts(1536, 2048, True, 64, True, True, 128),
    "experts-few": experts(1536, 2048, False, 64, True, False, 128),
    "experts-many": experts(2048, 768, False, 4096, False, False, 128),
    "experts-many-int8": experts(2048, 768, False, 4096, False, True, 128),
    "experts-sum": Case(add_chosen_kernel, {"n": 2048, "chosen": 8, "block": 1024}, 48),
    "route": Case(
        route_kernel,
        {"count": 128, "chosen": 8, "block": 128, "few": 8, "normalised": True},
        64,
        1,
        types=PAIRS | {"logits": "*bf16"},
    ),
    "sort-pairs": Case(sort_pairs_kernel, {"count": 128, "block": 1024}, 64, types=PAIRS),
    "copy": Case(copy_slots_kernel, {"block": 1024}, 64, types=COPY | {"source": "*i32", "target": "*i32"}),
}


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nothing_is_spilled(case: Case, arch: int) -> None:
    known = {**ARGUMENTS, **case.types}
    names = [name for name in case.kernel.arg_names if name not in case.constexprs]
    report = aot.compile(
        case.kernel, {n: known[n] for n in names}, case.constexprs, arch, num_warps=case.warps, num_stages=case.stages
    )
    assert report.spills == 0
    assert report.registers <= case.registers
    assert report.shared <= case.shared
    assert (report.matrix > 0) == case.matrix
