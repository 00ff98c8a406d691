"""One standalone HTML page: it works from `file://`, offline, and asks nothing of any server."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

from lampc.runtime.pictures import json_
from lampc.runtime.pictures.colors import COLORS, DASHES, EDGES, PROBLEM
from lampc.runtime.pictures.graph import Picture

_TEMPLATE = Path(__file__).parent / "page.html"


def write(picture: Picture) -> str:
    """HTML text of the page."""
    style = {"groups": COLORS, "edges": EDGES, "dashes": DASHES, "problem": PROBLEM}
    values = {"title": html.escape(picture.name), "style": _script(style), "picture": _script(json_.data(picture))}
    template = _TEMPLATE.read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], template)


def _script(data: object) -> str:
    """JSON that may stand inside a script element: no `</`, no `<!--`, no line separators of JavaScript's."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
