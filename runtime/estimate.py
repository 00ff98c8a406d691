"""What a program would send for given rows, found without asking a model: the plan behind `lampc explain`.

Every row is run by the reference interpreter with guessed answers: a value of the right type, of about the
length of the predictor's demos. Prompts that depend on answers are therefore estimates, all others exact.
Tools and Python functions are not called: their results are guessed as well.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Assignment, Draw, Module, Sampling
from lampc.ir.adapters import Bound, adapter, bind_prompt
from lampc.ir.prog import Py, Tool
from lampc.ir.types import Record
from lampc.runtime.compile import simplified
from lampc.runtime.experience import Experience
from lampc.runtime.failures import RowFailure
from lampc.runtime.guesses import guess, guessed
from lampc.runtime.interp import interpret
from lampc.runtime.plan import prefix_shares

if TYPE_CHECKING:
    from lampc.runtime.session import Session
    from lampc.runtime.types import Row


@dataclass(frozen=True, slots=True)
class Sent:
    """A call of an endpoint: its parameters, inputs and prompt, and where in it the first and the last message end that
    stand before the one to be answered."""

    bound: Bound
    values: tuple[Any, ...]
    prompt: tuple[int, ...]
    ends: tuple[int, ...] = ()


@dataclass(slots=True)
class NodeEstimate:
    """Of one predictor: calls, their prompts as token ids (those that hang on guessed answers are guesses too), and the
    tokens of the answers."""

    name: str
    model: str = ""
    calls: int = 0
    generated: int = 0
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.prompts))


@dataclass(slots=True)
class Estimate:
    """Nodes in the order of their first call. `failed` rows could not be followed to their end."""

    rows: int
    nodes: dict[str, NodeEstimate] = field(default_factory=dict)
    failed: int = 0
    why: str = ""

    def bounds(self) -> dict[str, int]:
        """Prompt tokens that the prefix trees of all calls need, one tree for each model, by predictor: what several
        have in common counts at one of them."""
        found = dict.fromkeys(self.nodes, 0)
        for model in {node.model for node in self.nodes.values()}:
            owners: dict[tuple[int, ...], str] = {}
            for node in self.nodes.values():
                for prompt in node.prompts if node.model == model else ():
                    owners.setdefault(prompt, node.name)
            for prompt, share in prefix_shares(owners).items():
                found[owners[prompt]] += share
        return found


def estimate(
    session: Session, module: Module, rows: Sequence[Row], entry: str | None, assignment: Assignment, base: Path
) -> Estimate:
    """The plan for `rows`. Prompts of endpoints, whose tokens are not known, count four bytes to a token."""
    out, module = Estimate(len(rows)), simplified(module, assignment)
    guesser = _Guesser(session, module, out)
    for row in rows:
        try:
            interpret(
                module, row.inputs, entry=entry, runner=guesser, assignment=assignment, seed=session.seed,
                row=row.id, base=base, host=guessed_host,
            )  # fmt: skip
        except RowFailure as e:
            out.failed += 1
            out.why = out.why or str(e.row_error(row.id))
    return out


def guessed_host(op: Tool | Py, args: Sequence[Any], module: Module, base: Path) -> Any:
    """What a tool or Python function might return; it is not called."""
    return guess(op.returns)


class _Guesser:
    """Answers every call with a guess, and writes down what would have been sent."""

    def __init__(self, session: Session, module: Module, out: Estimate) -> None:
        self.session, self.module, self.out = session, module, out
        self.experience = Experience()

    def predict(
        self, bound: Bound, inputs: dict[str, Any], sampling: Sampling, draw: Draw
    ) -> tuple[Mapping[str, Any], str]:
        target = self.session.models.get(bound.model, self.module).target
        prompt = adapter(bound.layout).render(bound.signature, bound.name)
        turns = bind_prompt(prompt, bound, [inputs[f.name] for f in bound.signature.inputs], target.quote)
        text = target.render_chat(turns)
        ids = tuple(target.tokens.encode(text)) if target.tokens is not None else tuple(quads(text))
        node = self.out.nodes.setdefault(bound.name, NodeEstimate(bound.name, bound.model))
        node.calls += 1
        node.prompts.append(ids)
        if target.tokens is None:
            from lampc.runtime.endpoint_plan import sent_as

            node.sent.append(sent_as(bound, [inputs[f.name] for f in bound.signature.inputs]))
        encode = target.tokens.encode if target.tokens is not None else quads
        known = self.experience.of(bound, target.info.digest)
        values, answer = guessed(bound, encode, known, random.Random(str(ids)))
        node.generated += len(answer)
        return values, ""

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        return self.session.retriever(self.module, name).search(query, k)


def quads(text: str) -> list[int]:
    """Stands for the tokens of a model whose tokens are not known: four bytes each."""
    data = text.encode()
    return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]


def placeholder_row(params: Record) -> Row:
    """A row of guesses, for a program without data."""
    from lampc.runtime.types import Row

    return Row("0", {n: guess(t) for n, t in params.fields})


__all__ = ["Estimate", "NodeEstimate", "estimate", "placeholder_row", "quads"]
