"""Building the kernels: all `*.cpp` of this folder, by the system's C++ compiler, into one library in the cache.

The library is tied to the CPU it was built on, and to the OpenMP runtime that torch has loaded: with another one
there would be two pools of threads on the same cores.
"""

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch  # noqa: F401  # loads the OpenMP runtime

from lampc.backend.errors import BackendError

FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-fPIC", "-fvisibility=hidden"),
    *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wno-psabi", "-Wno-unknown-pragmas"),
)
_RUNTIMES = ("libgomp", "libiomp5", "libomp")


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
    for path in sources():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "lampc" / "native" / f"kernels-{digest.hexdigest()[:24]}.so"


@functools.cache
def openmp_runtime() -> Path:
    """The OpenMP library of this process. Raises NoKernels if there is none, or no way to know."""
    if not sys.platform.startswith("linux"):
        raise NoKernels(f"native kernels are built on Linux only, not on {sys.platform}; torch computes instead")
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
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
        with tempfile.TemporaryDirectory(dir=private(target.parent)) as name:
            folder = Path(name)
            files = {path: folder / f"{path.stem}.o" for path in sources() if path.suffix == ".cpp"}
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(pool.map(lambda file: _run([*command, "-c", str(file), "-o", str(files[file])]), files))
            link = [str(runtime), f"-Wl,-rpath,{runtime.parent}"]
            _run([*command, "-shared", *map(str, files.values()), "-o", str(folder / target.name), *link])
            os.replace(folder / target.name, target)
    except OSError as error:
        raise NoKernels(f"the kernels cannot be built: {error}") from error
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        first = next((x for x in done.stderr.splitlines() if "error:" in x), done.stderr.strip()[:200])
        raise NoKernels(f"{command[0]} failed: {first}")


def private(folder: Path) -> Path:
    """The folder, made if needed. Raises NoKernels if others could put libraries there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError as error:
        raise NoKernels(f"{folder} cannot be used for the native kernels: {error}") from error
    if state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise NoKernels(f"{folder} can be written by others; take it away, or chmod 700 it")
    return folder
