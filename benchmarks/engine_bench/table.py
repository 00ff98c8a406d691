"""Results for people: tables on screen and, the same, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine_bench.ratios import PEERS, ours_seconds, peer_ratio

Row = Mapping[str, Any]
BEGIN = "<!-- results: made by make bench-engine -->"
END = "<!-- end of results -->"
_WORK = ("W1", "W2", "W3", "W4")


def markdown(result: Mapping[str, Any]) -> str:
    """All tables of a run."""
    about, settings = result["machine"], result["settings"]
    lines = [
        f"{about['processor']}, {settings['threads']} threads, {settings['requests']} requests "
        f"(`make bench-engine`, commit {about['commit']}, {result['time'][:10]}). Seconds, less is better; "
        "those that are *from n* requests are scaled linearly by output tokens to all of them."
    ]
    for name, model in result["models"].items():
        rows = [r for r in result["rows"] if r.get("model") == name]
        gemm, read = (max(model["limits"][what].values(), default=0.0) for what in ("gemm_gflops", "read_gb_s"))
        about = f"**{name}** ({model['dtype']}; this machine: {gemm:.0f} GFLOP/s in its products, {read:.1f} GB/s read)"
        lines += ["", about, "", *_seconds(rows, model), *_correctness(rows), *_memory(rows)]
    if result["models"]:
        lines += ["", *_ratio_table(result["models"])]
    notes = sorted(
        {f"- {r['model']}, {r['system']}, {r['workload']}: {r['note']}" for r in result["rows"] if "note" in r}
    )
    if notes:
        lines += ["", "Not measured:", "", *notes]
    return "\n".join(lines)


def _seconds(rows: Sequence[Row], model: Mapping[str, Any]) -> list[str]:
    good = [r for r in rows if "seconds" in r]
    names = list(dict.fromkeys(r["system"] for r in good if r["system"] != "ours"))
    names = [n for n in PEERS if n in names] + [n for n in names if n not in PEERS]
    head = ["| system | W1 | W2 | W3 | W4 | TTFT in W4, p50 / p99 | start | peak MB |", "| --- " * 8 + "|"]
    lines = [_line("ours", [_ours(good, w) for w in _WORK], [r for r in good if r["system"] == "ours"])]
    for name in names:
        mine = [r for r in good if r["system"] == name]
        lines.append(_line(name, [_cell(good, mine, name, w) for w in _WORK], mine))
    floors = model.get("floors", {})
    lines.append("| floor | " + " | ".join(_number(floors.get(w)) for w in _WORK) + " | | | |")
    return [*head, *lines]


def _ours(rows: Sequence[Row], work: str) -> str:
    return _number(ours_seconds(rows, work))


def _cell(rows: Sequence[Row], mine: Sequence[Row], name: str, work: str) -> str:
    row = next((r for r in mine if r["workload"] == work), None)
    if row is None:
        return ""
    part = row["requests"] != row["asked"]
    text = _number(row["seconds"] if work == "W4" or not part else row["scaled_seconds"])
    if part:
        text += f" (from {row['requests']})"
    beside = next((r for r in rows if r.get("beside") == name and r["workload"] == work), None)
    ratio = peer_ratio(rows, name, work) or (row["seconds"] / beside["seconds"] if beside else None)
    return text if ratio is None else f"{text}, {ratio:.2f}x"


def _line(name: str, cells: Sequence[str], rows: Sequence[Row]) -> str:
    stream = next((r for r in rows if "ttft_p50" in r), None)
    wait = "" if stream is None else f"{_number(stream['ttft_p50'])} / {_number(stream['ttft_p99'])}"
    start = _number(min((r["start_s"] for r in rows), default=None))
    peak = max((r["peak_mb"] for r in rows), default=None)
    return f"| {name} | {' | '.join(cells)} | {wait} | {start} | {'' if peak is None else f'{peak:,.0f}'} |"


def _correctness(rows: Sequence[Row]) -> list[str]:
    found = [r for r in rows if r["system"] == "correctness" and "note" not in r]
    lines = ["", "| against transformers | dtype | same ids | first divergence | error of ln p, mean / most | theirs |"]
    lines.append("| --- " * 6 + "|")
    for row in found:
        for dtype in ("float32", "bfloat16"):
            if dtype in row:
                r = row[dtype]
                place = "-" if r["first_divergence"] is None else f"token {r['first_divergence']}"
                ours, theirs = (_error(r.get(f"logprob_error{who}")) for who in ("", "_of_transformers"))
                cells = (row["workload"], dtype, r["ids_as_ours"], place, ours, theirs)
                lines.append("| " + " | ".join(cells) + " |")
    return lines if found else []


def _error(error: Mapping[str, float] | None) -> str:
    return "" if error is None else f"{error['mean']:.1e} / {error['most']:.1e}"


def _memory(rows: Sequence[Row]) -> list[str]:
    found = [r for r in rows if r["system"] == "memory" and "note" not in r]
    said = [
        f"{r['workload']} {r['tokens']:,} (contiguous {r['contiguous_tokens']:,}, {r['live']} requests)" for r in found
    ]
    return ["", f"KV memory of ours at its peak, in tokens: {'; '.join(said)}."] if said else []


def _ratio_table(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = list(models)
    lines = ["| ratio (above 1: ours is better) | " + " | ".join(names) + " |", "| --- " * (len(names) + 1) + "|"]
    for ratio in next(iter(models.values()))["ratios"]:
        cells = [_number(models[n]["ratios"][ratio]) for n in names]
        lines.append(f"| {ratio} | {' | '.join(cells)} |")
    return lines


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if value >= 100 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def place(path: Path) -> tuple[str, str]:
    """What stands before and after the tables in a document. Raises ValueError if it has no place for them."""
    document = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no line {BEGIN} with {END} after it; put them where the tables belong")
    return before, after


def into(path: Path, text: str) -> None:
    """Puts the tables between the markers of a document."""
    before, after = place(path)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")
