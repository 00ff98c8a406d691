"""Options of commands that run models on this machine: what computes them, and over how many processes."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lampc.runtime.providers.prices import Price


class BackendName(StrEnum):
    """What `load_engine` takes as `backend`, said again because its module takes long to import."""

    AUTO = "auto"
    TORCH = "torch"
    NATIVE = "native"
    TRITON = "triton"


Backend = Annotated[
    BackendName | None,
    typer.Option(
        "--backend",
        help="What computes models on this machine: torch alone; native, kernels for CPUs; triton, attention on a GPU "
        "(without one, TRITON_INTERPRET=1 has it interpreted, slowly); auto, native if they are built, else torch.",
    ),
]
TensorParallel = Annotated[
    int | None,
    typer.Option(
        "--tensor-parallel",
        metavar="N",
        help="Split models on this machine over N processes: 1, 2, 4 or 8. Outputs are the same for any N.",
    ),
]

Batched = Annotated[
    bool,
    typer.Option(
        "--batch",
        help="Ask an endpoint in its offline batches, one for what is ready at a time: cheaper, done within hours.",
    ),
]


Speculative = Annotated[
    str | None,
    typer.Option(
        "--speculative",
        metavar="METHOD",
        help="Guess tokens of models on this machine and compute them together: ngram, from what stood there before. "
        "Outputs are the same.",
    ),
]


def engine_options(
    backend: BackendName | None, tensor_parallel: int | None, speculative: str | None = None
) -> dict[str, Any]:
    """Those that were given, as `load_engine` and `Session.model_options` take them."""
    kernels = None if backend is None else backend.value
    given = {"backend": kernels, "tensor_parallel": tensor_parallel, "speculative": speculative}
    return {name: value for name, value in given.items() if value is not None}


def price_option(text: str) -> Price | None:
    """The price that an option says. Raises CommandError."""
    from lampc.runtime.cli.failure import CommandError
    from lampc.runtime.providers.prices import price_of

    try:
        return price_of(text.split(",")) if text else None
    except ValueError as e:
        raise CommandError(f"--price {text}: {e}") from None
