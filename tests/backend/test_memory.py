"""How large the KV cache is by default, and that it takes no memory before it is used."""

import gc
from pathlib import Path

import pytest
import torch

from lampc.backend.kv_cache import KVCache
from lampc.backend.load import load_engine
from lampc.backend.memory import SHARE, available_bytes, default_kv_tokens
from tests.backend.engines import request

GIB = 1 << 30


def system(tmp_path: Path, free: int, groups: str, files: dict[str, str]) -> tuple[Path, Path]:
    """Folders that look like /proc and /sys/fs/cgroup."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {free >> 10} kB\n")
    (proc / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, cgroups


def test_without_groups_the_system_says_what_is_free(tmp_path: Path) -> None:
    assert available_bytes(*system(tmp_path, 7 * GIB, "0::/\n", {})) == 7 * GIB


def test_the_tightest_group_counts(tmp_path: Path) -> None:
    files = {
        "pod/memory.max": f"{4 * GIB}\n",
        "pod/memory.current": f"{2 * GIB}\n",
        "pod/memory.stat": f"anon 5\ninactive_file {GIB // 2}\nactive_file 77\n",
        "pod/app/memory.max": "max\n",
        "pod/app/memory.current": f"{GIB}\n",
    }
    assert available_bytes(*system(tmp_path, 7 * GIB, "0::/pod/app\n", files)) == 5 * GIB // 2


def test_groups_of_version_one(tmp_path: Path) -> None:
    files = {
        "memory/pod/memory.limit_in_bytes": f"{3 * GIB}\n",
        "memory/pod/memory.usage_in_bytes": f"{GIB}\n",
        "memory/pod/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 4}\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/memory.usage_in_bytes": f"{GIB}\n",
    }
    groups = "5:cpu:/pod\n4:hugetlb,memory:/pod\n0::/\n"
    assert available_bytes(*system(tmp_path, 7 * GIB, groups, files)) == 9 * GIB // 4


def test_a_group_that_is_full_leaves_nothing(tmp_path: Path) -> None:
    files = {"memory.max": f"{GIB}\n", "memory.current": f"{2 * GIB}\n"}
    assert available_bytes(*system(tmp_path, 7 * GIB, "0::/\n", files)) == 0


def test_this_machine_has_memory() -> None:
    assert 1 << 20 < available_bytes() < 1 << 60


@pytest.mark.parametrize(
    ("free", "tokens"),
    [(0, 2048), (10 * GIB, int(10 * GIB * SHARE) // 12288), (1000 * GIB, 64 * 131072)],
)
def test_the_default_is_a_share_between_one_context_and_all_that_can_run(free: int, tokens: int) -> None:
    context = 2048 if free == 0 else 131072
    assert default_kv_tokens(free, 12288, context, 64) == max(tokens, context)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("int8", [False, True])
def test_a_large_cache_takes_memory_only_where_it_is_used(int8: bool) -> None:
    cpu, slots, size = torch.device("cpu"), 1 << 20, 1 << 30
    before = resident()
    cache = KVCache(slots, 2, 4, 64, cpu, torch.bfloat16, int8)
    assert resident() - before < size // 50
    k = torch.ones(1000, 4, 64)
    cache.write(0, torch.arange(1000), k, k)
    used = resident() - before
    assert used < size // 50
    assert cache.data[0, 0, 0, 999, 0] != 0
    assert not cache.data[1, 1, 3, -10_000:].any()
    for heads in cache.data[0]:
        heads[:, : slots // 4] = 1
    assert resident() - before > size // 16
    del cache, heads
    gc.collect()
    assert resident() - before < size // 50


def test_an_engine_says_how_large_its_cache_is(tiny: Path) -> None:
    with_default = load_engine(tiny, max_running=8, max_waiting=9)
    assert with_default.info.kv_tokens == 8 * with_default.info.context_length
    assert with_default.stats().total_blocks * with_default.info.block_size == with_default.info.kv_tokens
    given = load_engine(tiny, kv_tokens=100)
    assert given.info.kv_tokens == 112
    assert load_engine(tiny, kind="naive").info.kv_tokens == 0
    assert with_default.info.digest == given.info.digest
    handle = given.submit(request("abc", 3))
    given.run()
    assert handle.completion is not None
    assert len(handle.completion.tokens) == 3
