"""Code of the user's that proposes instructions for GEPA: where it is asked, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from lampc.ir import digest, freeze
from lampc.runtime.configure import context, session_of
from lampc.runtime.optimizers.base import planning

_KIND = "proposing_code"


class ProposingCode:
    """Calls `function` as GEPA calls proposers, in the context of `lm` if one is given.

    With `kept` what it gives is in the store, by what it was asked and how often it was asked before: a run that goes
    on does not ask again. While a run is only planned it is not asked at all; texts that nothing else has stand in.
    """

    def __init__(self, function: Callable[..., Mapping[str, str]], lm: Any, identity: str, kept: bool) -> None:
        self._function, self._lm, self._identity, self._kept = function, lm, identity, kept
        self._count = 0

    def __call__(
        self, candidate: Mapping[str, str], reflective_dataset: Any, components_to_update: list[str]
    ) -> dict[str, str]:
        self._count += 1
        if planning():
            return {name: f"{candidate[name]} (proposal {self._count})" for name in components_to_update}
        key = digest(freeze([self._identity, self._count, dict(candidate), reflective_dataset, components_to_update]))
        store = session_of("a proposer").store if self._kept else None
        record = None if store is None else store.get(_KIND, key)
        if record is not None:
            return dict(record["texts"])
        with nullcontext() if self._lm is None else context(lm=self._lm):
            texts = dict(
                self._function(
                    candidate=candidate,
                    reflective_dataset=reflective_dataset,
                    components_to_update=components_to_update,
                )
            )
        if store is not None:
            store.put(_KIND, key, {"texts": {str(k): str(v) for k, v in texts.items()}})
        return texts
