"""lampc's own engine, by its public interface."""

from __future__ import annotations

from typing import Any

import torch
from _harness import Item, Spec, serve, warm_up

from lampc.backend import Handle, Request, Sampling
from lampc.backend.load import load_engine


class Ours:
    """`options` are keywords of `load_engine`; `drop_priority` is FCFS for engines without policies."""

    def __init__(self, spec: Spec) -> None:
        torch.set_num_threads(spec.threads)
        options = dict(spec.options)
        self._drop_priority = options.pop("drop_priority", False)
        self._engine = load_engine(spec.folder, dtype=spec.dtype, **options)
        self._live: dict[int, tuple[int, Handle]] = {}
        info = self._engine.info
        self.about = {
            "native": _native(options, spec.dtype),
            "exact": info.exact,
            "block_size": info.block_size,
            "kv_bytes_per_token": info.kv_bytes_per_token,
        }
        warm_up(self, info.vocab_size)

    def _submit(self, item: Item, **more: Any) -> Handle:
        priority = 0 if self._drop_priority else item.priority
        sampling = Sampling(max_tokens=item.out, ignore_eos=True)
        return self._engine.submit(Request(tuple(item.prompt), sampling, priority=priority, **more))

    def generate(self, items: list[Item]) -> list[list[int]]:
        handles = [self._submit(item) for item in items]
        self._engine.run()
        return [_ids(handle) for handle in handles]

    def reset(self) -> None:
        self._engine.reset_cache()

    def submit(self, number: int, item: Item) -> None:
        handle = self._submit(item)
        self._live[handle.id] = (number, handle)

    def step(self) -> list[tuple[int, int, bool]]:
        for done in self._engine.step():
            _ids(done)
        moved = []
        for number, handle in list(self._live.values()):
            fresh = len(handle.new_tokens())
            if fresh or handle.done:
                moved.append((number, fresh, handle.done))
            if handle.done:
                del self._live[handle.id]
        return moved

    def counters(self, items: list[Item]) -> dict[str, Any]:
        """Token counts since the engine was made."""
        stats = self._engine.stats()
        return {name: getattr(stats, name) for name in ("computed_tokens", "cached_tokens", "preemptions", "steps")}

    def logprobs(self, items: list[Item]) -> dict[str, Any]:
        """ids and ln p of each."""
        self.reset()
        handles = [self._submit(item, logprobs=True) for item in items]
        self._engine.run()
        return {
            "ids": [_ids(h) for h in handles],
            "logprobs": [list(h.completion.logprobs or ()) for h in handles if h.completion is not None],
        }

    def memory(self, items: list[Item]) -> dict[str, Any]:
        """Untimed: tokens' worth of blocks that live requests hold, at its peak, and how many requests live then.

        After every step all that no request holds is dropped, so that what is left are live requests.
        """
        self.reset()
        handles = [self._submit(item) for item in items]
        peak, live = 0, 0
        while not self._engine.idle:
            self._engine.step()
            self.reset()
            used = self._engine.stats().used_blocks
            if used > peak:
                peak, live = used, sum(h.state.value in ("prefilling", "running") for h in handles)
        return {"tokens": peak * self._engine.info.block_size, "live": live}

    def close(self) -> None:
        self._engine.close()


def _native(options: dict[str, Any], dtype: str) -> bool:
    """Whether this engine computes with native kernels."""
    try:
        from lampc.backend.kernel_choice import choose_kernels
    except ImportError:
        return False
    backend = options.get("backend", "auto")
    return choose_kernels(backend, torch.device("cpu"), getattr(torch, dtype)).native is not None


def _ids(handle: Handle) -> list[int]:
    completion = handle.completion
    if completion is None or completion.finish != "length":
        raise RuntimeError(f"a request ended with {completion.finish if completion else None}: {completion}")
    return list(completion.tokens)


if __name__ == "__main__":
    serve(Ours, "torch", "numpy")
