"""What the prompt cache of an endpoint would make of a program's prompts, and what their order loses of it.

Counted on the prompts of a plan (`lampc.runtime.estimate`), at four bytes a token, with the first of those that begin
alike going first; that the cache keeps what its rules say is taken for granted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lampc.ir.adapters import adapter, bind_prompt
from lampc.ir.adapters.arranged import layout_in, own_blocks, parts_of
from lampc.runtime.estimate import NodeEstimate, Sent, quads
from lampc.runtime.target import shown

if TYPE_CHECKING:
    from lampc.ir.adapters import Bound
    from lampc.runtime.providers.prices import Price
    from lampc.runtime.providers.rules import Rules

NOTABLE = 0.1
"""Part of a predictor's prompt tokens that another order must give to be told."""


@dataclass(frozen=True, slots=True)
class Cached:
    """Tokens of prompts: all, those that the cache gives, and those that are put into it at a price of their own."""

    prompt: int = 0
    reused: int = 0
    kept: int = 0

    def __add__(self, other: Cached) -> Cached:
        return Cached(self.prompt + other.prompt, self.reused + other.reused, self.kept + other.kept)


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a predictor's blocks by which the cache would give so many tokens more."""

    predictor: str
    layout: str
    gain: int
    prompt: int

    def __str__(self) -> str:
        share = 100 * self.gain / self.prompt
        return (
            f"@{self.predictor}: what varies stands before what does not; in the order `{self.layout}` the cache gives "
            f"{self.gain:,} prompt tokens more ({share:.0f} %): `lampc layout` takes it if held-out rows allow"
        )


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """Of the prompts that one endpoint is sent."""

    rules: Rules
    cached: Cached
    orders: tuple[Order, ...] = ()

    def lines(self) -> list[str]:
        """What is told of it."""
        out = [f"endpoint {self.rules.about()}"]
        if self.rules.caches:
            c = self.cached
            share = f" ({100 * c.reused / c.prompt:.1f} %)" if c.prompt else ""
            out.append(f"prompt cache expected: {c.reused:,} of {c.prompt:,} prompt tokens{share}")
            out += map(str, self.orders)
        return out

    def cost(self, price: Price, generated: int) -> float:
        """What is expected to be paid, with what the cache gives and what keeping costs."""
        read = price.cached if price.cached is not None else price.prompt * self.rules.read_price
        c = self.cached
        surcharge = (self.rules.write_price - 1) * price.prompt * c.kept / 1e6
        return replace(price, cached=read).cost(c.prompt, generated, c.reused) + surcharge


def endpoint_plan(nodes: Iterable[NodeEstimate], rules: Rules) -> EndpointPlan:
    """The plan for an endpoint with these rules."""
    nodes = list(nodes)
    orders = [made for node in nodes if (made := better(node, rules)) is not None]
    return EndpointPlan(rules, cached([s for node in nodes for s in node.sent], rules), tuple(orders))


def cached(sent: Sequence[Sent], rules: Rules) -> Cached:
    """What the cache gives of prompts of which those that begin alike are sent one after another."""
    total = sum(len(s.prompt) for s in sent)
    if rules.cache == "breakpoints":
        return _at_breakpoints(sent, rules, total)
    prompts = sorted(s.prompt for s in sent)
    shared = (_common(a, b) for a, b in pairwise(prompts))
    return Cached(total, sum(map(rules.reused, shared)))


def _at_breakpoints(sent: Sequence[Sent], rules: Rules, total: int) -> Cached:
    """Only what ends at a breakpoint is kept, and that where it is asked for often enough to pay."""
    uses = Counter(s.prompt[:end] for s in sent for end in s.ends if end >= rules.minimum)
    reused = kept = 0
    known: set[tuple[int, ...]] = set()
    for s in sent:
        ends = [end for end in s.ends if rules.pays(uses.get(s.prompt[:end], 0))]
        had = max((end for end in ends if s.prompt[:end] in known), default=0)
        reused += had
        kept += max([*ends, 0]) - had
        known.update(s.prompt[:end] for end in ends)
    return Cached(total, reused, kept)


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def better(node: NodeEstimate, rules: Rules) -> Order | None:
    """The predictor's inputs with those first that vary least, if that is another order by which the cache would give
    notably more; not for layouts that have one order only."""
    if len(node.sent) < 2 or not rules.caches:
        return None
    bound = node.sent[0].bound
    names = [f.name for f in bound.signature.inputs]
    kinds = {n: len({repr(s.values[i]) for s in node.sent}) for i, n in enumerate(names)}
    try:
        base, said = parts_of(bound.layout)
        blocks = said or own_blocks(bound.signature)
        inputs = sorted((b for b in blocks if b in kinds), key=lambda b: kinds[b])
        rest = iter(inputs)
        wanted = [next(rest) if b in kinds else b for b in blocks]
        layout = layout_in(base, wanted, bound.signature)
        adapter(layout)
    except ValueError:
        return None
    if tuple(wanted) == tuple(blocks):
        return None
    moved = [sent_as(replace(s.bound, layout=layout), s.values) for s in node.sent]
    before, after = cached(node.sent, rules), cached(moved, rules)
    gain = after.reused - before.reused
    return Order(node.name, layout, gain, before.prompt) if gain > NOTABLE * before.prompt else None


def sent_as(bound: Bound, values: Sequence[Any]) -> Sent:
    """What an endpoint is sent for a call."""
    prompt = adapter(bound.layout).render(bound.signature, bound.name)
    turns = bind_prompt(prompt, bound, list(values))
    ends = [shown(turns[:n]) for n in sorted({1, len(turns) - 1}) if 0 < n < len(turns)]
    return Sent(bound, tuple(values), tuple(quads(shown(turns))), tuple(len(e.encode()) // 4 for e in ends))


__all__ = ["Cached", "EndpointPlan", "Order", "cached", "endpoint_plan", "sent_as"]
