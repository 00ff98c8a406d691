"""Standalone HTML pages: they work from `file://`, offline, and ask nothing of any server.

A page is `frame.html` with `page.css`, the widgets that all pages share, scripts of its own, and its data.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lampc.runtime.pictures import json_
from lampc.runtime.pictures.colors import COLORS, DASHES, EDGES, PROBLEM
from lampc.runtime.pictures.graph import CHANGES, GONE, Picture, Step

_FOLDER = Path(__file__).parent
TEXT = 2_000_000
"""About how many characters of details a page holds; of programs with more each text is cut."""


def write(picture: Picture) -> str:
    """HTML text of the page of a picture."""
    return write_steps(picture.name, [Step("", "", {}, picture)])


def write_steps(title: str, steps: Sequence[Step]) -> str:
    """HTML text of a page on which one goes from pass to pass, and sees before, after, or both with ghosts.

    Raises ValueError if there is no step.
    """
    if not steps:
        raise ValueError("no pass is to be shown: name at least one")
    style = {"groups": COLORS, "edges": EDGES, "dashes": DASHES, "problem": PROBLEM}
    texts = _Texts(steps)
    shown = [
        {"name": s.name, "label": s.label, "counters": s.counters, "picture": texts.numbered(s.picture)} for s in steps
    ]
    data = {"style": style, "changes": CHANGES, "gone": sorted(GONE), "steps": shown, "texts": list(texts.places)}
    return page(title, ("layout.js", "graph.js"), data)


def page(title: str, scripts: Sequence[str], data: object) -> str:
    """HTML text of a page with scripts of this folder, which find `data` as `DATA`."""
    values = {
        "title": html.escape(title.encode("utf-8", "replace").decode()),
        "css": _read("page.css").strip(),
        "data": _script(data),
        "script": "\n".join(_read(name).strip() + "\n" for name in ("widgets.js", *scripts)).strip(),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda m: values[m[1]], _read("frame.html"))


class _Texts:
    """Texts of details, each once: prompts are the same in many nodes and in all steps."""

    def __init__(self, steps: Sequence[Step]) -> None:
        found = dict.fromkeys(text for s in steps for n in s.picture.nodes for _, text in n.details)
        self.most = max(map(len, found), default=0)
        if sum(map(len, found)) > TEXT:
            self.most = max(TEXT // len(found), 40)
        self.places: dict[str, int] = {}

    def numbered(self, picture: Picture) -> dict[str, Any]:
        """The picture as plain data, with numbers for the texts."""
        data = json_.data(picture)
        for node in data["nodes"]:
            node["details"] = [(title, self._place(text)) for title, text in node["details"]]
        return data

    def _place(self, text: str) -> int:
        cut = text if len(text) <= self.most else text[: self.most - 1] + "…"
        return self.places.setdefault(cut, len(self.places))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _script(data: object) -> str:
    """JSON that may stand inside a script element and in a file: no `</`, no `<!--`, no line separators of
    JavaScript's, no half of a surrogate pair."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[<>&\u2028\u2029\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):04x}", text)
