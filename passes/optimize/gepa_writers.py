"""Who writes GEPA's new texts: a proposer of instructions, or Python code of the user's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from lampc.ir import thaw
from lampc.ir.diag import there_are
from lampc.ir.prog import DefPredictor
from lampc.passes.optimize.gepa_records import Record, Reflection
from lampc.passes.optimize.proposers.asking import Asking
from lampc.passes.optimize.proposers.choose import chosen
from lampc.passes.optimize.proposers.protocol import Proposer, Wish
from lampc.passes.optimize.proposers.reflect import Reflect
from lampc.passes.optimize.protocol import OptimizeError, Problem
from lampc.passes.optimize.staged import Stages, together

logger = logging.getLogger(__name__)

Texts: TypeAlias = dict[str, str]
"""New texts by component; none of them if nothing came to mind."""


class Writer(Protocol):
    """Writes what is asked for together. One entry per reflection, in order. What is `finite` may run out of texts."""

    @property
    def finite(self) -> bool: ...

    def write(self, problem: Problem, reflections: Sequence[Reflection]) -> Stages[list[Texts]]: ...

    def calls(self, problem: Problem, components: int) -> int:
        """Most calls of a model for a reflection on so many components."""
        ...


@dataclass(slots=True)
class ByProposer:
    """Asks a proposer for one text per component; what was tried for a component is not to come again."""

    proposer: Proposer
    tried: dict[str, dict[str, None]] = field(default_factory=dict)

    def write(self, problem: Problem, reflections: Sequence[Reflection]) -> Stages[list[Texts]]:
        asked = [(r, name) for r in reflections for name in r.records]
        groups: dict[tuple[str, str], list[int]] = {}
        for i, (reflection, name) in enumerate(asked):
            groups.setdefault((name, reflection.texts[name]), []).append(i)
        predictors = {p.symbol: p for p in problem.predictors()}
        wishes = [self._wish(predictors[name], r, name, i) for i, (r, name) in enumerate(asked)]
        drafts = [self.proposer.begin(problem, [wishes[i] for i in group]) for group in groups.values()]
        yield from together(drafts)
        texts: list[str | None] = [None] * len(asked)
        for group, draft in zip(groups.values(), drafts, strict=True):
            for i, text in zip(group, draft.texts, strict=True):
                texts[i] = text
        out: list[Texts] = [{} for _ in reflections]
        places = [i for i, r in enumerate(reflections) for _ in r.records]
        for place, (reflection, name), text in zip(places, asked, texts, strict=True):
            known = self.tried.setdefault(name, {})
            known[reflection.texts[name]] = None
            if text is not None and text.strip():
                out[place][name] = text.strip()
                known[text.strip()] = None
        return out

    def _wish(self, predictor: DefPredictor, reflection: Reflection, name: str, at: int) -> Wish:
        now = reflection.texts[name]
        remarks = tuple(r.shown() for r in reflection.records[name])
        return Wish(
            predictor, now, remarks=remarks, tried=tuple(self.tried.get(name, ())), number=reflection.number + at
        )

    def calls(self, problem: Problem, components: int) -> int:
        return self.proposer.calls(problem, components)

    @property
    def finite(self) -> bool:
        """A proposer that asks no model has the texts that it has."""
        return not isinstance(self.proposer, Asking)


def writer(proposer: Any, pool: Any, base: Path, written: Reflect, seed: int) -> Writer:
    """The writer that options name, or the one that they hold. Raises OptimizeError for an unknown name."""
    if isinstance(proposer, str) or hasattr(proposer, "begin"):
        return ByProposer(chosen("gepa", proposer, pool, base, written, seed))
    if hasattr(proposer, "write"):
        found: Writer = proposer
        return found
    if callable(proposer):
        return ByFunction(proposer, identity=repr(proposer))
    raise OptimizeError(f"gepa: `proposer` is {proposer!r}; give the name of one, or an object that proposes")


ProposalFunction: TypeAlias = Callable[..., Mapping[str, str]]
"""`(candidate, reflective_dataset, components_to_update)`, as GEPA calls it; gives new texts by component."""


@dataclass(frozen=True, slots=True)
class ByFunction:
    """Asks Python code, which may call models on its own. `names` are what it knows the components by, `identity` tells
    apart what proposes otherwise. Code that raises is asked once more, and then has nothing to say, as with DSPy."""

    function: ProposalFunction = field(repr=False)
    names: tuple[tuple[str, str], ...] = ()
    identity: str = ""

    def write(self, problem: Problem, reflections: Sequence[Reflection]) -> Stages[list[Texts]]:
        yield from ()
        return [self._texts(r) for r in reflections]

    def _texts(self, reflection: Reflection) -> Texts:
        known = dict(self.names)
        back = {v: k for k, v in known.items()}
        candidate = {known.get(n, n): t for n, t in reflection.texts.items()}
        data = {known.get(n, n): [_as_shown(r) for r in rs] for n, rs in reflection.records.items()}
        given: Mapping[str, str] = {}
        for last in (False, True):
            try:
                given = self.function(
                    candidate=dict(candidate),
                    reflective_dataset=data,
                    components_to_update=[known.get(n, n) for n in reflection.components],
                )
                break
            except Exception as e:
                if last:
                    logger.warning("gepa: the instruction proposer failed twice, so nothing is tried: %s", e)
        for name in given:
            if name not in candidate:
                raise OptimizeError(f"gepa: the proposer gave a text for `{name}`; {there_are(candidate)}")
        return {back.get(n, n): str(t) for n, t in given.items()}

    def calls(self, problem: Problem, components: int) -> int:
        return 0

    @property
    def finite(self) -> bool:
        return False


def _as_shown(record: Record) -> dict[str, Any]:
    """A record as DSPy's proposers get it."""
    outputs: Any = {n: str(thaw(v)) for n, v in record.outputs.items()} if record.read else record.text
    inputs = {n: str(thaw(v)) for n, v in record.inputs.items()}
    return {"Inputs": inputs, "Generated Outputs": outputs, "Feedback": record.feedback}
