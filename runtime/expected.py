"""Tokens and LM calls that runs on paper stand for: prompts of sample rows, rendered as they would be sent.

Prompts that hang on answers, proposals or demos that nobody made yet are guesses of about their length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, DemoSet, Module, digest, thaw
from lampc.ir.adapters import Bound, bind_predictors, bind_prompt
from lampc.ir.adapters.bind import prompt_of
from lampc.runtime.compile import simplified
from lampc.runtime.estimate import estimate
from lampc.runtime.guesses import guessed
from lampc.runtime.plan import prefix_bound
from lampc.runtime.rehearse import PaperCell, untrained
from lampc.runtime.structure import calls_by_predictor, upstream

if TYPE_CHECKING:
    from lampc.passes.optimize import CallJob
    from lampc.runtime.perform import Program
    from lampc.runtime.session import Session
    from lampc.runtime.types import Row

_CANDIDATES, _ROWS, _PROPOSALS = 48, 3, 64
"""Most candidates and proposals that are rendered, and most rows of each candidate; the rest is in proportion."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """`prompt` tokens are asked for, at least `distinct` of them are to be computed when what prompts have in common is
    shared; `generated` ones are written. `cost` is their price, as far as models have one."""

    prompt: int = 0
    distinct: int = 0
    generated: int = 0
    cost: float = 0.0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(
            self.prompt + other.prompt,
            self.distinct + other.distinct,
            self.generated + other.generated,
            self.cost + other.cost,
        )

    def times(self, factor: float) -> Tokens:
        return Tokens(
            round(self.prompt * factor),
            round(self.distinct * factor),
            round(self.generated * factor),
            self.cost * factor,
        )

    def __str__(self) -> str:
        text = f"{self.prompt:,} tokens in prompts (at least {self.distinct:,} of them to be computed), "
        text += f"{self.generated:,} in answers"
        return text + (f", cost {self.cost:,.4f}" if self.cost else "")


def distinct_calls(
    module: Module, entry: str | None, cells: Mapping[PaperCell, Assignment], kept: bool = True
) -> int | None:
    """LM calls of distinct runs. Where answers are `kept`, equal calls are made once: a predictor is asked again only
    if it, or one whose answers it hangs on, has other parameters. None if the structure does not say how many calls a
    run makes."""
    counts = calls_by_predictor(simplified(module), entry)
    if counts is None or any(r.most is None for r in counts.values()):
        return None
    if not kept:
        return len(cells) * sum(r.least for r in counts.values())
    behind = upstream(module, entry)
    own: dict[Assignment, dict[str, str]] = {}
    seen: dict[str, set[Any]] = {name: set() for name in counts}
    for cell, assignment in cells.items():
        if assignment not in own:
            bound = bind_predictors(module, assignment)
            parts = {n: digest((b.instruction, b.demos, b.layout, b.model, b.cascade)) for n, b in bound.items()}
            others = {k: v for k, v in assignment.values.items() if k.rpartition(".")[0] not in bound}
            own[assignment] = {
                n: digest((*(parts[p] for p in sorted(behind.get(n, {n}))), str(others))) for n in counts
            }
        for name in counts:
            seen[name].add((own[assignment][name], cell.row, cell.rollout, cell.temperature))
    return sum(len(seen[n]) * counts[n].least for n in counts)


def run_tokens(program: Program, cells: Mapping[PaperCell, Assignment], rows: Mapping[Any, Row]) -> Tokens | None:
    """Tokens of runs of a program. None for one that is plain Python: nobody knows what it would ask."""
    if program.unit.dynamic is not None:
        return None
    groups: dict[str, list[PaperCell]] = {}
    for cell in cells:
        groups.setdefault(cell.candidate, []).append(cell)
    names = _some(list(groups), _CANDIDATES)
    total, looked_at, prompts = Tokens(), 0, list[tuple[int, ...]]()
    for name in names:
        group = groups[name]
        sample = [rows[c.row] for c in _some(group, _ROWS) if c.row in rows]
        candidate = untrained(cells[group[0]])
        found = estimate(program.session, program.unit.module, sample, program.entry, candidate, program.session.base)
        if not sample or found.failed == len(sample):
            continue
        share = len(group) / len(sample)
        for node in found.nodes.values():
            extra = node.prompts[1:]
            marginal = (prefix_bound(node.prompts) - len(node.prompts[0])) / len(extra) if extra else 0.0
            unseen = len(node.prompts) * (share - 1)
            price = _price(program.session, program.unit.module, node.name, candidate)
            cost = price.cost(node.prompt_tokens, node.generated) * share if price is not None else 0.0
            total += Tokens(
                round(node.prompt_tokens * share), round(marginal * unseen), round(node.generated * share), cost
            )
            prompts += node.prompts
        looked_at += len(group)
    if not looked_at:
        return None
    total += Tokens(distinct=prefix_bound(prompts))
    return total.times(len(cells) / looked_at)


def proposal_tokens(session: Session, module: Module, jobs: Sequence[CallJob]) -> Tokens:
    """Tokens of calls outside of the program."""
    total, prompts = Tokens(), list[tuple[int, ...]]()
    looked_at = _some(list(jobs), _PROPOSALS)
    for job in looked_at:
        view = session.models.get(job.model, module)
        target = view.target
        bound = Bound("optimizer", job.signature, job.signature.instruction, DemoSet(), job.layout, job.model)
        inputs = thaw(job.inputs)
        turns = bind_prompt(prompt_of(bound), bound, [inputs.get(f.name) for f in job.signature.inputs], target.quote)
        text = target.render_chat(turns)
        ids = tuple(target.tokens.encode(text)) if target.tokens is not None else tuple(_quads(text))
        encode = target.tokens.encode if target.tokens is not None else _quads
        generated = len(guessed(bound, encode)[1])
        total += Tokens(len(ids), 0, generated, view.price.cost(len(ids), generated) if view.price is not None else 0.0)
        prompts.append(ids)
    total += Tokens(distinct=prefix_bound(prompts))
    return total.times(len(jobs) / len(looked_at)) if looked_at else total


def _quads(text: str) -> list[int]:
    """Four bytes to a token, for endpoints, whose tokens are not known."""
    data = text.encode()
    return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]


def _price(session: Session, module: Module, predictor: str, assignment: Assignment) -> Any:
    bound = bind_predictors(module, assignment).get(predictor)
    return None if bound is None else session.models.get(bound.model, module).price


def _some(items: list[Any], most: int) -> list[Any]:
    """At most so many items, spread evenly."""
    if len(items) <= most:
        return items
    return [items[i * len(items) // most] for i in range(most)]


__all__ = ["Tokens", "distinct_calls", "proposal_tokens", "run_tokens"]
