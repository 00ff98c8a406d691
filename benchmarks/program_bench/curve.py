"""A picture of what little K/V costs: prompt tokens computed over the fewest possible, by K/V budget and family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from program_bench.measure import OURS
from program_bench.summary import Table

COLUMNS, WIDTH, HEIGHT, GAP, TOP = 5, 168, 112, 26, 52
LINES = (("pool", "#d6604d", "16 threads on the engine's own cache (least recently used)"),)
OWN, BEST = "#2166ac", "#4d4d4d"
LEAST_TOP = 1.1
"""The vertical axis of a family goes up to what was computed, but at least to so many times the bound."""


def chart(table: Table) -> str:
    """SVG: a small chart for each family. The dashed line is the offline optimum of eviction for our order."""
    names = list(table)
    rows = -(-len(names) // COLUMNS)
    width, height = COLUMNS * (WIDTH + GAP) + GAP, TOP + rows * (HEIGHT + 2 * GAP)
    keys = [(OWN, "", "lampc"), *((c, "", text) for _, c, text in LINES), (BEST, "4 3", "best eviction for our order")]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"',
        ' font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{GAP}" y="18" font-size="13">prompt tokens computed, as a multiple of the prefix-tree bound,'
        " by K/V in percent of what an ample run fills</text>",
    ]
    at = GAP
    for color, dash, text in keys:
        out.append(_line([(at, 34), (at + 20, 34)], color, dash))
        out.append(f'<text x="{at + 25}" y="38" font-size="11">{text}</text>')
        at += 45 + 6 * len(text)
    for i, name in enumerate(names):
        x, y = GAP + i % COLUMNS * (WIDTH + GAP), TOP + GAP + i // COLUMNS * (HEIGHT + 2 * GAP)
        out += _small(name, table[name], x, y)
    return "\n".join([*out, "</svg>"]) + "\n"


def _small(name: str, found: Mapping[str, Mapping[str, Any]], x: float, y: float) -> list[str]:
    shares = [s for s in found if s != "ample"]

    def figures(way: str, count: str) -> list[float]:
        return [getattr(found[s][way], count) / found[s][way].bound for s in shares]

    lines = [(figures(OURS, "computed_tokens"), OWN, "")]
    lines += [(figures(way, "computed_tokens"), color, "") for way, color, _ in LINES]
    lines.append((figures(OURS, "offline"), BEST, "4 3"))
    top = max(LEAST_TOP, *(v for values, _, _ in lines for v in values))
    step = WIDTH / max(len(shares) - 1, 1)
    out = [f'<text x="{x}" y="{y - 8}" font-size="11">{name}</text>']
    out.append(f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>')
    out.append(f'<text x="{x - 3}" y="{y + 8}" text-anchor="end">{top:.3g}</text>')
    out.append(f'<text x="{x - 3}" y="{y + HEIGHT}" text-anchor="end">1</text>')
    for i, share in enumerate(shares):
        anchor = "start" if not i else "end" if i == len(shares) - 1 else "middle"
        out.append(f'<text x="{x + i * step:.1f}" y="{y + HEIGHT + 12}" text-anchor="{anchor}">{share[:-2]}</text>')
    for values, color, dash in reversed(lines):  # ours on top
        points = [(x + i * step, y + HEIGHT * (1 - (v - 1) / (top - 1))) for i, v in enumerate(values)]
        out.append(_line(points, color, dash))
    return out


def _line(points: Sequence[tuple[float, float]], color: str, dash: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"{dashed}/>'
