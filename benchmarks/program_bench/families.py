"""The families by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from program_bench import agents, batches, flows
from program_bench.workload import Family, Size, Workload

FAMILIES: Mapping[str, Family] = {
    "few_shot": batches.few_shot,
    "triage": batches.triage,
    "system_prompt": batches.system_prompt,
    "json": batches.json_extraction,
    "rag": batches.rag,
    "table_filter": batches.table_filter,
    "table_project": batches.table_project,
    "snippets": batches.snippets,
    "trials": batches.trials,
    "instructions": batches.instructions,
    "vote": batches.vote,
    "chat": flows.chat,
    "tree_of_thought": flows.tree_of_thought,
    "skeleton": flows.skeleton,
    "judge": flows.judge,
    "chain_summary": flows.chain_summary,
    "map_reduce": flows.map_reduce,
    "react": agents.react,
    "coding": agents.coding,
    "debate": agents.debate,
    "reflection": agents.reflection,
    "experts": agents.experts,
    "trading": agents.trading,
}

_USE = re.compile(r"(= (?:Predict|ChainOfThought)\(\w+\))")


def workload(name: str, size: Size | None = None) -> Workload:
    """A workload of a family. Raises ValueError for an unknown one."""
    if name not in FAMILIES:
        raise ValueError(f"there is no family `{name}`; there are {', '.join(FAMILIES)}")
    size = size or Size()
    made = FAMILIES[name](size)
    # Answers are at most four times as long as their mean, and some have several texts: none is to be cut off.
    return replace(made, source=_USE.sub(rf"\1 @sample(max_tokens: {max(256, round(4096 * size.scale))})", made.source))
