"""Building the kernels: all `*.cpp` of this folder, by the system's C++ compiler, into one library in the cache.

The library is tied to the CPU it was built on, and to the OpenMP runtime that torch has loaded: with another one
there would be two pools of threads on the same cores. Code is loaded only from files and folders that nobody but
the user can write.
"""

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch  # noqa: F401  # loads the OpenMP runtime

from lampc.backend.errors import BackendError

FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-fvisibility=hidden"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing"),
    *("-Wall", "-Wno-psabi", "-Wno-unknown-pragmas"),
)
_RUNTIMES = ("libgomp", "libiomp5", "libomp")
_DAY = 86400.0  # seconds
_KEPT = 30 * _DAY  # other installations may use libraries of other digests; each load makes its own young again


class NoKernels(BackendError):
    """Why there are no kernels on this machine, in one line."""


def sources() -> list[Path]:
    """All C++ files, headers too, sorted."""
    here = Path(__file__).parent
    return sorted([*here.glob("*.cpp"), *here.glob("*.h")])


def library_path() -> Path:
    """Where the library for these sources, this CPU and this torch is, built or not. Raises NoKernels."""
    runtime = openmp_runtime()
    facts = [*FLAGS, str(runtime), _cpu()]
    digest = hashlib.sha256("\0".join(facts).encode())
    try:
        for path in sources():
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except (OSError, RuntimeError) as error:  # the latter where no home is known
        raise NoKernels(f"there is no place for native kernels: {error}; XDG_CACHE_HOME names one") from error
    return Path(cache) / "lampc" / "native" / f"kernels-{digest.hexdigest()[:24]}.so"


@functools.cache
def openmp_runtime() -> Path:
    """The OpenMP library of this process. Raises NoKernels if there is none, or no way to know."""
    if not sys.platform.startswith("linux"):
        raise NoKernels(f"native kernels are built on Linux only, not on {sys.platform}; torch computes instead")
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise NoKernels(f"no way to know which OpenMP runtime is loaded: {error}") from error
    loaded = (line.split(maxsplit=5)[-1] for line in lines)
    found = sorted({Path(name) for name in loaded if Path(name).name.startswith(_RUNTIMES)})
    if len(found) != 1:
        raise NoKernels(f"{len(found)} OpenMP runtimes are loaded, not one; torch computes instead of native kernels")
    return found[0]


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    flags = next((line for line in text.splitlines() if line.lower().startswith(("flags", "features"))), "")
    return f"{platform.machine()} {flags}"


def compiler() -> str:
    """The C++ compiler: $CXX, or the first that is installed. Raises NoKernels."""
    for name in (os.environ.get("CXX"), "g++", "c++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise NoKernels("no C++ compiler found; install g++ or clang++, or set CXX, for a faster engine on the CPU")


def build() -> Path:
    """Compiles, in place of what may have been there. Raises NoKernels."""
    target, runtime, command = library_path(), openmp_runtime(), [compiler(), *FLAGS]
    try:
        with tempfile.TemporaryDirectory(prefix="build-", dir=private(target.parent)) as name:
            folder = Path(name)
            files = {path: folder / f"{path.stem}.o" for path in sources() if path.suffix == ".cpp"}
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda file: _run([*command, "-c", str(file), "-o", str(files[file])]), files))
            link = [str(runtime), f"-Wl,-rpath,{runtime.parent}"]
            _run([*command, "-shared", *map(str, files.values()), "-o", str(folder / target.name), *link])
            (folder / target.name).chmod(0o700)
            os.replace(folder / target.name, target)
    except OSError as error:
        raise NoKernels(f"the kernels cannot be built: {error}") from error
    _clean(target)
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        first = next((x for x in done.stderr.splitlines() if "error:" in x), done.stderr.strip()[:200])
        raise NoKernels(f"{command[0]} failed: {first}")


def _clean(newest: Path) -> None:
    """Removes libraries that were not loaded for long, and what killed builds left; touches nothing else."""
    now = time.time()
    with contextlib.suppress(OSError):  # another process may be at it
        for path in newest.parent.iterdir():
            state = path.lstat()
            age = now - state.st_mtime
            if stat.S_ISDIR(state.st_mode) and re.fullmatch(r"build-\w+", path.name) and age > _DAY:
                shutil.rmtree(path, ignore_errors=True)
            elif re.fullmatch(r"kernels-[0-9a-f]{24}\.so", path.name) and path != newest and age > _KEPT:
                path.unlink()


def built(path: Path) -> bool:
    """Whether anything is at `path`. Raises NoKernels if it cannot be told."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise NoKernels(f"native kernels cannot be looked for: {error}") from error
    return True


def private(folder: Path) -> Path:
    """The folder of libraries, made if needed, and its parent. Raises NoKernels if others could put libraries there."""
    try:
        folder.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise NoKernels(f"{folder} cannot be used for the native kernels: {error}") from error
    owned(folder.parent, folder)
    return folder


def owned(*paths: Path) -> None:
    """Raises NoKernels unless all are the user's own, no links, and cannot be written by others."""
    for path in paths:
        try:
            state = path.lstat()
        except OSError as error:
            raise NoKernels(f"{path} cannot be used for the native kernels: {error}") from error
        if stat.S_ISLNK(state.st_mode):
            raise NoKernels(f"{path} is a link; native kernels are loaded from folders and files themselves only")
        if state.st_uid != os.getuid():
            raise NoKernels(f"{path} belongs to another user; XDG_CACHE_HOME names another place for native kernels")
        if state.st_mode & 0o022:
            raise NoKernels(f"{path} can be written by others; take it away, or chmod 700 it")
