"""Pictures of programs: one small graph model, and writers of it.

`picture(module)` makes a `Picture` of any IR, broken IR too; `draw(picture, format)` writes it as DOT, SVG,
Mermaid, JSON, GraphML or one standalone HTML page. No writer needs a binary or a network.
"""

from lampc.runtime.pictures.draw import FORMATS, draw
from lampc.runtime.pictures.graph import Edge, Node, Picture, picture, reachable

__all__ = ["FORMATS", "Edge", "Node", "Picture", "draw", "picture", "reachable"]
