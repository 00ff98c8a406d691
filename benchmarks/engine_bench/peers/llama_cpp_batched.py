"""llama.cpp through its low-level interface; `options["gguf"]` is the file that `gguf_convert` made.

The binding's own class runs one sequence. Here all run in one batch: a prefix that all prompts share is decoded once
and copied (`seq_cp`), which needs one cache for all; else each sequence has a cache of its own, which is faster.
Requests that arrive one by one get a free sequence at once, and prompts are read in chunks beside the decoding; with
steps of such unlike lengths one cache for all is faster.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import llama_cpp as lib
import numpy as np
from _harness import Item, Spec, serve, warm_up

BATCH = 512


@dataclass
class Sequence:
    """One request in slot `slot`: `known` ids, the first `done` of which are in the cache."""

    number: int
    slot: int
    known: list[int]
    done: int
    out: int
    priority: int
    made: list[int] = field(default_factory=list)


class LlamaCpp:
    """Greedy: the largest logit, taken by numpy."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(spec.options["gguf"].encode(), lib.llama_model_default_params())
        if not self._model:
            raise RuntimeError("the model cannot be loaded")
        self._vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        self._batch = lib.llama_batch_init(BATCH, 0, 1)
        self._context = None
        self._live: list[Sequence] = []
        self._free: list[int] = []
        self._shared = 0
        self._prepared: list[Item] | None = None
        warm_up(self, self._vocab)

    def _open(self, slots: int, cells: int, unified: bool) -> None:
        """A context for so many sequences: `cells` tokens in all if unified, else each."""
        if self._context is not None:
            lib.llama_free(self._context)
        cells = -(-cells // 256) * 256
        params = lib.llama_context_default_params()
        params.n_ctx = cells if unified else cells * slots
        params.n_batch = params.n_ubatch = BATCH
        params.n_seq_max = slots
        params.n_threads = params.n_threads_batch = self._spec.threads
        params.kv_unified = unified
        params.no_perf = True
        if self._spec.dtype == "float32":
            params.type_k = params.type_v = 0  # GGML_TYPE_F32
        self._context = lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError("no context")
        self._live, self._free = [], list(range(slots))

    def reset(self) -> None:
        """Also prepares for a stream."""
        self._open(self._spec.requests, self._spec.longest * self._spec.requests, unified=True)

    def prepare(self, items: list[Item]) -> None:
        """Makes the context that `generate` needs, which is not part of its time."""
        shared = _shared(items)
        self._shared = shared if shared >= 32 else 0
        own = max(len(i.prompt) + i.out for i in items)
        if self._shared:
            cells = self._shared + sum(len(i.prompt) + i.out - self._shared for i in items)
            self._open(len(items), cells, unified=True)
        else:
            self._open(len(items), own, unified=False)
        self._prepared = items

    def generate(self, items: list[Item]) -> list[list[int]]:
        if self._prepared is not items:
            self.prepare(items)
        self._prepared = None
        memory = lib.llama_get_memory(self._context)
        if self._shared:
            prefix = Sequence(-1, 0, items[0].prompt[: self._shared], 0, 1, 0)
            while prefix.done < self._shared:
                self._run([(prefix, min(BATCH, self._shared - prefix.done))])
            for slot in range(1, len(items)):
                lib.llama_memory_seq_cp(memory, 0, slot, -1, -1)
        everybody = [Sequence(n, n, list(i.prompt), self._shared, i.out, 0) for n, i in enumerate(items)]
        self._live = list(everybody)
        while self._live:
            self._advance()
        return [s.made for s in everybody]

    def submit(self, number: int, item: Item) -> None:
        if not self._free:
            raise RuntimeError("more requests than sequences")
        self._live.append(Sequence(number, self._free.pop(), list(item.prompt), 0, item.out, item.priority))

    def step(self) -> list[tuple[int, int, bool]]:
        moved = self._advance()
        memory = lib.llama_get_memory(self._context)
        for sequence in moved:
            if len(sequence.made) == sequence.out:
                lib.llama_memory_seq_rm(memory, sequence.slot, -1, -1)
                self._free.append(sequence.slot)
        return [(s.number, 1, len(s.made) == s.out) for s in moved]

    def _advance(self) -> list[Sequence]:
        """One batch: all that decode, then prompts, the urgent first, as far as it goes."""
        room, parts = BATCH, []
        order = sorted(self._live, key=lambda s: (len(s.known) - s.done > 1, -s.priority))
        for sequence in order:
            count = min(room, len(sequence.known) - sequence.done)
            if count:
                parts.append((sequence, count))
                room -= count
        moved = self._run(parts)
        self._live = [s for s in self._live if len(s.made) < s.out]
        return moved

    def _run(self, parts: list[tuple[Sequence, int]]) -> list[Sequence]:
        batch, at, rows = self._batch, 0, []
        for sequence, count in parts:
            for position in range(sequence.done, sequence.done + count):
                batch.token[at] = sequence.known[position]
                batch.pos[at] = position
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = sequence.slot
                batch.logits[at] = position == len(sequence.known) - 1
                at += 1
            sequence.done += count
            if sequence.done == len(sequence.known):
                rows.append((sequence, at - 1))
        batch.n_tokens = at
        code = lib.llama_decode(self._context, batch)
        if code:
            raise RuntimeError(f"llama_decode gave {code}")
        for sequence, row in rows:
            logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(self._context, row), (self._vocab,))
            token = int(logits.argmax())
            sequence.made.append(token)
            sequence.known.append(token)
        return [sequence for sequence, _ in rows]

    def close(self) -> None:
        if self._context is not None:
            lib.llama_free(self._context)
        lib.llama_batch_free(self._batch)
        lib.llama_model_free(self._model)


def _shared(items: list[Item]) -> int:
    """Length of what all prompts begin with; 0 for a single one."""
    low, high = min(i.prompt for i in items), max(i.prompt for i in items)
    same = next((n for n, (a, b) in enumerate(zip(low, high)) if a != b), 0)
    return same if len(items) > 1 else 0


if __name__ == "__main__":
    serve(LlamaCpp, "llama-cpp-python")
