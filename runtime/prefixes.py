"""The prefix tree of a run, with what was computed and what was reused in each part of it.

A node is a stretch of tokens that the same calls have in common; `visits` of it is its length times its calls. As a
prefix cache reuses the beginning of a prompt, of a call that reused c tokens and computed m the first c count as
reused and the next m as computed. Over all nodes the counts add up to those of the engine, and `fewest`, the tokens
that must be computed at least once, to `lampc.runtime.plan.prefix_bound`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from lampc.passes.schedule.block_tree import common_prefix

Prompt = tuple[int, ...] | str


@dataclass(frozen=True, slots=True)
class PrefixCall:
    """A call of a model: its prompt, what was written after it, who asked, and what the engine counted."""

    prompt: Prompt
    written: Prompt = ()
    node: str = ""
    row: str = ""
    computed: int = 0
    cached: int = 0


@dataclass(slots=True, eq=False)
class PrefixNode:
    """Tokens begin .. end - 1 of all prompts below. `again` are tokens that were computed once more (after a
    preemption). `folded` counts the nodes that stand here as one: too small to be seen, their sums are kept."""

    begin: int
    end: int
    text: str = ""
    calls: int = 0
    ends: int = 0
    visits: int = 0
    computed: int = 0
    reused: int = 0
    again: int = 0
    fewest: int = 0
    folded: int = 0
    nodes: Counter[str] = field(default_factory=Counter)
    rows: list[str] = field(default_factory=list)
    children: list[PrefixNode] = field(default_factory=list)
    prompt: Prompt = ()  # the first of those below

    def walk(self) -> Iterable[PrefixNode]:
        """This node and all below it, parents first."""
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo += reversed(node.children)


ROWS = 20
"""As many rows are named of those whose calls end at a node."""


def grow(calls: Sequence[PrefixCall]) -> PrefixNode:
    """The tree of some calls of one model, children in the order of their tokens; its root has no tokens."""
    groups: dict[Prompt, list[PrefixCall]] = {}
    for call in calls:
        groups.setdefault(call.prompt, []).append(call)
    root = PrefixNode(0, 0)
    path = [root]
    paths: list[tuple[Prompt, PrefixNode]] = []
    last: Prompt = next(iter(groups), ())[:0]
    for prompt in sorted(groups):  # all of one kind
        shared, last = common_prefix(last, prompt), prompt  # type: ignore[arg-type]
        while path[-1].begin >= shared and len(path) > 1:
            path.pop()
        if path[-1].end > shared:
            _split(path[-1], shared)
        leaf = PrefixNode(shared, len(prompt), prompt=prompt)
        path[-1].children.append(leaf)
        path.append(leaf)
        paths.append((prompt, leaf))
    _count(root, groups)
    return root


def _split(node: PrefixNode, at: int) -> None:
    """Cut a node in two, the lower part as its only child."""
    below = PrefixNode(at, node.end, children=node.children, prompt=node.prompt)
    node.end, node.children = at, [below]


def _count(root: PrefixNode, groups: dict[Prompt, list[PrefixCall]]) -> None:
    """Fill in counts along the path of each prompt; prompts come as in the tree, from left to right."""
    answers = {prompt: {c.written for c in calls} for prompt, calls in groups.items()}
    path: list[PrefixNode] = []
    above: list[Prompt] = []
    todo = [(root, 0)]
    while todo:
        node, depth = todo.pop()
        todo += [(child, depth + 1) for child in reversed(node.children)]
        path[depth:] = [node]
        if node is root:
            continue
        while above and node.prompt[: len(above[-1])] != above[-1]:
            above.pop()
        node.fewest = node.end - node.begin - _known(node, above, answers)
        found = groups.get(node.prompt, ()) if node.end == len(node.prompt) else ()
        if not found:
            continue
        for call in found:
            _pass(path, call)
        node.ends = len(found)
        node.rows = [c.row for c in found[:ROWS]]
        above.append(node.prompt)


def _pass(path: Sequence[PrefixNode], call: PrefixCall) -> None:
    total = call.cached + call.computed
    for node in path:
        length = node.end - node.begin
        node.calls += 1
        node.visits += length
        node.nodes[call.node] += 1
        node.reused += min(max(call.cached - node.begin, 0), length)
        node.computed += min(max(total - node.begin, 0), length) - min(max(call.cached - node.begin, 0), length)
    path[-1].again += max(total - len(call.prompt), 0)


def _known(node: PrefixNode, above: Sequence[Prompt], answers: dict[Prompt, set[Prompt]]) -> int:
    """How many tokens of a node a model wrote itself, after one of the prompts that stand above it."""
    known, at = 0, node.begin
    for start in above:
        rest = node.prompt[len(start) : node.end]
        end = len(start) + max(common_prefix(rest, written) for written in answers[start])  # type: ignore[arg-type]
        first = max(at, len(start))
        if end > first:
            known += end - first
            at = end
    return known


def name(root: PrefixNode, decode: Callable[[Prompt], str], most: int) -> None:
    """Give each node its text, cut so that all texts together have about `most` characters."""
    nodes = list(root.walk())
    each = min(max(most // len(nodes), 40), 4000)
    for node in nodes:
        text = "" if node.folded else decode(node.prompt[node.begin : min(node.end, node.begin + each)])
        node.text = text if len(text) <= each else text[: each - 1] + "…"
        node.prompt = node.prompt[:0]


def fold(root: PrefixNode, most: int) -> None:
    """Leave at most about `most` nodes: those with most visits below them stay, brothers of the others stand as one."""
    weight: dict[int, int] = {}
    for node in reversed(list(root.walk())):
        weight[id(node)] = node.visits + sum(weight[id(c)] for c in node.children)
    kept, heap, serial = {id(root)}, [(0, 0, root)], 0
    room = most // 2  # each kept node may have one more beside it, for those that are folded
    while heap and len(kept) < room:
        for child in heapq.heappop(heap)[2].children:
            serial += 1
            heapq.heappush(heap, (-weight[id(child)], serial, child))
        if heap:
            kept.add(id(heap[0][2]))
    for node in list(root.walk()):
        if id(node) not in kept or not node.children:
            continue
        small = [c for c in node.children if id(c) not in kept]
        if len(small) == 1 and not small[0].children:
            continue
        if small:
            node.children = [c for c in node.children if id(c) in kept] + [_one(small)]


def _one(nodes: Sequence[PrefixNode]) -> PrefixNode:
    """Nodes and all below them as one, with their sums."""
    made = PrefixNode(nodes[0].begin, nodes[0].begin)
    for top in nodes:
        made.calls += top.calls
        made.nodes += top.nodes
        for node in top.walk():
            made.end = max(made.end, node.end)
            made.folded += 1
            for count in ("visits", "computed", "reused", "again", "fewest", "ends"):
                setattr(made, count, getattr(made, count) + getattr(node, count))
            made.rows = (made.rows + node.rows)[:ROWS]
    return made
