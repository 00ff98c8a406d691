"""JSON with a versioned schema, for other tools.

    {"schema": "lampc.picture/1", "name": str, "findings": [str],
     "nodes": [{"id", "kind", "op", "label", "note", "group", "parent", "container", "types", "details",
                "counts", "problems", "change", "into"}],
     "edges": [{"source", "target", "kind", "label", "type", "change"}]}

`parent` is the id of the containing node or "". Fields are only ever added under one schema number.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from lampc.runtime.pictures.graph import Edge, Node, Picture

SCHEMA = "lampc.picture/1"


def write(picture: Picture) -> str:
    """JSON text of the picture."""
    return json.dumps(data(picture), ensure_ascii=False, indent=1) + "\n"


def data(picture: Picture) -> dict[str, Any]:
    """The picture as plain data."""
    return {
        "schema": SCHEMA,
        "name": picture.name,
        "findings": picture.findings,
        "nodes": [dataclasses.asdict(n) for n in picture.nodes],
        "edges": [dataclasses.asdict(e) for e in picture.edges],
    }


def read(text: str) -> Picture:
    """The picture that `write` wrote. Raises ValueError for another schema."""
    found = json.loads(text)
    if found.get("schema") != SCHEMA:
        raise ValueError(f"schema {found.get('schema')!r}: only {SCHEMA!r} is read here")
    nodes = [
        Node(
            **{
                **n,
                "types": tuple(n["types"]),
                "details": tuple((k, v) for k, v in n["details"]),
                "into": tuple(n.get("into", ())),
            }
        )
        for n in found["nodes"]
    ]
    return Picture(found["name"], nodes, [Edge(**e) for e in found["edges"]], found["findings"])
