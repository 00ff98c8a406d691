"""The prefix trees of a run in a file: `prefixes.json` in the run's folder, one tree for each model.

    {"schema": "lampc.prefixes/1", "complete": bool,
     "trees": [{"model", "unit", "nodes": [{"parent", "begin", "end", "text", "calls", ...}]}]}

`parent` is the place of a node's parent in `nodes`, -1 for the root; counts that are 0 are left out. What an endpoint
reads is counted in characters, as its tokens are not known here; what it reused in the share that it told.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.runtime.prefixes import PrefixCall, PrefixNode, Prompt, fold, grow, name
from lampc.runtime.records import RecordError

if TYPE_CHECKING:
    from lampc.runtime.books import Computed
    from lampc.runtime.calls import CallDesk
    from lampc.runtime.models import Model

SCHEMA = "lampc.prefixes/1"
PREFIXES_FILE = "prefixes.json"
NODES, TEXT = 20_000, 4_000_000
"""Most nodes of a tree that are kept, and about how many characters of text."""
_COUNTS = ("calls", "ends", "visits", "computed", "reused", "again", "fewest", "folded")


@dataclass(slots=True)
class PrefixPicture:
    """The tree of one model's calls; `unit` is `tokens` or `characters`."""

    model: str
    unit: str
    root: PrefixNode


def trees(desk: CallDesk) -> list[PrefixPicture]:
    """The trees of what models computed for a desk, in the order in which the models were first asked."""
    by_model: dict[int, list[Computed]] = {}
    for call in desk.books.computed:
        by_model.setdefault(id(call.model), []).append(call)
    return [_tree(calls) for calls in by_model.values()]


def _tree(calls: list[Computed]) -> PrefixPicture:
    model = calls[0].model
    unit = "characters" if isinstance(calls[0].prompt, str) else "tokens"
    root = grow([_call(c) for c in calls])
    fold(root, NODES)
    name(root, lambda prompt: _text(model, prompt), TEXT)
    return PrefixPicture(model.target.info.name, unit, root)


def _call(call: Computed) -> PrefixCall:
    computed, cached = call.computed, call.cached
    written: Prompt = call.written
    if isinstance(call.prompt, str):
        cached = len(call.prompt) * cached // call.asked if call.asked else 0
        computed, written = len(call.prompt) - cached, ""
    return PrefixCall(call.prompt, written, call.node, call.row, computed, cached)


def _text(model: Model, prompt: Prompt) -> str:
    from lampc.runtime.local import LocalModel

    if isinstance(prompt, str):
        return prompt
    if isinstance(model, LocalModel):
        return model.engine.tokenizer.decode(prompt, skip_special=False)
    return model.target.tokens.decode(prompt) if model.target.tokens is not None else ""


def keep_prefixes(folder: Path, desk: CallDesk) -> Path | None:
    """Write the trees of a run beside its record; nothing if no model computed anything. Gives the file."""
    made = trees(desk)
    if not made:
        return None
    path = folder / PREFIXES_FILE
    scratch = path.with_name(f".{PREFIXES_FILE}.{os.getpid()}")
    data = {"schema": SCHEMA, "complete": desk.books.complete_prompts, "trees": [_data(t) for t in made]}
    try:
        scratch.write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8", "replace")
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


def read_prefixes(path: Path) -> tuple[list[PrefixPicture], bool]:
    """The trees in a run's folder or file, and whether they hold all of its calls. Raises RecordError."""
    path = path / PREFIXES_FILE if path.is_dir() else path
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path}: no such file; `lampc run FILE --record {path.parent}` writes it") from None
    except (OSError, ValueError) as e:
        raise RecordError(f"{path}: cannot be read as JSON: {e}") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise RecordError(f"{path}: not the prefix trees of a run ({SCHEMA})")
    try:
        made = [PrefixPicture(t["model"], t["unit"], _root(t["nodes"])) for t in data["trees"]]
        return made, bool(data["complete"])
    except (KeyError, TypeError, ValueError, IndexError) as e:
        raise RecordError(f"{path}: not the prefix trees of a run: {type(e).__name__}: {e}") from None


def _data(picture: PrefixPicture) -> dict[str, Any]:
    return {"model": picture.model, "unit": picture.unit, "nodes": list(plain(picture.root))}


def plain(root: PrefixNode) -> Iterable[dict[str, Any]]:
    """The nodes of a tree as plain data, parents first."""
    places: dict[int, int] = {}
    parents = {id(child): node for node in root.walk() for child in node.children}
    for i, node in enumerate(root.walk()):
        places[id(node)] = i
        above = parents.get(id(node))
        made: dict[str, Any] = {"parent": places[id(above)] if above else -1, "begin": node.begin, "end": node.end}
        made |= {count: value for count in _COUNTS if (value := getattr(node, count))}
        made |= {"text": node.text} if node.text else {}
        made |= {"nodes": dict(sorted(node.nodes.items()))} if node.nodes else {}
        made |= {"rows": [row[:80] for row in node.rows]} if node.rows else {}
        yield made


def _root(nodes: list[dict[str, Any]]) -> PrefixNode:
    made: list[PrefixNode] = []
    for data in nodes:
        node = PrefixNode(int(data["begin"]), int(data["end"]), str(data.get("text", "")))
        for count in _COUNTS:
            setattr(node, count, int(data.get(count, 0)))
        node.nodes = Counter({str(k): int(v) for k, v in data.get("nodes", {}).items()})
        node.rows = [str(row) for row in data.get("rows", ())]
        if made:
            if not 0 <= data["parent"] < len(made):
                raise ValueError(f"parent {data['parent']} of node {len(made)}")
            made[data["parent"]].children.append(node)
        made.append(node)
    return made[0]
