"""SVG with our own layout: no Graphviz needed, the same bytes every time."""

from __future__ import annotations

import itertools
import re
from xml.sax.saxutils import escape, quoteattr

from lampc.runtime.pictures.colors import CHANGED, COLORS, DASHES, EDGES, INTO, NEW, PROBLEM
from lampc.runtime.pictures.graph import CHANGES, FRESH, GONE, Edge, Node, Picture
from lampc.runtime.pictures.layout import LINE, Box, Layout, layout, text_lines

_FONT = "ui-sans-serif, Helvetica, Arial, sans-serif"
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(picture: Picture) -> str:
    """SVG text of the picture."""
    placed = layout(picture)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {placed.width:.0f} {placed.height:.0f}" '
        f'width="{placed.width:.0f}" height="{placed.height:.0f}" font-family={quoteattr(_FONT)} font-size="12">',
        f"<title>{_text(picture.name)}</title>",
        "<defs>",
        *(_arrow(kind) for kind in EDGES),
        "</defs>",
    ]
    for node in picture.nodes:  # parents come before what they hold
        out += _node(node, placed.boxes[node.id])
    out += [_edge(e, i, placed) for i, e in enumerate(picture.edges)]
    out += [_into(placed.boxes[n.id], placed.boxes[i]) for n in picture.nodes for i in n.into]
    return "\n".join([*out, "</svg>"]) + "\n"


def _arrow(kind: str) -> str:
    return (
        f'<marker id="arrow-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 8 4 0 8z" fill="{EDGES[kind]}"/></marker>'
    )


def _node(node: Node, box: Box) -> list[str]:
    fill, border = COLORS[node.group]
    border = (
        PROBLEM if node.problems else NEW if node.change in FRESH else CHANGED if node.change == "changed" else border
    )
    marked = bool(node.problems or node.change in FRESH or node.change == "changed")
    ghost = ' opacity="0.5" stroke-dasharray="5 4"' if node.change in GONE else ""
    radius = box.h / 2 if node.group == "io" and not node.container else 6
    out = [
        f'<g id="{node.id}"{ghost}><title>{_text(_title(node))}</title>'
        f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.w:.1f}" height="{box.h:.1f}" rx="{radius:.1f}" '
        f'fill="{fill}" stroke="{border}" stroke-width="{2 if marked else 1}"/>'
    ]
    for i, line in enumerate(text_lines(node)):
        y = box.y + 16 + LINE * i
        x, anchor = (box.x + 10, "start") if node.container else (box.x + box.w / 2, "middle")
        weight = ' font-weight="600"' if i == 0 else ' fill="#4a5568" font-size="11"'
        out.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{_text(line)}</text>')
    return [*out, "</g>"]


def _title(node: Node) -> str:
    change = [CHANGES[node.change]] if node.change else []
    return "\n".join([node.op, *node.types, *change, *(f"! {p}" for p in node.problems)])


def _edge(edge: Edge, number: int, placed: Layout) -> str:
    path = edge_path(placed.boxes[edge.source], placed.boxes[edge.target], placed.bends.get(number, []))
    dash = f' stroke-dasharray="{DASHES[edge.kind]}"' if DASHES[edge.kind] else ""
    dash += ' opacity="0.35"' if edge.change == "removed" else ""
    title = f"<title>{_text(edge.label + (': ' + edge.type if edge.type else ''))}</title>" if edge.label else ""
    return (
        f'<path d="{path}" fill="none" stroke="{EDGES[edge.kind]}"{dash} '
        f'marker-end="url(#arrow-{edge.kind})">{title}</path>'
    )


def _into(a: Box, b: Box) -> str:
    y0, y1, left, right = a.y + a.h / 2, b.y + b.h / 2, b.x + b.w < a.x, a.x + a.w < b.x
    x0, x1 = a.x if left else a.x + a.w, b.x if right else b.x + b.w
    first = last = (x0 + x1) / 2
    if not left and not right:  # one stands above the other: around on the right
        first = last = max(x0, x1) + 40
    path = f"M{x0:.1f} {y0:.1f} C{first:.1f} {y0:.1f} {last:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
    return f'<path d="{path}" fill="none" stroke="{INTO}" stroke-width="1.5" stroke-dasharray="1 3"/>'


def edge_path(a: Box, b: Box, bends: list[tuple[float, float]]) -> str:
    """Path data from one box to another: curves through the bends; a way back goes around on the right."""
    if b.y >= a.y + a.h:  # downwards
        points = [(a.x + a.w / 2, a.y + a.h), *bends, (b.x + b.w / 2, b.y)]
        parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
        for (x0, y0), (x1, y1) in itertools.pairwise(points):
            half = (y1 - y0) / 2
            parts.append(f"C{x0:.1f} {y0 + half:.1f} {x1:.1f} {y1 - half:.1f} {x1:.1f} {y1:.1f}")
        return " ".join(parts)
    if a.x <= b.x and a.y <= b.y and a.x + a.w >= b.x + b.w and a.y + a.h >= b.y + b.h:  # into a container
        return f"M{a.x:.1f} {b.y + b.h / 2:.1f} L{b.x:.1f} {b.y + b.h / 2:.1f}"
    x0, y0, x1, y1 = a.x + a.w, a.y + a.h / 2, b.x + b.w, b.y + b.h / 2
    out = max(x0, x1) + 26
    return f"M{x0:.1f} {y0:.1f} C{out:.1f} {y0:.1f} {out:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"


def printable(text: str) -> str:
    """`text` without characters that XML does not allow."""
    return _NOT_XML.sub("?", text)


def _text(text: str) -> str:
    return escape(printable(text))
