"""Work for optimizers that no run of their program does: calls of proposers, vectors. What is done is in the store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lampc.ir import DemoSet, Draw, Key, Module, Obj, digest, freeze, thaw
from lampc.ir.adapters import Bound
from lampc.passes.optimize import CallJob, CallResult, EmbedJob, EmbedResult, OptimizeError
from lampc.runtime.cells import NotStored, Spending
from lampc.runtime.failures import UnreadableAnswer
from lampc.runtime.pool import FIREFLY
from lampc.runtime.rounds import Reading, read_calls
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.runtime.session import Session

logger = logging.getLogger(__name__)
_PROPOSER = "optimizer"
_COUNTS = tuple(n for n in Usage.__slots__ if n != "seconds")


class Outside:
    """Finished work by what was asked; each distinct thing is done once. `embedders` have names; while `offline`,
    NotStored is raised for what no process has done."""

    def __init__(self, session: Session, module: Module, spending: Spending, embedders: Mapping[str, Any]) -> None:
        self.session, self.module, self.spending = session, module, spending
        self.embedders = dict(embedders) or _embedders_of(session)
        self.offline = False
        self._answers: dict[str, CallResult] = {}
        self._told = False
        self.usage = Usage()

    # -- proposals ------------------------------------------------------------------------------------

    def calls(self, jobs: Sequence[CallJob]) -> list[CallResult]:
        """Answers to calls outside of the program, made together. An answer that cannot be read, or a model that fails,
        is a result with an error. Raises BudgetSpent."""
        if not jobs:
            return []
        keys = [self._key(job) for job in jobs]
        todo: dict[str, CallJob] = {}
        for key, job in zip(keys, jobs, strict=True):
            if key in self._answers or key in todo:
                continue
            record = self.session.store.get("proposal", key) if self._keeps(job) else None
            if record is None:
                todo[key] = job
            else:
                self._answers[key] = _call_result(record)
                self._note(Usage(**dict(zip(_COUNTS, record["usage"], strict=False))))
        if todo and self.offline:
            raise NotStored(f"{len(todo)} proposals are not in the store")
        if todo:
            self.spending.check()
            self._tell_noise(todo.values())
        readings = read_calls(self.session, [self._call(job) for job in todo.values()], module=self.module)
        for (key, job), found in zip(todo.items(), readings, strict=True):
            record, readable = _call_record(found), found.error is None or isinstance(found.error, UnreadableAnswer)
            if readable and self._keeps(job):  # other failures may pass
                self.session.store.put_first("proposal", key, record)
            self._answers[key] = _call_result(record)
            self._note(found.usage)
        self.spending.check()
        return [self._answers[key] for key in keys]

    def _tell_noise(self, jobs: Iterable[CallJob]) -> None:
        """Says once that the bundled model is asked for what it cannot write."""
        models = (self.session.models.get(job.model, self.module).model for job in jobs)
        if not self._told and any(getattr(model, "source", "") == FIREFLY for model in models):
            self._told = True
            logger.warning(
                "%s writes no prose, and is asked for instructions: they will be words without sense. Let another "
                "model write them (the optimizer's `prompt_model` or `reflection_model`), or take them from edits, "
                "templates or a pool (its `proposer` or `pool`); `lampc explain OPTIMIZER` lists its options",
                FIREFLY,
            )

    def _keeps(self, job: CallJob) -> bool:
        return self.session.store.path is not None or self.session.models.get(job.model, self.module).cached

    def _note(self, usage: Usage) -> None:
        self.usage += usage
        self.spending.note(usage)

    def _key(self, job: CallJob) -> str:
        view = self.session.models.get(job.model, self.module)
        model = (view.target.info.digest, view.mode, repr(sorted(view.defaults.items())), view.extra)
        asked = (job.signature, job.inputs, job.sampling, job.layout, job.number)
        return digest((self.session.seed, model, asked))

    def _call(self, job: CallJob) -> tuple[Bound, dict[str, Any], Any, Draw]:
        key = digest((job.signature, job.inputs, job.sampling, job.layout))
        bound = Bound(_PROPOSER, job.signature, job.signature.instruction, DemoSet(), job.layout, job.model)
        draw = Draw(self.session.seed, Key((_PROPOSER, key)), (), "", job.number)
        return bound, thaw(job.inputs), job.sampling, draw

    # -- vectors --------------------------------------------------------------------------------------

    def embed(self, job: EmbedJob) -> EmbedResult:
        """One vector per text. Raises OptimizeError for an embedder that is not there or fails."""
        name, embedder = self._embedder(job.embedder)
        identity = str(getattr(embedder, "identity", "") or name)
        keys = [digest((identity, text)) for text in job.texts]
        known = {k: r["vector"] for k in dict.fromkeys(keys) if (r := self.session.store.get("vector", k)) is not None}
        missing = {k: t for k, t in zip(keys, job.texts, strict=True) if k not in known}
        if missing and self.offline:
            raise NotStored(f"{len(missing)} vectors are not in the store")
        if missing:
            from lampc.runtime.retrieval.embedder import as_matrix

            try:
                made = as_matrix(embedder(list(missing.values())))
            except Exception as e:
                raise OptimizeError(f"the embedder `{name}` failed: {type(e).__name__}: {e}") from e
            if len(made) != len(missing):
                raise OptimizeError(f"the embedder `{name}` gave {len(made)} vectors for {len(missing)} texts")
            for key, vector in zip(missing, made, strict=True):
                known[key] = [float(v) for v in vector]
                self.session.store.put("vector", key, {"vector": known[key]})
        return EmbedResult(tuple(tuple(known[k]) for k in keys))

    def _embedder(self, name: str) -> tuple[str, Any]:
        if name in self.embedders:
            return name, self.embedders[name]
        if not name and len(self.embedders) == 1:
            return next(iter(self.embedders.items()))
        there = ", ".join(f"`{n}`" for n in self.embedders) or "none"
        wanted = f"there is no embedder `{name}`" if name else "it is not said which embedder is meant"
        raise OptimizeError(f"vectors are asked for, and {wanted}; there is {there}: give one, a lampc.Embedder(...)")


def _embedders_of(session: Session) -> dict[str, Any]:
    """Those of the stores that a session has for retrievers."""
    stores = session.retrieval.stores.items()
    return {name: e for name, store in stores if callable(e := getattr(store, "embedder", None))}


def _call_record(found: Reading) -> dict[str, Any]:
    return {
        "outputs": found.outputs if found.error is None else {},
        "text": found.text,
        "error": str(found.error) if found.error is not None else None,
        "usage": [getattr(found.usage, n) for n in _COUNTS],
    }


def _call_result(record: Mapping[str, Any]) -> CallResult:
    outputs = freeze(record["outputs"])
    assert isinstance(outputs, Obj)
    return CallResult(outputs, record["text"], record["error"])


__all__ = ["Outside"]
