"""Check what `make setup` needs before it needs it. Standard library only; runs on any Python 3.

    python3 tools/setup_check.py                      Python, venv, free disk, links
    .venv/bin/python tools/setup_check.py --fetch run how many MB pip is going to fetch

Each failure is one line with its fix; the exit code is 1 if there was one.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST, NEWEST = (3, 11), (3, 13)
LINKS = ("backend", "frontend", "ir", "passes", "runtime")

# MB fetched and MB on disk, as measured with constraints.txt on Linux x86-64; macOS wheels are smaller.
TORCH = {"cpu": (190, 760), "cuda": (2900, 7500), "mac": (90, 380)}
OTHERS = {"run": (40, 290), "dev": (170, 845)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fetch", choices=sorted(OTHERS), help="say how much pip fetches for this set")
    parser.add_argument("--constraints", default="constraints.txt")
    parser.add_argument("--pip-args", default="")
    options = parser.parse_args()
    if options.fetch:
        problems = fetch(options.fetch, options.constraints, shlex.split(options.pip_args))
    else:
        problems = python() + disk(OTHERS["run"][1] + TORCH["mac" if sys.platform == "darwin" else "cpu"][1]) + links()
    for problem, mend in problems:
        print(f"setup: {problem}. Fix: {mend}", file=sys.stderr)
    return 1 if problems else 0


def python() -> list:
    """A suitable version, with the modules that make environments."""
    have = sys.version_info[:2]
    name = f"{have[0]}.{have[1]}"
    if not OLDEST <= have <= NEWEST:
        mend = "install Python 3.11, 3.12 or 3.13, or name one: make setup PYTHON=/path/to/python"
        return [(f"Python {name} is not supported (3.11 to 3.13 are)", mend)]
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        mend = (
            "install it (Debian, Ubuntu: apt install python" + name + "-venv), or name another: make setup PYTHON=..."
        )
        return [("this Python has no venv module", mend)]
    return []


def disk(wanted: int) -> list:
    """Free space where `.venv` will stand, in MB, with some to spare for unpacking."""
    free = shutil.disk_usage(ROOT).free // 1_000_000
    needed = wanted * 5 // 4
    if free >= needed:
        return []
    return [(f"{free} MB free, about {needed} needed", "free some space, or clone to another disk")]


def links() -> list:
    """The links from the package to the root folders: git writes text files where links are switched off."""
    broken = []
    for name in LINKS:
        path = os.path.join(ROOT, "src", "lampc", name)
        if not (os.path.islink(path) and os.path.isdir(path)):
            broken.append(name)
    if not broken:
        return []
    mend = "git config core.symlinks true && git checkout -- src/lampc"
    return [(f"src/lampc/: {', '.join(broken)} should be links to the root folders", mend)]


def fetch(extra: str, constraints: str, pip_args: list) -> list:
    """Say how much will be fetched; which build of torch that is, pip knows."""
    build = torch_build(constraints, pip_args)
    fetched, taken = OTHERS[extra]
    if build != "present":
        fetched, taken = fetched + TORCH[build][0], taken + TORCH[build][1]
    torch = {"cpu": "torch's CPU build", "mac": "torch", "cuda": "torch's CUDA build", "present": "torch is there"}
    print(f"setup: pip fetches at most {fetched} MB ({torch[build]}), less what its cache holds", flush=True)
    if build == "cuda":
        print("setup: the CPU build is far smaller; the README says how to choose it", flush=True)
    return disk(taken)


def torch_build(constraints: str, pip_args: list) -> str:
    """`present`, `mac`, `cpu` or `cuda`: asked of pip without fetching the wheel, else guessed from the platform."""
    if sys.platform == "darwin":
        return "mac"
    command = [sys.executable, "-m", "pip", "install", *pip_args, "--quiet", "--dry-run", "--no-deps"]
    command += ["--report", "-", "-c", constraints, "torch"]
    try:
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=True)
        wanted = json.loads(answer.stdout.decode())["install"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return "cuda"
    if not wanted:
        return "present"
    metadata = wanted[0]["metadata"]
    heavy = [r for r in metadata.get("requires_dist", ()) if r.startswith(("nvidia", "cuda", "triton"))]
    return "cuda" if heavy else "cpu"


if __name__ == "__main__":
    sys.exit(main())
