"""Orders of blocks that make prompts share the most.

Up to `EXACT` blocks all permutations are tried, each priced by the exact size of its prefix tree; permutations that
begin alike are priced together. More blocks (wide tables) are ordered greedily, by the rule of GGR (Liu et al.,
Optimizing LLM Queries in Relational Data Analytics Workloads, 2024): first the column whose repeated values save the
most, `(count - 1) * length^2` summed over its values, columns that hang on it right behind; then each block is moved as
long as the tree gets smaller. `row_orders` is GGR itself, with an order of its own for each row: what no single order
can beat by much.

Across predictors, blocks that several have in common are tried in front of all of them together.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lampc.passes.schedule.block_tree import Blocks

EXACT = 6
"""Up to so many blocks every permutation is tried."""
SLIGHT = 0.01
"""A predictor that saves no more than this share of all tokens by its new order keeps its own."""
KEPT = 8
"""As many of a predictor's best orders go into the search across predictors."""

Order = tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """Calls of one predictor. `columns` are the numbers of its blocks, by the block's name, call by call; `own` is the
    order as it is. `movable` says whether it may be changed; `last` are blocks that must not stand at the end."""

    name: str
    own: Order
    columns: Mapping[str, Sequence[int]]
    movable: bool = True
    last: frozenset[str] = frozenset()

    def prompts(self, order: Order) -> Iterator[tuple[int, ...]]:
        """Each call as a sequence of blocks."""
        return zip(*(self.columns[name] for name in order), strict=True)

    def moved(self, order: Order) -> int:
        """How far an order is from the own one: pairs that stand the other way round."""
        place = {name: i for i, name in enumerate(self.own)}
        return sum(place[a] > place[b] for a, b in itertools.combinations(order, 2))


def best_orders(sample: Sample, blocks: Blocks) -> list[tuple[int, Order]]:
    """Orders with the sizes of their trees: the best first, of equals that nearest to the own one. The best with each
    block in front is among them, and the own one."""
    own = blocks.size(sample.prompts(sample.own)), sample.own
    if not sample.movable or len(sample.own) < 2:
        return [own]
    found = list(_all(sample, blocks)) if len(sample.own) <= EXACT else _greedy(sample, blocks)
    ranked = sorted({*found, own}, key=lambda x: (x[0], sample.moved(x[1]), x[1]))
    firsts = [next((x for x in ranked if x[1][0] == name), own) for name in sample.own]
    return list(dict.fromkeys([*ranked[:KEPT], *firsts, own]))


def solve(samples: Sequence[Sample], blocks: Blocks) -> dict[str, Order]:
    """The order of each predictor's blocks, chosen together: those of one model share one tree.

    From several beginnings (each one's own best, as they are, and each common block in front of all that have it) one
    predictor after another takes its best order, given the others', until none gets better.
    """
    options = {s.name: best_orders(s, blocks) for s in samples}

    def size(orders: Mapping[str, Order]) -> int:
        return blocks.size(p for s in samples for p in s.prompts(orders[s.name]))

    as_is = {s.name: s.own for s in samples}
    starts = [as_is, {n: found[0][1] for n, found in options.items()}, *_aligned(samples, options)]
    best, least = as_is, (size(as_is), 0)
    by_name = {s.name: s for s in samples}
    for start in starts:
        orders, now = dict(start), size(start)
        for _ in range(4 * len(samples)):
            before = now
            for name, found in options.items():
                for _, order in found if len(samples) > 1 else found[:1]:
                    if (tried := size({**orders, name: order})) < now:
                        orders, now = {**orders, name: order}, tried
            if now == before:
                break
        price = now, sum(by_name[n].moved(o) for n, o in orders.items())
        if price < least:
            best, least = orders, price
    slack = SLIGHT * size(as_is)
    for name in sorted(best, key=lambda n: -by_name[n].moved(best[n])):  # who moved for next to nothing moves back
        back = {**best, name: by_name[name].own}
        if size(back) <= least[0] + slack:
            best = back
    return best


def row_orders(columns: Mapping[str, Sequence[int]], blocks: Blocks) -> list[Order]:
    """GGR: an order of the columns for each row."""
    names = tuple(columns)
    count = len(next(iter(columns.values()), ()))
    out: list[Order] = [names] * count
    todo: list[tuple[tuple[int, ...], Order, Order]] = [(tuple(range(count)), names, ())]
    while todo:
        rows, rest, front = todo.pop()
        while len(rows) > 1 and len(rest) > 1:
            values = [(_worth(c, v, n, blocks), i, v) for i, name in enumerate(rest) for c in [columns[name]]
                      for v, n in Counter(c[r] for r in rows).items()]  # fmt: skip
            worth, at, value = max(values)
            if worth == 0:
                break
            name = rest[at]
            group = tuple(r for r in rows if columns[name][r] == value)
            along = [n for n in rest if n != name and len({columns[n][r] for r in group}) == 1]
            left = tuple(n for n in rest if n != name and n not in along)
            todo.append((group, left, (*front, name, *along)))
            rows = tuple(r for r in rows if columns[name][r] != value)
        for row in rows:
            out[row] = (*front, *rest)
    return out


# -- one predictor ------------------------------------------------------------------------------------------


def _all(sample: Sample, blocks: Blocks) -> Iterator[tuple[int, Order]]:
    """Every permutation that may be."""
    distinct = list(dict.fromkeys(zip(*(sample.columns[n] for n in sample.own), strict=True)))
    columns = {name: [row[i] for row in distinct] for i, name in enumerate(sample.own)}

    def below(order: Order, rest: Order, groups: list[list[int]], total: int) -> Iterator[tuple[int, Order]]:
        if not rest:
            yield total, order
            return
        for name in rest:
            if len(rest) == 1 and name in sample.last:
                continue
            column, more = columns[name], 0
            parts: list[list[int]] = []
            for group in groups:
                split: dict[int, list[int]] = {}
                for row in group:
                    split.setdefault(column[row], []).append(row)
                more += blocks.spread(frozenset(split))
                parts += split.values()
            yield from below((*order, name), tuple(n for n in rest if n != name), parts, total + more)

    return below((), sample.own, [list(range(len(distinct)))], 0)


def _greedy(sample: Sample, blocks: Blocks) -> list[tuple[int, Order]]:
    """GGR's rule for one order, then moves of one block."""
    empty = [n for n in sample.own if not any(map(blocks.length, sample.columns[n]))]
    rest, order = [n for n in sample.own if n not in empty], list[str]()
    groups: list[list[int]] = [list(range(len(next(iter(sample.columns.values())))))]
    while rest:
        fits = [n for n in rest if len(rest) > 1 or n not in sample.last] or rest
        name = max(fits, key=lambda n: (_saves(sample.columns[n], groups, blocks), -sample.own.index(n)))
        along = [n for n in rest if n != name and _hangs_on(sample.columns[n], sample.columns[name])]
        for taken in (name, *along):
            order.append(taken)
            rest.remove(taken)
            groups = [part for group in groups for part in _split(sample.columns[taken], group)]
    for name in empty:  # nothing yet, but it has a place: behind what it stands behind now
        place = sample.own.index(name)
        order.insert(order.index(sample.own[place - 1]) + 1 if place else 0, name)
    if order[-1] in sample.last:
        order.insert(0, order.pop())
    found = [(blocks.size(sample.prompts(tuple(order))), tuple(order))]
    while True:
        size, now = found[-1]
        moves = (_move(now, i, j) for i in range(len(now)) for j in range(len(now)) if i != j)
        priced = ((blocks.size(sample.prompts(m)), m) for m in moves if m[-1] not in sample.last)
        better = min(priced, key=lambda x: (x[0], sample.moved(x[1])), default=found[-1])
        if better[0] >= size:
            return found
        found.append(better)


def _move(order: Order, start: int, end: int) -> Order:
    rest = [*order[:start], *order[start + 1 :]]
    return (*rest[:end], order[start], *rest[end:])


def _split(column: Sequence[int], group: Sequence[int]) -> list[list[int]]:
    parts: dict[int, list[int]] = {}
    for row in group:
        parts.setdefault(column[row], []).append(row)
    return list(parts.values())


def _worth(column: Sequence[int], value: int, count: int, blocks: Blocks) -> int:
    return (count - 1) * blocks.length(value) ** 2


def _saves(column: Sequence[int], groups: Sequence[Sequence[int]], blocks: Blocks) -> int:
    """GGR's estimate of what a column saves next."""
    return sum(_worth(column, v, n, blocks) for g in groups for v, n in Counter(column[r] for r in g).items())


def _hangs_on(column: Sequence[int], other: Sequence[int]) -> bool:
    """Whether `other` decides `column` (a functional dependency) and repeats itself."""
    pairs = set(zip(other, column, strict=True))
    values = len(set(other))
    return len(pairs) == values < len(column)


# -- several --------------------------------------------------------------------------------------------------


def _aligned(samples: Sequence[Sample], options: Mapping[str, list[tuple[int, Order]]]) -> Iterator[dict[str, Order]]:
    """Beginnings in which predictors put a block in front that they have in common, the others their own best."""
    where: dict[int, set[tuple[str, str]]] = {}
    for s in samples:
        if s.movable:
            for block, column in s.columns.items():
                for number in set(column):
                    where.setdefault(number, set()).add((s.name, block))
    groups = {frozenset(spots) for spots in where.values() if len({name for name, _ in spots}) > 1}
    for group in sorted(groups, key=sorted):
        leads = dict(sorted(group))
        yield {
            name: next((o for _, o in found if o[0] == leads.get(name)), found[0][1]) for name, found in options.items()
        }


__all__ = ["EXACT", "Order", "Sample", "best_orders", "row_orders", "solve"]
