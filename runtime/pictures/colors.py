"""Colours of the groups, shared by all pictures: (fill, border)."""

from __future__ import annotations

COLORS: dict[str, tuple[str, str]] = {
    "model": ("#ffe8b3", "#b7791f"),
    "context": ("#fff6dc", "#c9a227"),
    "text": ("#fdf0e6", "#c2703d"),
    "const": ("#f4f4f5", "#a1a1aa"),
    "data": ("#dcf5e7", "#2f855a"),
    "host": ("#e6e6fa", "#6b5bb5"),
    "io": ("#dbeafe", "#2b6cb0"),
    "function": ("#fbfbfd", "#4a5568"),
    "control": ("#f3f7fb", "#4a7fb0"),
    "definition": ("#f0f0f0", "#718096"),
    "region": ("#ffffff", "#a0aec0"),
    "value": ("#ffffff", "#718096"),
    "broken": ("#ffe0e0", "#c53030"),
}
PROBLEM = "#c53030"
NEW, CHANGED, INTO = "#2f855a", "#d69e2e", "#d53f8c"
"""In comparisons: borders of what is new and of what was changed, and the way from a ghost to what stands for it."""
EDGES = {"data": "#4a5568", "control": "#2b6cb0", "ref": "#a0aec0"}
DASHES = {"data": "", "control": "6 3", "ref": "2 3"}
