"""Writing a picture in one of the formats; each writer is loaded when it is asked for."""

from __future__ import annotations

import importlib

from lampc.runtime.pictures.graph import Picture

FORMATS: dict[str, str] = {
    "dot": "lampc.runtime.pictures.dot",
    "graphml": "lampc.runtime.pictures.graphml",
    "html": "lampc.runtime.pictures.page",
    "json": "lampc.runtime.pictures.json_",
    "mermaid": "lampc.runtime.pictures.mermaid",
    "svg": "lampc.runtime.pictures.svg",
}
"""Writers by format: each module has a function `write(picture) -> str`."""


def draw(picture: Picture, format: str) -> str:
    """Text of the picture. Raises ValueError, naming the formats, for one that is not known."""
    if format not in FORMATS:
        raise ValueError(f"there is no picture format `{format}`; formats: {', '.join(FORMATS)}")
    text: str = importlib.import_module(FORMATS[format]).write(picture)
    return text
