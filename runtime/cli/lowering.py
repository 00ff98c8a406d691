"""Running pipelines on behalf of a command: with the models that lowering needs, opened only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lampc.ir import Module
from lampc.runtime.compile import models_of

if TYPE_CHECKING:
    from lampc.passes.manager import PassContext, Pipeline
    from lampc.runtime.cli.sources import Loaded


def needs_targets(pipeline: Pipeline) -> bool:
    """Whether a pass of the pipeline must know the models' chat templates."""
    return any(p.name == "lower-kv" for p in pipeline.passes)


@contextmanager
def context(loaded: Loaded, module: Module, pipeline: Pipeline, model: str | None) -> Iterator[PassContext]:
    """What the passes may know: targets of the program's models if one of the passes lowers."""
    from lampc.passes.manager import PassContext

    if not needs_targets(pipeline):
        yield PassContext(gates=loaded.gates)
        return
    from lampc.runtime.session import Session

    with Session(model=model, base=loaded.base) as session:
        names = models_of(module)
        yield PassContext(targets={n: session.target(module, n) for n in sorted(names)}, gates=loaded.gates)


def up_to(name: str) -> str:
    """The standard pipeline as far as pass `name`. Raises CommandError for a pass that is not in it."""
    from lampc.passes.table import STANDARD
    from lampc.runtime.cli.failure import CommandError

    names = STANDARD.split(",")
    if name not in names:
        raise CommandError(f"pass `{name}` is not in the standard pipeline: {STANDARD}; give your own with -p")
    return ",".join(names[: names.index(name) + 1])
