"""`Parallel`: calls of modules that run together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lampc.frontend.python.example import Example
from lampc.ir.runner import gather
from lampc.ir.settings import settings


class Parallel:
    """Run (module, inputs) pairs at once: their LM calls share batches. Inputs are an `Example`, a dict or a tuple.

    A pair that fails gives None; the last exception is raised once `max_errors` have failed. With
    `return_failed_examples`: (results, failed inputs, their exceptions). Threads, timeouts and stragglers are DSPy's
    names: nothing runs on threads here, so nothing is asked for twice.
    """

    def __init__(
        self,
        num_threads: int | None = None,
        max_errors: int | None = None,
        access_examples: bool = True,
        return_failed_examples: bool = False,
        provide_traceback: bool | None = None,
        disable_progress_bar: bool = False,
        timeout: int = 120,
        straggler_limit: int = 3,
    ) -> None:
        self.num_threads = num_threads
        self.max_errors = settings.max_errors if max_errors is None else max_errors
        self.access_examples = access_examples
        self.return_failed_examples = return_failed_examples

    def forward(self, exec_pairs: Sequence[tuple[Any, Any]], num_threads: int | None = None) -> Any:
        """Raises ValueError for inputs of another kind."""
        pieces = [lambda m=m, x=x: self._call(m, x) for m, x in exec_pairs]
        found = gather(pieces)
        failed = [(x, r) for (_, x), r in zip(exec_pairs, found, strict=True) if isinstance(r, Exception)]
        if self.max_errors and len(failed) >= self.max_errors:
            raise failed[-1][1]
        out = [None if isinstance(r, Exception) else r for r in found]
        return (out, [x for x, _ in failed], [e for _, e in failed]) if self.return_failed_examples else out

    __call__ = forward

    def _call(self, module: Any, inputs: Any) -> Any:
        match inputs:
            case Example():
                return module(**inputs.inputs()) if self.access_examples else module(inputs)
            case dict():
                return module(**inputs)
            case tuple():
                return module(*inputs)
            case list() if isinstance(module, Parallel):
                return module(inputs)
        raise ValueError(f"inputs are an Example, a dict or a tuple, not {type(inputs).__name__}")
