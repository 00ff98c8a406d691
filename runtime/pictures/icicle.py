"""The prefix tree of a run as an icicle: width is calls, depth is tokens, so that area is tokens.

Each box is cut by what the engine counted: computed once (what the tree needs at least: the bound), computed again
(above the bound), reused. What is too small to be seen stands as one box with its sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from xml.sax.saxutils import escape

from lampc.runtime.pictures.page import page
from lampc.runtime.pictures.svg import printable
from lampc.runtime.prefix_record import PrefixPicture, plain
from lampc.runtime.prefixes import PrefixNode, fold

NODES, TEXT = 3000, 1_000_000
"""Most nodes on a page, and about how many characters of their texts."""
COLORS = {"once": "#f0b429", "again": "#d64545", "reused": "#9ad5ae", "rest": "#e2e8f0"}
_NAMES = {"once": "computed once", "again": "computed again", "reused": "reused", "rest": "not computed"}
_WIDTH, _HEIGHT = 1200.0, 640.0


def write_html(name: str, trees: Sequence[PrefixPicture], complete: bool) -> str:
    """The page: one icicle for each model."""
    each = NODES // max(len(trees), 1)
    shown: list[dict[str, Any]] = []
    for tree in trees:
        fold(tree.root, each)
        nodes = list(plain(tree.root))
        most = max(TEXT // max(len(trees), 1) // len(nodes), 40)
        for node in nodes:
            if len(node.get("text", "")) > most:
                node["text"] = node["text"][: most - 1] + "…"
        shown.append({"model": tree.model, "unit": tree.unit, "nodes": nodes})
    data = {"name": name, "complete": complete, "colors": COLORS, "names": _NAMES, "trees": shown}
    return page(f"{name}: shared prefixes", ("icicle.js",), data)


def write_svg(name: str, trees: Sequence[PrefixPicture], complete: bool) -> str:
    """The icicles below one another, with a legend, and the texts as tool tips."""
    out: list[str] = []
    top = 30.0
    for tree in trees:
        fold(tree.root, NODES // 4)
        out.append(f'<text x="8" y="{top:.0f}" font-weight="600">{_text(f"{tree.model}: {told(tree)}")}</text>')
        out += _boxes(tree, top + 10)
        top += _HEIGHT + 50
    for i, (part, color) in enumerate(COLORS.items()):
        out.append(f'<rect x="{8 + 150 * i}" y="{top - 24:.0f}" width="11" height="11" fill="{color}"/>')
        out.append(f'<text x="{24 + 150 * i}" y="{top - 14:.0f}">{_NAMES[part]}</text>')
    note = "" if complete else f'<text x="620" y="{top - 14:.0f}">not all calls were kept</text>'
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH + 16:.0f} {top:.0f}" width="{_WIDTH + 16:.0f}" '
        f'height="{top:.0f}" font-family="ui-sans-serif, Helvetica, Arial, sans-serif" font-size="12">'
    )
    return "\n".join([head, f"<title>{_text(name)}</title>", *out, note, "</svg>"]) + "\n"


def told(tree: PrefixPicture) -> str:
    """Bound and achieved, in one line."""
    nodes = list(tree.root.walk())
    asked, reused, fewest = (sum(getattr(n, count) for n in nodes) for count in ("visits", "reused", "fewest"))
    computed = sum(n.computed + n.again for n in nodes)
    share = f" ({100 * reused / asked:.1f} %)" if asked else ""
    return (
        f"{tree.root.calls:,} calls, {asked:,} prompt {tree.unit}; the tree needs {fewest:,}, computed were "
        f"{computed:,}, reused {reused:,}{share}"
    )


def parts(node: PrefixNode) -> dict[str, float]:
    """Shares of a node's visits, by what was done for them; they add up to 1. Empty for a node without tokens."""
    if not node.visits:
        return {}
    once = min(node.computed, node.fewest)
    counts = {"once": once, "again": node.computed - once, "reused": node.reused}
    counts["rest"] = node.visits - node.computed - node.reused
    return {part: count / node.visits for part, count in counts.items()}


def boxes(root: PrefixNode) -> Iterator[tuple[PrefixNode, float, float, float, float]]:
    """(node, left, top, width, height) of all nodes, in calls and tokens; a box stands under its parent's.

    Children stand side by side; what is left of the parent's width are calls that end there.
    """
    todo: list[tuple[PrefixNode, float, float]] = [(root, 0.0, 0.0)]
    while todo:
        node, x, y = todo.pop()
        height = node.visits / node.calls if node.calls else 0.0
        yield node, x, y, float(node.calls), height
        below = []
        for child in node.children:
            below.append((child, x, y + height))
            x += child.calls
        todo += reversed(below)


def _boxes(tree: PrefixPicture, top: float) -> list[str]:
    placed = list(boxes(tree.root))
    deep = max((y + h for _, _, y, _, h in placed), default=0.0) or 1.0
    sx, sy = _WIDTH / max(tree.root.calls, 1), _HEIGHT / deep
    out = []
    for node, x, y, w, h in placed:
        if not node.visits:
            continue
        left, low, high = 8 + x * sx, top + y * sy, h * sy
        title = (
            f"{node.calls} calls, {h:g} {tree.unit}; computed {node.computed}, reused {node.reused}\n{node.text[:400]}"
        )
        out.append(f"<g><title>{_text(title)}</title>")
        for part, share in parts(node).items():
            if share > 0:
                wide = w * sx * share
                out.append(
                    f'<rect x="{left:.2f}" y="{low:.2f}" width="{wide:.2f}" height="{high:.2f}" fill="{COLORS[part]}"/>'
                )
                left += wide
        edge = min(0.5, w * sx / 4)
        out.append(
            f'<rect x="{8 + x * sx:.2f}" y="{low:.2f}" width="{w * sx:.2f}" height="{high:.2f}" fill="none" '
            f'stroke="#fff" stroke-width="{edge:.2f}"/></g>'
        )
    return out


def _text(text: str) -> str:
    return escape(printable(text))
