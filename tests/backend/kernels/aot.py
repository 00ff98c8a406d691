"""Compiling kernels for a GPU that is not there, and what they take of it.

Triton decides at its import whether kernels are compiled or interpreted, so another Python compiles them: one per
test session, which answers a line of JSON with another.
"""

import atexit
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Report:
    """What one compiled kernel takes: registers per thread, bytes of shared memory per block, bytes of local memory
    per thread (spilled registers and what else found no place in them); `matrix` counts tensor core instructions."""

    registers: int
    shared: int
    spills: int
    matrix: int


class CompileError(Exception):
    """The kernel does not compile; the message is the compiler's."""


def compile(
    kernel: Any,
    signature: Mapping[str, str],
    constexprs: Mapping[str, Any],
    arch: int,
    num_warps: int = 4,
    num_stages: int = 2,
    **options: Any,
) -> Report:
    """Compiles a jit function, which is found again by its module and name, for compute capability `arch`, as 80.

    `signature` gives the types of arguments, "*fp16", "i32" and so on, "i32:16" for a multiple of 16; pointers are
    taken as aligned to 16 bytes, as those of whole tensors are. `constexprs` gives all the others;
    `options` are further ones of a launch, such as enable_fp_fusion. Raises CompileError.
    """
    job = {
        "module": kernel.fn.__module__,
        "name": kernel.fn.__name__,
        "signature": dict(signature),
        "constexprs": dict(constexprs),
        "arch": arch,
        "options": {"num_warps": num_warps, "num_stages": num_stages, **options},
    }
    worker = _worker()
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps(job) + "\n")
    worker.stdin.flush()
    answer = worker.stdout.readline()
    if not answer:
        raise CompileError("the compiling process ended")
    result = json.loads(answer)
    if "error" in result:
        raise CompileError(result["error"])
    return Report(**result)


@cache
def _worker() -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(TESTS), *(path for path in sys.path if path)])
    env = {**os.environ, "PYTHONPATH": paths, "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-W", "ignore", "-m", __name__]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)
    atexit.register(_end, worker)
    return worker


def _end(worker: subprocess.Popen[str]) -> None:
    worker.communicate()  # closes its input, at which it ends


def _compiled(job: dict[str, Any]) -> Report:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.compiler import compile as triton_compile

    function = getattr(importlib.import_module(job["module"]), job["name"])
    types, aligned = {}, []
    for i, name in enumerate(function.arg_names):
        if name in job["constexprs"]:
            types[name] = "constexpr"
            continue
        types[name], _, multiple = job["signature"][name].partition(":")
        if multiple or types[name].startswith("*"):
            aligned.append(i)
    source = ASTSource(
        fn=function,
        signature=types,
        constexprs=job["constexprs"],
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    made = triton_compile(source, target=GPUTarget("cuda", job["arch"], 32), options=job["options"])
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
        code = subprocess.run([tool, "-sass", file.name], capture_output=True, text=True, check=True).stdout
    found = {key: int(value) for key, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    return Report(
        registers=found["REG"],
        shared=made.metadata.shared,
        spills=found["STACK"] + found["LOCAL"],
        matrix=len(re.findall(r"\b(?:[HIBQ]|HG|QG|IG)MMA\b", code)),
    )


def _serve() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what compilers print is no answer
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = asdict(_compiled(json.loads(line)))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    _serve()
