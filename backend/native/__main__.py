"""`python -m lampc.backend.native`: builds the kernels for this machine, or says why there will be none.

--check   build nothing; say what is there (exit code 1: nothing usable)
--force   build even if a library is there
"""

import argparse
import sys
import time

from lampc.backend.native import shared_library
from lampc.backend.native.build import NoKernels, build, built, compiler, library_path


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m lampc.backend.native", description="Build the engine's kernels for this CPU."
    )
    parser.add_argument("--check", action="store_true", help="build nothing, say what is there")
    parser.add_argument("--force", action="store_true", help="build even if a library is there")
    options = parser.parse_args()
    try:
        path = library_path()
        if not options.check and (options.force or not built(path)):
            begun = time.perf_counter()
            build()
            print(f"native kernels: built by {compiler()} in {time.perf_counter() - begun:.1f} s")
        shared_library.load()
        size = path.stat().st_size
    except (NoKernels, OSError) as reason:
        print(f"native kernels: {reason}")
        return 1
    print(f"native kernels: {path}, {size / 1024:.0f} KiB, same results as torch")
    return 0


if __name__ == "__main__":
    sys.exit(main())
