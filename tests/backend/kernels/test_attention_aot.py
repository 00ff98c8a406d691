"""The attention kernels compile for compute capability 8.0 and 9.0 and keep all they need in registers."""

from typing import Any

import pytest

from lampc.backend.kernels.attention import attend_rows
from lampc.backend.kernels.merge import merge_parts
from lampc.backend.kernels.shape import Shape, Tile, Tiling, tiling
from tests.backend.kernels import aot

SHARED = {80: 163 * 1024, 90: 227 * 1024}  # bytes that a block may have at most


def attend(arch: int, shape: Shape, tile: Tile, chunk: int, windows: bool) -> aot.Report:
    value, cell = "*bf16", "*i8" if shape.coded else "*bf16"
    signature = {"q": value, "k": cell, "v": cell, "out": value, "q_stride": "i32:16", "head_stride": "i32"}
    signature |= dict.fromkeys(("k_scales", "v_scales", "parts", "marks"), "*fp32")
    signature |= dict.fromkeys(("work", "members", "positions", "table"), "*i32")
    signature |= {"scale": "fp32", "window": "i32", "limit": "fp32"}
    constexprs: dict[str, Any] = {
        "KV_HEADS": shape.kv_heads,
        "FOLD": shape.fold,
        "DIM": shape.head_dim,
        "BLOCK_D": shape.head_dim,
        "BLOCK_M": tile.rows,
        "BLOCK_N": tile.keys,
        "CHUNK": chunk,
        "CODED": shape.coded,
        "WINDOW": windows,
        "LIMIT": windows,  # Gemma 2 has both
        "WIDE": False,
    }
    return aot.compile(attend_rows, signature, constexprs, arch, tile.warps, tile.stages, enable_fp_fusion=False)


def check(arch: int, shape: Shape, tiles: Tiling, windows: bool) -> None:
    for tile in tiles.tiles:
        report = attend(arch, shape, tile, tiles.chunk, windows)
        assert report.spills == 0, (tile, report)
        assert report.registers * 32 * tile.warps <= 65536, (tile, report)
        assert report.shared <= SHARED[arch], (tile, report)
        assert report.matrix > 0, (tile, report)


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("exact", [True, False])
def test_heads_of_128(arch: int, exact: bool) -> None:
    shape = Shape(8, 4, 128, 2, coded=False, processors=132, capability=arch)
    check(arch, shape, tiling(shape, exact), windows=False)


@pytest.mark.parametrize("arch", [80, 90])
def test_int8_with_windows(arch: int) -> None:
    shape = Shape(8, 4, 128, 1, coded=True, processors=132, capability=arch)
    check(arch, shape, tiling(shape, exact=True), windows=True)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("coded", [True, False])
@pytest.mark.parametrize("windows", [True, False])
@pytest.mark.parametrize(("dim", "fold"), [(64, 7), (64, 2), (128, 8), (128, 1), (256, 2), (256, 4)])
def test_all_shapes(arch: int, exact: bool, coded: bool, windows: bool, dim: int, fold: int) -> None:
    shape = Shape(4, fold, dim, 1 if coded else 2, coded, processors=132, capability=arch)
    check(arch, shape, tiling(shape, exact), windows)


@pytest.mark.parametrize("arch", [80, 90])
def test_merging(arch: int) -> None:
    signature = {"parts": "*fp32", "marks": "*fp32", "merged": "*i32", "out": "*bf16"}
    constexprs = {"HEADS": 32, "DIM": 128, "BLOCK_D": 128}
    report = aot.compile(merge_parts, signature, constexprs, arch, 1, 3, enable_fp_fusion=False)
    assert report.spills == 0
    assert report.registers <= 64


def test_a_kernel_that_does_not_compile_is_an_error() -> None:
    with pytest.raises(aot.CompileError, match="power of 2"):
        attend(80, Shape(8, 4, 128, 2, coded=False, processors=132), Tile(48, 64, 4, 2), 0, windows=False)
