"""Building and choosing native kernels: private cache, one OpenMP runtime, and torch wherever there are none."""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lampc.backend.load import load_engine
from lampc.backend.native import __main__ as command
from lampc.backend.native import build, selftest, shared_library
from lampc.backend.native.build import NoKernels
from lampc.backend.native.shared_library import Library, choose

CPU = torch.device("cpu")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without a library."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LAMPC_NATIVE", raising=False)
    shared_library.load.cache_clear()
    return tmp_path / "lampc" / "native"


@pytest.fixture(autouse=True)
def forget() -> None:
    shared_library.load.cache_clear()


def test_without_a_library_torch_computes(tiny: Path, empty_cache: Path) -> None:
    assert choose("auto", CPU, torch.float32) is None
    load_engine(tiny).close()
    assert not empty_cache.exists()  # loading never builds
    with pytest.raises(NoKernels, match=r"not built yet .*python -m lampc\.backend\.native builds them"):
        load_engine(tiny, backend="native")


def test_who_chooses(kernels: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert choose(True, CPU, dtype) is not None
        assert choose("auto", CPU, dtype) is not None
        assert choose(False, CPU, dtype) is None
    monkeypatch.setenv("LAMPC_NATIVE", "0")
    assert choose("auto", CPU, torch.float32) is None
    assert choose(True, CPU, torch.float32) is not None
    assert choose("auto", CPU, torch.float16) is None
    with pytest.raises(NoKernels, match=r"float32 and bfloat16 on cpu, not torch\.float16 on cpu"):
        choose(True, CPU, torch.float16)
    with pytest.raises(NoKernels, match="on cuda"):
        choose(True, torch.device("cuda"), torch.float32)
    with pytest.raises(ValueError, match="native is 'yes'; choose True, False or 'auto'"):
        choose("yes", CPU, torch.float32)


def test_the_digest_says_which_numerics_are_used(kernels: Library, tiny: Path) -> None:
    engines = [load_engine(tiny, backend=backend) for backend in ("native", "native", "torch")]
    digests = [engine.info.digest for engine in engines]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_the_digest_names_torch_and_the_cpu(tiny: Path, monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    def digest() -> str:
        return load_engine(tiny, backend=backend).info.digest

    here = digest()
    assert digest() == here
    monkeypatch.setattr(torch, "__version__", "0.0.1")
    other = digest()
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "ABACUS")
    assert len({here, other, digest()}) == 3


def test_the_kernels_and_torch_share_one_openmp_runtime(kernels: Library) -> None:
    """Each runtime has threads of its own, and two would fight for the cores."""
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    loaded = {Path(line.split(maxsplit=5)[-1]) for line in maps if "/" in line}
    assert {path for path in loaded if path.name.startswith(("libgomp", "libiomp", "libomp"))} == {
        build.openmp_runtime()
    }
    assert any(path.name == kernels.path.name for path in loaded)


@pytest.fixture
def copied(kernels: Library, empty_cache: Path) -> Path:
    """The kernels in a cache of their own."""
    path = build.private(empty_cache) / kernels.path.name
    path.write_bytes(kernels.path.read_bytes())
    path.chmod(0o700)
    assert shared_library.load().digest == kernels.digest
    shared_library.load.cache_clear()
    return path


@pytest.mark.parametrize("up", [0, 1, 2])
@pytest.mark.parametrize("mode", [0o770, 0o777, 0o702])
def test_what_others_can_write_is_not_loaded(copied: Path, up: int, mode: int) -> None:
    place = (copied, *copied.parents)[up]
    place.chmod(mode)
    with pytest.raises(NoKernels, match=f"{place} can be written by others"):
        shared_library.load()
    assert choose("auto", CPU, torch.float32) is None
    if up:
        with pytest.raises(NoKernels, match="can be written by others"):
            build.build()


@pytest.mark.parametrize("up", [0, 1, 2])
def test_what_links_lead_to_is_not_loaded(copied: Path, up: int, tmp_path: Path) -> None:
    place = (copied, *copied.parents)[up]
    place.symlink_to(place.rename(tmp_path / "elsewhere"))
    with pytest.raises(NoKernels, match=f"{place} is a link"):
        shared_library.load()
    if up:
        with pytest.raises(NoKernels, match="is a link"):
            build.build()


def test_what_belongs_to_others_is_not_loaded(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: copied.stat().st_uid + 1)
    with pytest.raises(NoKernels, match="belongs to another user"):
        shared_library.load()
    assert choose("auto", CPU, torch.float32) is None


def denied(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def homeless() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_where_nothing_can_be_looked_at_torch_computes(
    tiny: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with the home of another user, a user without a home, or no /proc: reasons, not crashes."""

    def fails(match: str) -> None:
        shared_library.load.cache_clear()
        with pytest.raises(NoKernels, match=match):
            shared_library.load()
        load_engine(tiny).close()
        for arguments in (["native"], ["native", "--check"]):
            monkeypatch.setattr(sys, "argv", arguments)
            assert command.main() == 1
            assert capsys.readouterr().out.count("\n") == 1
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(empty_cache.parent.parent))
        monkeypatch.delenv("LAMPC_NATIVE", raising=False)

    if not sys.platform.startswith("linux"):
        pytest.skip("kernels are built on Linux only")
    lstat, read = Path.lstat, Path.read_text
    monkeypatch.setattr(Path, "lstat", lambda path: denied() if path.suffix == ".so" else lstat(path))
    fails("cannot be looked for: .*Permission denied")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    fails("no place for native kernels: Could not determine home")
    build.openmp_runtime.cache_clear()
    monkeypatch.setattr(
        Path, "read_text", lambda path, **more: denied() if path.parts[1] == "proc" else read(path, **more)
    )
    fails("which OpenMP runtime is loaded: .*Permission denied")


def test_old_libraries_and_what_killed_builds_left_are_removed(
    kernels: Library, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "small.cpp"
    source.write_text("int nothing;\n")
    monkeypatch.setattr(build, "sources", lambda: [source])
    folder, now = build.private(empty_cache), time.time()

    def put(name: str, days: int) -> str:
        path = folder / name
        if name.startswith("build-"):
            path.mkdir()
        else:
            path.write_bytes(b"")
        os.utime(path, (now - days * 86400, now - days * 86400))
        return name

    for name, days in (("kernels-" + "a" * 24 + ".so", 31), ("build-abc_1", 2)):
        put(name, days)
    kept = {put("kernels-" + "b" * 24 + ".so", 29), put("build-new", 0), put("kernels-mine.so", 99), put("notes", 99)}
    (folder / "build-link").symlink_to(tmp_path)
    path = build.build()
    assert {p.name for p in folder.iterdir()} == kept | {path.name, "build-link"}
    assert source.is_file()


def test_a_library_in_use_stays_young(copied: Path) -> None:
    os.utime(copied, (0, 0))
    shared_library.load()
    assert time.time() - copied.stat().st_mtime < 3600


def test_a_broken_library_is_not_used(kernels: Library, empty_cache: Path) -> None:
    build.private(empty_cache)
    (empty_cache / kernels.path.name).write_bytes(b"not a library")
    with pytest.raises(NoKernels, match="cannot be loaded"):
        shared_library.load()


def test_a_library_with_wrong_results_is_not_used(kernels: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    right = torch.nn.functional.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *a: right(*a) * 1.001)
    assert not selftest.passes(kernels)
    with pytest.raises(NoKernels, match="wrong results"):
        shared_library.load()
    monkeypatch.undo()
    shared_library.load.cache_clear()
    assert shared_library.load().digest == kernels.digest


def test_a_machine_without_a_compiler(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("CXX", "none")
    monkeypatch.setattr(sys, "argv", ["native"])
    assert command.main() == 1
    assert capsys.readouterr().out.count("\n") == 1
    with pytest.raises(NoKernels, match=r"no C\+\+ compiler found"):
        build.build()


def test_another_system(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    build.openmp_runtime.cache_clear()
    try:
        with pytest.raises(NoKernels, match="on Linux only, not on darwin"):
            build.library_path()
        load_engine(tiny).close()
    finally:
        build.openmp_runtime.cache_clear()


def test_errors_of_the_compiler_are_told_in_a_line(
    kernels: Library, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "wrong.cpp"
    source.write_text("int f() { return undefined_name; }\n")
    monkeypatch.setattr(build, "sources", lambda: [source])
    with pytest.raises(NoKernels, match=r"failed: .*wrong\.cpp:1.*undefined_name"):
        build.build()
    assert list(empty_cache.iterdir()) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of processors of one family")
@pytest.mark.parametrize(
    "cpu", ["x86-64", *(pytest.param(n, marks=pytest.mark.slow) for n in ("x86-64-v3", "skylake-avx512", "cooperlake"))]
)
def test_they_compile_for_older_and_newer_processors(kernels: Library, cpu: str) -> None:
    flags = [f"-march={cpu}" if flag == "-march=native" else flag for flag in build.FLAGS]
    for path in build.sources():
        if path.suffix == ".cpp":
            build._run([build.compiler(), *flags, "-O0", "-fsyntax-only", str(path)])


def test_what_reads_keys_where_they_lie_is_compared_with_torch_before_use(
    kernels: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lampc.backend.native.attention import NativeAttention

    right = NativeAttention.step

    def wrong(self: NativeAttention, spans: Any, slots: Any) -> Any:
        attend = right(self, spans, slots)
        return lambda *a: attend(*a) * (1.01 if len(slots) == 1 else 1.0)

    monkeypatch.setattr(NativeAttention, "step", wrong)
    assert not selftest.passes(kernels)


def test_building_makes_a_private_library(
    kernels: Library, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small one: all kernels take a while."""
    source = tmp_path / "small.cpp"
    source.write_text('extern "C" __attribute__((visibility("default"))) void nothing() {}\n')
    monkeypatch.setattr(build, "sources", lambda: [source])
    path = build.build()
    assert path.parent == empty_cache
    assert list(empty_cache.iterdir()) == [path]
    assert [p.stat().st_mode & 0o777 for p in (path, empty_cache, empty_cache.parent)] == [0o700] * 3
    needed = subprocess.run(["readelf", "-d", str(path)], capture_output=True, text=True, check=False).stdout
    assert not needed or str(build.openmp_runtime().parent) in needed
    source.write_text(source.read_text() + "// changed\n")
    assert build.library_path() != path
    assert os.access(path, os.R_OK)


def test_check_builds_nothing(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["native", "--check"])
    if sys.platform.startswith("linux"):
        assert command.main() == 1
        assert "not built yet" in capsys.readouterr().out
    assert not empty_cache.exists()
