"""From a checkpoint folder to an engine."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from lampc.backend.adapting import digest_of
from lampc.backend.api import EngineInfo, TokenEngine
from lampc.backend.engine import PagedEngine
from lampc.backend.errors import BackendError, CheckpointError, Unsupported
from lampc.backend.hooks import Hook
from lampc.backend.kernel_choice import Backend, check_backend, choose_kernels, usual_device
from lampc.backend.kv_cache import bytes_per_token
from lampc.backend.memory import available_bytes, default_kv_tokens
from lampc.backend.models.checkpoint import Checkpoint
from lampc.backend.models.fields import Fields
from lampc.backend.models.lora import Adapters
from lampc.backend.models.registry import Model, check_model, resolve
from lampc.backend.models.rows import Rows
from lampc.backend.models.weights import Weights
from lampc.backend.naive import NaiveEngine
from lampc.backend.parallel.outline import Outline
from lampc.backend.speculation.options import Speculation, speculation_of
from lampc.backend.tokenizer import Tokenizer, read_json

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_engine(
    folder: Path | str,
    *,
    kind: Literal["paged", "naive"] = "paged",
    device: str | None = None,
    dtype: str = "float32",
    exact: bool = True,
    backend: Backend = "auto",
    kv_dtype: Literal["auto", "int8"] = "auto",
    weight_dtype: Literal["auto", "int8"] = "auto",
    context_length: int | None = None,
    kv_tokens: int | None = None,
    host_kv_tokens: int = 0,
    max_batch_tokens: int = 512,
    max_running: int = 64,
    max_waiting: int = 65536,
    prefix_cache: bool = True,
    chunk: int | None = None,
    policy: Literal["priority", "fcfs", "deadline", "prefix", "warm"] = "priority",
    patience: int = 64,
    block_size: int = 16,
    hooks: Sequence[Hook] = (),
    adapters: Mapping[str, Path | str] | None = None,
    async_scheduling: bool | None = None,
    branch_rows: int | None = None,
    speculative: Mapping[str, Any] | str | Speculation | None = None,
    tensor_parallel: int | None = None,
    rank_timeout: float = 30.0,
) -> TokenEngine:
    """An engine for a Hugging Face checkpoint folder (config.json, *.safetensors, tokenizer.json).

    `kv_tokens` is the size of the KV cache in tokens, by default what `lampc.backend.memory` finds room for; the
    engine's `info` says what it came to. Memory is taken when it is first used. `host_kv_tokens` more are kept in host
    memory when they are evicted, and copied back instead of computed (`lampc.backend.host_tier`): on a GPU, that is;
    on a CPU a larger `kv_tokens` does the same without copies. Each rank keeps its own share.
    `chunk` bounds the tokens that one request computes in a step. At most `max_waiting` requests wait; `policy` says
    who of them goes first, see `lampc.backend.policies`, and at most `patience` later ones pass one. `hooks` hear
    of every transition of a request (`lampc.backend.hooks`). `dtype` is what weights are cast to and K/V
    kept in, however they are stored. `context_length`, in tokens, by default the model's, may be less, or more
    up to what its rope scaling stretches to. `backend` is what computes: "torch" alone; "native", the kernels of
    `lampc.backend.native` for CPUs; or "triton", attention by `lampc.backend.kernels` on a GPU, or on the CPU in
    Triton's interpreter if the environment says TRITON_INTERPRET=1, and torch for the rest. "auto" is "native" if its
    kernels were built, and the environment does not say LAMPC_NATIVE=0, else "torch". `device`, "cpu" or "cuda", is by
    default the CPU, for "triton" what its kernels run on.
    `kv_dtype` "int8" keeps K/V in eight bits with a scale per token and head (`lampc.backend.kv_cache`): about half
    of bfloat16's memory, a quarter of float32's, and not quite the same results. `weight_dtype` "int8" does so with
    the weights of linear layers, the output projection among them, with a scale per output (`lampc.backend.int8`);
    embeddings, norms and biases stay as they are, and so does what is computed with.
    `adapters` are LoRA adapters by name, each in a folder as PEFT saves it (`lampc.backend.models.lora`): a request
    may name one. More can be loaded later (`lampc.backend.adapting`). Rows with an adapter go through layers product by
    product, the others as if there were none; Triton's kernels, several ranks and K/V in host memory do without.
    `async_scheduling` launches each step before the tokens of the one before it have reached the host, which hides what
    the host does behind what the device computes; by default where "triton" runs on a GPU. It changes no result; what
    ends by a token (a stop id, not `max_tokens`) costs a row that nobody hears of. Ranks do without.
    `branch_rows` bounds how many rows of a step may compute ways on from places where few texts can follow, for
    requests that have some (`lampc.backend.branches`): 0 is none, the default 16, with "triton" 256. It changes no
    result. Ranks do without.
    `speculative` guesses tokens and computes them beside the newest one, {"method": "ngram"} with the options of
    `lampc.backend.speculation.options.Speculation`, or that name alone: fewer steps where a model copies, and the same
    tokens. Steps are not launched ahead then; ranks do without.
    `tensor_parallel` splits the model over 1, 2, 4 or 8 ranks, which are started here or by torchrun; a rank may keep
    the others waiting for `rank_timeout` seconds. In exact mode any number of ranks, 1 included, gives the same bits;
    None, the default, computes unsplit and gives others. See `docs/tensor-parallel.md`.
    Raises CheckpointError, UnknownArchitecture, Unsupported, NoKernels, RankFailed or ValueError.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype is {dtype!r}; choose one of {', '.join(_DTYPES)}")
    if kv_dtype not in ("auto", "int8"):
        raise ValueError(f"kv_dtype is {kv_dtype!r}; choose 'auto', which is dtype, or 'int8'")
    if weight_dtype not in ("auto", "int8"):
        raise ValueError(f"weight_dtype is {weight_dtype!r}; choose 'auto', which is dtype, or 'int8'")
    if kind not in ("paged", "naive"):
        raise ValueError(f"kind is {kind!r}; choose 'paged' or 'naive'")
    if context_length is not None and context_length < 1:
        raise ValueError(f"context_length is {context_length}; give a positive number of tokens")
    if branch_rows is not None and (not isinstance(branch_rows, int) or branch_rows < 0):
        raise ValueError(f"branch_rows is {branch_rows!r}; give rows of a step, 0 for none, or None")
    if not isinstance(host_kv_tokens, int) or isinstance(host_kv_tokens, bool) or host_kv_tokens < 0:
        raise ValueError(f"host_kv_tokens is {host_kv_tokens!r}; give tokens, or 0 for no K/V in host memory")
    if adapters is not None and not (isinstance(adapters, Mapping) and all(n and isinstance(n, str) for n in adapters)):
        raise ValueError(f"adapters is {adapters!r:.80}; give folders by name: {{'name': folder}}")
    if host_kv_tokens and (kind == "naive" or not prefix_cache):
        raise ValueError("host_kv_tokens needs kind='paged' and prefix_cache=True; leave it 0, or set these")
    speculation = speculation_of(speculative)
    if speculation is not None and (kind == "naive" or tensor_parallel is not None):
        raise Unsupported("speculative is for kind='paged' and one rank; leave it out, or tensor_parallel")
    check_backend(backend, kind)
    if adapters and (backend == "triton" or tensor_parallel is not None or host_kv_tokens):
        raise Unsupported("adapters are for one rank, without Triton's kernels or K/V in host memory; leave these out")
    device = device or usual_device(backend)
    if kind == "naive" and device != "cpu":
        raise ValueError("the naive engine runs on the CPU only; leave device='cpu'")
    if tensor_parallel is not None:
        from lampc.backend.parallel import team  # torch is not built with its distributed part everywhere

        team.check(tensor_parallel, rank_timeout, kind, device)
        team.follow(tensor_parallel)
    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the folder of a checkpoint")
    config = read_json(path)
    fields = Fields(config, path)
    model_class = resolve(config, path)
    fields.only("quantization_config")
    tokenizer = Tokenizer.load(folder)
    weights = Weights(folder)
    where, number = torch.device(device), _DTYPES[dtype]
    kernels = choose_kernels(backend, where, number)
    rows = Rows(exact, native=kernels.native, int8=weight_dtype == "int8", triton=kernels.triton)
    model: Model | Outline
    if tensor_parallel is None:
        taking = not rows.triton and not host_kv_tokens
        lora = Adapters(where, number, rows) if taking else None
        model = whole = model_class.load(Checkpoint(fields, weights, where, number, rows, context_length, lora))
        check_model(model)
        if getattr(model, "adapters", None) is not lora:
            lora = None
        weights.check_all_read()
    else:
        model = team.outline(tensor_parallel, model_class, fields, context_length)
    weights.close()
    if tokenizer.vocab_size > model.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} ids but the model only {model.vocab_size}"
        )
    int8 = kv_dtype == "int8"
    per_token = bytes_per_token(model.layers, model.kv_heads, model.head_dim, number, int8)
    if tensor_parallel is not None and where.type == "cpu":
        per_token *= tensor_parallel  # all ranks keep theirs in the same memory
    parts = (weights.digest(), path.read_text(encoding="utf-8"), tokenizer.digest, dtype, device, str(exact))
    # Some rope scalings depend on the context; kernels round in other places than torch does.
    more: tuple[str, ...] = (
        str(model.context_length),
        kernels.digest,
        kv_dtype,
        weight_dtype,
        *_numerics(),
    )
    if tensor_parallel is not None:
        more = (*more, team.numerics(tensor_parallel, exact))
    info = EngineInfo(
        name=folder.resolve().name,
        vocab_size=model.vocab_size,
        context_length=model.context_length,
        kv_bytes_per_token=per_token,
        block_size=block_size,
        exact=exact,
        digest=digest_of((*parts, *more)),
    )
    if kind == "naive":
        return _with(adapters, NaiveEngine(whole, tokenizer, info, rows, int8=int8, hooks=hooks), lora, (*parts, *more))
    if kv_tokens is None:
        free = torch.cuda.mem_get_info(where)[0] if where.type == "cuda" else available_bytes()
        kv_tokens = default_kv_tokens(free, per_token, model.context_length, max_running)
    if tensor_parallel is not None:
        settings = team.Settings(
            folder=str(folder.resolve()),
            ranks=tensor_parallel,
            device=where.type,
            dtype=dtype,
            exact=exact,
            backend=kernels.backend,
            kernels=kernels.digest,
            int8=int8,
            int8_weights=rows.int8,
            context_length=context_length,
            slots=max(1, -(-kv_tokens // block_size)) * block_size,
            host_blocks=-(-host_kv_tokens // block_size),
            block_size=block_size,
            timeout_s=rank_timeout,
            threads=torch.get_num_threads(),
        )
        return team.start(
            settings,
            tokenizer,
            info,
            max_batch_tokens=max_batch_tokens,
            max_running=max_running,
            max_waiting=max_waiting,
            prefix_cache=prefix_cache,
            chunk=chunk,
            policy=policy,
            patience=patience,
            hooks=hooks,
        )
    ahead = kernels.triton and where.type == "cuda" and speculation is None
    engine = PagedEngine(
        whole,
        tokenizer,
        info,
        rows,
        device=where,
        dtype=number,
        int8=int8,
        kv_tokens=kv_tokens,
        host_kv_tokens=host_kv_tokens,
        max_batch_tokens=max_batch_tokens,
        max_running=max_running,
        max_waiting=max_waiting,
        prefix_cache=prefix_cache,
        chunk=chunk,
        policy=policy,
        patience=patience,
        hooks=hooks,
        branch_rows=(256 if kernels.triton else 16) if branch_rows is None else branch_rows,
        async_scheduling=ahead if async_scheduling is None else async_scheduling,
        speculative=speculation,
    )
    return _with(adapters, engine, lora, (*parts, *more))


Made = TypeVar("Made", NaiveEngine, PagedEngine)


def _with(
    adapters: Mapping[str, Path | str] | None, engine: Made, own: Adapters | None, parts: tuple[str, ...]
) -> Made:
    """The engine with adapters."""
    engine.adapt(own, parts)
    try:
        for name, folder in (adapters or {}).items():
            engine.add_adapter(name, folder)
    except BackendError:
        engine.close()
        raise
    return engine


def _numerics() -> tuple[str, str, str]:
    """What else decides tokens, beside the model: how torch rounds, which depends on its version and on the vector
    instructions that it uses; and what reads grammars."""
    return torch.__version__, torch.backends.cpu.get_cpu_capability(), version("llguidance")
