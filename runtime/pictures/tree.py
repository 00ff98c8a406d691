"""A picture as a tree of text, for terminals."""

from __future__ import annotations

from lampc.runtime.pictures.graph import Node, Picture


def tree(picture: Picture) -> str:
    """Lines with branches; each box with what flows into it in brackets."""
    children = picture.children()
    names = {n.id: n.label for n in picture.nodes}
    sources: dict[str, list[str]] = {}
    for edge in picture.edges:
        if edge.kind == "data":
            sources.setdefault(edge.target, []).append(edge.label or names[edge.source])
    out = [picture.name]
    _branch(children.get("", []), children, sources, "", out)
    return "\n".join(out) + "\n"


def _branch(
    nodes: list[Node], children: dict[str, list[Node]], sources: dict[str, list[str]], indent: str, out: list[str]
) -> None:
    shown = [n for n in nodes if n.kind != "arg"]
    for node in shown:
        last = node is shown[-1]
        inputs = ", ".join(dict.fromkeys(sources.get(node.id, ())))
        parts = [node.label, f"[{inputs}]" if inputs else "", node.note]
        counted = ", ".join(f"{k} {v}" for k, v in node.counts.items())
        parts += [f"({counted})" if counted else "", *(f"! {p}" for p in node.problems)]
        out.append(f"{indent}{'└─ ' if last else '├─ '}{'  '.join(filter(None, parts))}")
        _branch(children.get(node.id, []), children, sources, indent + ("   " if last else "│  "), out)
