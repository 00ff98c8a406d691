"""A layered layout of nested graphs. Deterministic, no dependency; `layout.js` has the same in JavaScript.

Each container is laid out by itself, its containers as boxes; an edge counts at the level where its two
ends part. Program order ranks the boxes (an edge against it is a way back and does not rank), barycentres
order each layer, and long edges bend around boxes at place holders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from lampc.runtime.pictures.graph import Node, Picture

GAP_X, GAP_Y, PAD, HEAD, LINE = 18.0, 34.0, 12.0, 24.0, 15.0
SWEEPS = 6
SPARE = 4
"""At most so many place holders for each box of a container (and 200 more); edges that need others are straight."""


@dataclass(slots=True)
class Box:
    """Place of a node: left, top, width, height, in pixels; inside its container until `place` is done."""

    x: float = 0.0
    y: float = 0.0
    w: float = 0.0
    h: float = 0.0


@dataclass(slots=True)
class Layout:
    """Boxes by node id, and for each edge of the picture (by index) the points where it bends."""

    boxes: dict[str, Box] = field(default_factory=dict)
    bends: dict[int, list[tuple[float, float]]] = field(default_factory=dict)
    width: float = 0.0
    height: float = 0.0


def text_lines(node: Node) -> list[str]:
    """What a box shows, line by line."""
    counted = [", ".join(f"{k} {v}" for k, v in node.counts.items())] if node.counts else []
    return [_clip(line) for line in (node.label, node.note, *counted) if line]


def _clip(line: str) -> str:
    return line if len(line) <= 46 else line[:45] + "…"


def layout(picture: Picture) -> Layout:
    """Place every node of the picture."""
    made = _Layouter(picture)
    made.container("", 0.0)
    made.place("", 0.0, 0.0)
    top = made.out.boxes.pop("")
    made.out.width, made.out.height = top.w, top.h
    return made.out


@dataclass(slots=True)
class _Item:
    """A box or a place holder of one level: size, rank, place in its layer, and neighbours."""

    id: str
    w: float
    h: float
    rank: int = 0
    x: float = 0.0
    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)


class _Layouter:
    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.children = picture.children()
        self.nodes = {n.id: n for n in picture.nodes}
        self.out = Layout()
        self.local: dict[str, list[tuple[int, int, int]]] = {}  # container -> (edge, source item, target item)
        self.inside: dict[str, list[tuple[int, float, float]]] = {}  # container -> bends in its own coordinates
        self._lift()

    def _chain(self, node: str) -> list[str]:
        chain = [node]
        while chain[-1]:
            chain.append(self.nodes[chain[-1]].parent)
        return chain[::-1]

    def _lift(self) -> None:
        index = {c.id: i for kids in self.children.values() for i, c in enumerate(kids)}
        for number, edge in enumerate(self.picture.edges):
            a, b = self._chain(edge.source), self._chain(edge.target)
            depth = 0
            while depth < min(len(a), len(b)) and a[depth] == b[depth]:
                depth += 1
            if depth < len(a) and depth < len(b):
                self.local.setdefault(a[depth - 1], []).append((number, index[a[depth]], index[b[depth]]))

    def container(self, id: str, head: float) -> None:
        """Lay out what `id` holds, and with that fix its size."""
        kids = self.children.get(id, [])
        for kid in kids:
            if kid.container:
                self.container(kid.id, HEAD + LINE * (len(text_lines(kid)) - 1))
            else:
                lines = text_lines(kid)
                width = max([7.0 * max(map(len, lines), default=1) + 20, 44.0])
                self.out.boxes[kid.id] = Box(0, 0, width, LINE * len(lines) + 12)
        boxes = [self.out.boxes[k.id] for k in kids]
        items = [_Item(k.id, b.w, b.h) for k, b in zip(kids, boxes, strict=True)]
        chains = _rank(items, self.local.get(id, []))
        layers = _layers(items)
        _order(items, layers)
        _spread(items, layers)
        y = PAD + head
        for layer in layers:
            tall = max(items[i].h for i in layer)
            for i in layer:
                item = items[i]
                if i < len(kids):
                    boxes[i].x, boxes[i].y = item.x + PAD, y + (tall - item.h) / 2
                else:
                    for number in chains.get(i, ()):
                        x = item.x + PAD + item.w / 2  # straight past the boxes of this layer
                        self.inside.setdefault(id, []).extend([(number, x, y), (number, x, y + tall)])
            y += tall + GAP_Y
        width = max((i.x + i.w for i in items), default=0.0)
        node = self.nodes.get(id)
        title = 7.0 * max(map(len, text_lines(node)), default=0) + 30 if node else 0.0
        self.out.boxes[id] = Box(0, 0, max(width + 2 * PAD, title, 60.0), max(y - GAP_Y + PAD, HEAD + head))

    def place(self, id: str, x: float, y: float) -> None:
        """Turn places inside containers into places on the page."""
        for number, bx, by in self.inside.get(id, ()):
            self.out.bends.setdefault(number, []).append((bx + x, by + y))
        for kid in self.children.get(id, []):
            box = self.out.boxes[kid.id]
            box.x, box.y = box.x + x, box.y + y
            if kid.container:
                self.place(kid.id, box.x, box.y)


def _rank(items: list[_Item], edges: Iterable[tuple[int, int, int]]) -> dict[int, list[int]]:
    """Give each item its layer, and long edges place holders. Returns the edges each place holder stands for."""
    forward: dict[tuple[int, int], list[int]] = {}
    for number, a, b in edges:
        if a < b:
            forward.setdefault((a, b), []).append(number)
    for a, b in sorted(forward, key=lambda e: (e[1], e[0])):  # by target: sources are ranked already
        items[b].rank = max(items[b].rank, items[a].rank + 1)
    chains: dict[int, list[int]] = {}
    room = SPARE * len(items) + 200
    bending = set()
    for a, b in sorted(forward, key=lambda e: (items[e[1]].rank - items[e[0]].rank, e)):
        room -= items[b].rank - items[a].rank - 1
        if room >= 0:
            bending.add((a, b))
    for (a, b), numbers in sorted(forward.items()):
        last = a
        for rank in range(items[a].rank + 1, items[b].rank if (a, b) in bending else 0):
            items.append(_Item("", 8.0, 8.0, rank))
            chains[len(items) - 1] = numbers
            _join(items, last, len(items) - 1)
            last = len(items) - 1
        _join(items, last, b)
    return chains


def _join(items: list[_Item], a: int, b: int) -> None:
    items[a].down.append(b)
    items[b].up.append(a)


def _layers(items: list[_Item]) -> list[list[int]]:
    layers: list[list[int]] = [[] for _ in range(1 + max((i.rank for i in items), default=-1))]
    for n, item in enumerate(items):
        layers[item.rank].append(n)
    return layers


def _order(items: list[_Item], layers: list[list[int]]) -> None:
    """Order layers by the mean place of their neighbours, downwards and upwards in turn."""
    place = {n: float(i) for layer in layers for i, n in enumerate(layer)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            want = {}
            for n in layer:
                near = items[n].up if down else items[n].down
                want[n] = sum(place[m] for m in near) / len(near) if near else place[n]
            layer.sort(key=lambda n: (want[n], n))
            place.update((n, float(i)) for i, n in enumerate(layer))


def _spread(items: list[_Item], layers: list[list[int]]) -> None:
    """Give items their left edges: under the middle of their neighbours where there is room."""
    for layer in layers:
        x = 0.0
        for n in layer:
            items[n].x = x
            x += items[n].w + GAP_X
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            want = []
            for n in layer:
                near = items[n].up if down else items[n].down
                middle = [items[m].x + items[m].w / 2 for m in near]
                want.append(sum(middle) / len(middle) - items[n].w / 2 if middle else items[n].x)
            _settle(items, layer, want)
    least = min((i.x for i in items), default=0.0)
    for item in items:
        item.x -= least


def _settle(items: list[_Item], layer: list[int], want: list[float]) -> None:
    """As near to `want` as the order and the gaps allow: the mean of packing to the right and to the left."""
    right, edge = [], float("-inf")
    for n, w in zip(layer, want, strict=True):
        right.append(max(w, edge))
        edge = right[-1] + items[n].w + GAP_X
    left, edge = [], float("inf")
    for n, w in zip(reversed(layer), reversed(want), strict=True):
        left.append(min(w, edge - items[n].w))
        edge = left[-1] - GAP_X
    for n, a, b in zip(layer, right, reversed(left), strict=True):
        items[n].x = (a + b) / 2
