"""Time until something happens: import, `--help`, and compiling a program from source to what is executed.

    python benchmarks/compile_time.py [FILE.lmp] [--rounds 7]

Without a file it is the largest example. `import json` in an interpreter of its own stands beside the imports: what
any Python pays to start.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from _common import ROOT, append, in_turns, machine, median, seconds, spread


def command(*args: str) -> Callable[[], float]:
    """Wall seconds of a fresh interpreter."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}

    def measure() -> float:
        return seconds(
            lambda: subprocess.run([sys.executable, *args], env=env, check=True, capture_output=True, cwd="/")
        )

    return measure


def largest_example() -> Path:
    found = sorted((ROOT / "examples").rglob("*.lmp"), key=lambda p: p.stat().st_size)
    if not found:
        raise SystemExit("there are no examples; name a .lmp file")
    return found[-1]


def phases(path: Path) -> dict[str, Callable[[], float]]:
    """Source to IR, IR to what is executed, and the text form there and back."""
    from lampc.backend import ByteTokenizer
    from lampc.frontend.lmp import compile_lmp
    from lampc.ir import ModelInfo, parse_module
    from lampc.runtime.compile import lower
    from lampc.runtime.target import LocalTarget

    text = path.read_text(encoding="utf-8")
    target = LocalTarget(ModelInfo("bytes", "bytes", 1 << 16), ByteTokenizer())
    module = compile_lmp(text, str(path)).module
    printed = str(module)
    lower(module, lambda name: target)  # imports and the tokenizer's probes are not what is measured
    return {
        "source to IR": lambda: seconds(lambda: compile_lmp(text, str(path))),
        "IR lowered": lambda: seconds(lambda: lower(module, lambda name: target)),
        "IR printed": lambda: seconds(lambda: str(module)),
        "IR parsed": lambda: seconds(lambda: parse_module(printed)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of imports, --help and compilation.")
    parser.add_argument("file", type=Path, nargs="?", help="a .lmp file; the largest example if left out")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    path = args.file or largest_example()
    about = machine("lark", "typer")
    print(f"{about['processor']}, load {about['load']}, Python {about['python']}\n")
    rivals = {
        "import json": command("-c", "import json"),
        "import lampc": command("-c", "import lampc"),
        "lampc --help": command("-m", "lampc", "--help"),
        "lampc check": command("-m", "lampc", "check", str(path.resolve())),
    }
    times = in_turns(rivals, args.rounds) | in_turns(phases(path), args.rounds)
    lines = len(path.read_text(encoding="utf-8").splitlines())
    print(f"{path.name}, {lines} lines")
    for name, figures in times.items():
        print(f"{name:<14} {spread([1000 * f for f in figures])} ms")
    result = {name: round(1000 * median(figures), 2) for name, figures in times.items()}
    print(f"appended to {append('compile_time', {'machine': about, 'file': path.name, 'lines': lines, 'ms': result})}")


if __name__ == "__main__":
    main()
