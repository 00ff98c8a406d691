"""Mermaid, for READMEs and pull requests. Past `CAP` nodes, inner containers are drawn closed."""

from __future__ import annotations

from lampc.runtime.pictures.colors import CHANGED, COLORS, NEW
from lampc.runtime.pictures.graph import FRESH, GONE, Node, Picture

CAP = 150
_PLAIN = " _.,-+*=:/()@!?'%…→≤"
_GHOST = "stroke-dasharray:5 4,opacity:0.5"
_FRESH, _ALTERED = f"stroke:{NEW},stroke-width:2px", f"stroke:{CHANGED},stroke-width:2px"
_ARROWS = {"data": "-->", "control": "-.->", "ref": "-.-"}


def write(picture: Picture) -> str:
    """Mermaid text of the picture."""
    children = picture.children()
    shown = _open(picture, children)
    out = ["flowchart TD"]
    for node in children.get("", []):
        out += _node(node, children, shown, 1)
    seen: set[tuple[str, str, str, str]] = set()
    parents = {n.id: n.parent for n in picture.nodes}
    for edge in picture.edges:
        a, b = _visible(edge.source, parents, shown), _visible(edge.target, parents, shown)
        if a == b or (a, b, edge.kind, edge.label) in seen:
            continue
        seen.add((a, b, edge.kind, edge.label))
        label = f"|{_text(edge.label)}|" if edge.label else ""
        out.append(f"  {a} {_ARROWS[edge.kind]}{label} {b}")
    groups = {n.group for n in picture.nodes if n.id in shown}
    for group in COLORS:
        members = [n.id for n in picture.nodes if n.group == group and n.id in shown]
        if group in groups:
            fill, border = COLORS[group]
            out.append(f"  classDef {group} fill:{fill},stroke:{border},color:#1a202c")
            out.append(f"  class {','.join(members)} {group}")
    styles = (("ghost", GONE, _GHOST), ("fresh", FRESH, _FRESH), ("altered", {"changed"}, _ALTERED))
    for name, changes, style in styles:
        if found := [n.id for n in picture.nodes if n.change in changes and n.id in shown]:
            out.append(f"  classDef {name} {style}")
            out.append(f"  class {','.join(found)} {name}")
    pairs = dict.fromkeys(
        (_visible(n.id, parents, shown), _visible(i, parents, shown)) for n in picture.nodes for i in n.into
    )
    out += [f"  {a} -. into .-> {b}" for a, b in pairs if a != b]
    return "\n".join(out) + "\n"


def _open(picture: Picture, children: dict[str, list[Node]]) -> set[str]:
    """Ids of the nodes drawn: level by level while they fit under the cap (the top two levels always)."""
    level = children.get("", [])
    shown = {n.id for n in level}
    depth = 0
    while level:
        level = [c for n in level for c in children.get(n.id, [])]
        if depth and len(shown) + len(level) > CAP:
            break
        shown |= {n.id for n in level}
        depth += 1
    return shown


def _visible(node: str, parents: dict[str, str], shown: set[str]) -> str:
    while node not in shown:
        node = parents[node]
    return node


def _node(node: Node, children: dict[str, list[Node]], shown: set[str], depth: int) -> list[str]:
    pad = "  " * depth
    lines = [node.label, node.note, *(f"! {p}" for p in node.problems)]
    if node.counts:
        lines.insert(2, ", ".join(f"{k} {v}" for k, v in node.counts.items()))
    inside = [c for c in children.get(node.id, []) if c.id in shown]
    label = "<br/>".join(_text(line) for line in lines if line)
    if not inside:
        left, right = ("([", "])") if node.group == "io" else ("{{", "}}") if node.container else ("[", "]")
        return [f'{pad}{node.id}{left}"{label}"{right}']
    out = [f'{pad}subgraph {node.id}["{label}"]']
    for child in inside:
        out += _node(child, children, shown, depth + 1)
    return [*out, pad + "end"]


def _text(text: str) -> str:
    """Text that Mermaid takes as it is: entities for what it would read as its own."""
    return "".join(c if c.isalnum() or c in _PLAIN else f"#{ord(c)};" for c in text)
