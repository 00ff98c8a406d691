"""GraphML, for Gephi, yEd and networkx: flat, all attributes scalars."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from lampc.runtime.pictures.graph import Picture

if TYPE_CHECKING:
    import networkx as nx

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(picture: Picture) -> str:
    """GraphML text of the picture."""
    import networkx as nx

    return "\n".join(nx.generate_graphml(graph(picture))) + "\n"


def graph(picture: Picture) -> nx.MultiDiGraph[str]:
    """The picture as a networkx graph, for analyses."""
    import networkx as nx

    out: nx.MultiDiGraph[str] = nx.MultiDiGraph(name=picture.name)
    for n in picture.nodes:
        scalars = {
            "kind": n.kind,
            "op": n.op,
            "label": n.label,
            "note": n.note,
            "group": n.group,
            "parent": n.parent,
            "types": ", ".join(n.types),
            "problems": "; ".join(n.problems),
        }
        scalars |= {"change": n.change, "into": ", ".join(n.into)} if n.change else {}
        scalars |= {f"count_{k}": str(v) for k, v in n.counts.items()}
        out.add_node(n.id, **{k: _NOT_XML.sub("?", v) for k, v in scalars.items()})
    for i, e in enumerate(picture.edges):
        out.add_edge(e.source, e.target, key=i, kind=e.kind, label=_NOT_XML.sub("?", e.label), type=e.type)
        if e.change:
            out.edges[e.source, e.target, i]["change"] = e.change
    return out
