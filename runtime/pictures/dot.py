"""DOT, for Graphviz: containers are clusters; an arrow to or from a container meets its border."""

from __future__ import annotations

from lampc.runtime.pictures.colors import CHANGED, COLORS, EDGES, INTO, NEW, PROBLEM
from lampc.runtime.pictures.graph import FRESH, GONE, Edge, Node, Picture

_STYLES = {"data": "solid", "control": "dashed", "ref": "dotted"}


def write(picture: Picture) -> str:
    """DOT text of the picture."""
    children = picture.children()
    out = [
        f"digraph {_quote(picture.name)} {{",
        "  compound = true;",
        '  node [shape = box, style = "rounded,filled", fontname = "Helvetica", fontsize = 11];',
        '  edge [fontname = "Helvetica", fontsize = 9];',
    ]
    for node in children.get("", []):
        out += _node(node, children, 1)
    nodes = {n.id: n for n in picture.nodes}
    out += [_edge(e, nodes) for e in picture.edges]
    out += [_into(n.id, i) for n in picture.nodes for i in n.into]
    return "\n".join([*out, "}"]) + "\n"


def _node(node: Node, children: dict[str, list[Node]], depth: int) -> list[str]:
    pad = "  " * depth
    fill, border = COLORS[node.group]
    label = "\n".join(filter(None, [node.label, node.note, *_counted(node), *(f"! {p}" for p in node.problems)]))
    border = (
        PROBLEM if node.problems else NEW if node.change in FRESH else CHANGED if node.change == "changed" else border
    )
    ghost = node.change in GONE
    if not node.container:
        faded = ', style = "rounded,dashed", fontcolor = "#a0aec0"' if ghost else ""
        return [
            f"{pad}{node.id} [label = {_quote(label)}, fillcolor = {_quote(fill)}, color = {_quote(border)}{faded}];"
        ]
    out = [f"{pad}subgraph cluster_{node.id} {{"]
    out.append(f"{pad}  label = {_quote(label)}; color = {_quote(border)}; bgcolor = {_quote(fill)};")
    if ghost:
        out.append(f'{pad}  style = dashed; fontcolor = "#a0aec0";')
    out.append(f'{pad}  {node.id} [label = "", shape = point, style = invis];')  # what arrows to the border hold on to
    for child in children.get(node.id, []):
        out += _node(child, children, depth + 1)
    return [*out, pad + "}"]


def _edge(edge: Edge, nodes: dict[str, Node]) -> str:
    attrs = [f"style = {_STYLES[edge.kind]}", f"color = {_quote(EDGES[edge.kind])}"]
    if edge.change == "removed":
        attrs[1] = 'color = "#cbd5e0"'
    if edge.label:
        attrs.append(f"label = {_quote(edge.label)}")
    if nodes[edge.source].container:
        attrs.append(f"ltail = cluster_{edge.source}")
    if nodes[edge.target].container:
        attrs.append(f"lhead = cluster_{edge.target}")
    if edge.kind != "data":
        attrs.append("constraint = false")
    return f"  {edge.source} -> {edge.target} [{', '.join(attrs)}];"


def _into(ghost: str, node: str) -> str:
    return f"  {ghost} -> {node} [style = dotted, color = {_quote(INTO)}, constraint = false, arrowhead = none];"


def _counted(node: Node) -> list[str]:
    return [", ".join(f"{k} {v}" for k, v in node.counts.items())] if node.counts else []


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
