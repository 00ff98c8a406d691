"""Measure firefly on fresh episodes and paste the tables into ``docs/firefly.md``.

``python tools/evaluate_firefly.py --help``.  Every cell is the share of answers
written exactly by greedy decoding, in percent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from firefly import tasks_facts
from firefly.episodes import TASKS, signature_for, wording
from firefly.prompts import Example, Field, Signature, chat, compact, default_instruction
from firefly.scoring import Scorer
from firefly.tasks import Kit, Task
from firefly.tasks_lists import HELD_KINDS, HELD_LABELS, label_kit, table_kit

SHOTS = (0, 1, 2, 4, 8)
KINDS = ("precise", "semi", "generic")
Cells = dict[str, list[float | None]]
ALONE = ("sent.sentiment", "sent.topic", "branch.kind", "items.mode")
"""No other operation has inputs like theirs, so a vague instruction hides nothing."""


@dataclass(frozen=True)
class Setting:
    """How much is measured."""

    count: int = 40
    seed: int = 77


def kit_for(rng: Random, task: Task) -> Kit:
    """Label maps are measured with label words that training never used as labels."""
    if task.name == "label.category":
        return label_kit(rng, labels=HELD_LABELS)
    if task.name == "label.table":
        return table_kit(rng, labels=HELD_LABELS)
    return task.kit(rng)


def task_cells(scorer: Scorer, task: Task, setting: Setting) -> Cells:
    """One row of the table: all kinds and numbers of demos in the compact layout, and two chat cells."""
    cells: Cells = {}
    for kind in KINDS:
        rng = Random(f"{setting.seed}/{task.name}/{kind}")
        if kind == "semi" and not task.semi:
            cells[kind] = [None] * len(SHOTS)
            continue
        most = 4 if task.name.startswith("qa.") else SHOTS[-1]
        conversations, chats0, chats4 = [], [], []
        for _ in range(setting.count):
            kit = kit_for(rng, task)
            signature = signature_for(rng, task, kit, wording(rng, task, kit, kind), 0.0)
            if kind == "generic" and rng.random() < 0.3:
                signature = replace(signature, instruction=default_instruction(signature))
            examples = distinct(rng, kit.sample, most + 1)
            conversations.append(compact(signature, examples[:-1], examples[-1]))
            if kind != "semi":
                chats0.append(chat(signature, [], examples[0]))
                chats4.append(chat(signature, examples[:4], examples[4]))
        turns = scorer.turns(conversations)
        cells[kind] = [100 * sum(turn[k] for turn in turns) / len(turns) if k <= most else None for k in SHOTS]
        if kind != "semi":
            cells[f"chat {kind}"] = [100 * sum(r) / len(r) for r in map(scorer.last, (chats0, chats4))]
    return cells


def distinct(rng: Random, sample: Callable[[Random], Example], count: int) -> list[Example]:
    """Examples of which the inputs differ where the task has enough of them."""
    seen: dict[str, Example] = {}
    spare: list[Example] = []
    for _ in range(4 * count):
        example = sample(rng)
        if str(example.inputs) in seen:
            spare.append(example)
        seen.setdefault(str(example.inputs), example)
        if len(seen) == count:
            break
    return (list(seen.values()) + spare)[:count]


def question_cells(scorer: Scorer, setting: Setting) -> dict[str, list[float]]:
    """Accuracy by the number of facts of the same relation, no demo; chance is one in that number."""
    result: dict[str, list[float]] = {}
    for hops, sizes in ((1, (2, 3, 4, 6)), (2, (2, 3))):
        for reasoning in (False, True) if hops == 2 else (False,):
            name = f"{hops} hop" + (" with reasoning" if reasoning else "")
            result[name] = []
            for size in sizes:
                rng = Random(f"{setting.seed}/{name}/{size}")
                conversations = []
                for _ in range(setting.count):
                    listed = rng.random() < 0.5
                    examples = tasks_facts.questions(rng, hops, reasoning, listed, size, size)
                    task = next(t for t in TASKS if t.name == ("qa.one_cot" if reasoning else "qa.one"))
                    task = replace(task, in_types=("list" if listed else "str", "str"))
                    kit = task.kit(rng)
                    signature = signature_for(rng, task, kit, wording(rng, task, kit, "precise"), 0.0)
                    conversations.append(compact(signature, [], examples[0]))
                result[name].append(100 * sum(scorer.last(conversations)) / setting.count)
    return result


def mapping_cells(scorer: Scorer, setting: Setting) -> dict[str, dict[int, float]]:
    """Label maps that training never saw: held-out labels, then held-out categories as well."""
    result: dict[str, dict[int, float]] = {}
    for classes in (2, 3):
        for held in (False, True):
            name = f"{classes} classes, new labels" + (", new categories" if held else "")
            rng = Random(f"{setting.seed}/{name}")
            result[name] = {}
            for shots in (2, 4, 8, 12):
                conversations = []
                for _ in range(setting.count):
                    kinds = rng.sample(HELD_KINDS, classes) if held else None
                    kit = label_kit(rng, kinds=kinds, labels=HELD_LABELS)
                    while not held and len(kit.options) != classes:
                        kit = label_kit(rng, labels=HELD_LABELS)
                    examples = distinct(rng, kit.sample, shots + 1)
                    signature = Signature(fields("text"), fields("label"), "Complete the task.")
                    conversations.append(compact(signature, examples[:-1], examples[-1]))
                result[name][shots] = 100 * sum(scorer.last(conversations)) / setting.count
    return result


def fields(*names: str) -> tuple[Field, ...]:
    """Text fields."""
    return tuple(Field(name) for name in names)


def mean(values: list[float | None]) -> float:
    """Mean, or 0 for nothing."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else 0.0


def hidden_tasks() -> list[str]:
    """Operations that the input does not give away."""
    return [t.name for t in TASKS if t.hidden and t.name not in ALONE and not t.name.startswith(("label.", "qa."))]


def goals(cells: dict[str, Cells]) -> list[tuple[str, float, str]]:
    """The goals and where the weights stand."""
    known = [t.name for t in TASKS if not t.name.startswith(("label.", "qa."))]
    hidden = hidden_tasks()
    labels = [t.name for t in TASKS if t.name.startswith("label.")]

    def over(names: list[str], kind: str, shot: int) -> float:
        return mean([cells[name][kind][SHOTS.index(shot)] for name in names])

    def chatted(names: list[str], kind: str, index: int) -> float:
        return mean([cells[name][f"chat {kind}"][index] for name in names])

    return [
        ("known operations, precise instruction, no demo", over(known, "precise", 0), "> 85"),
        ("known operations, chat layout, precise, no demo", chatted(known, "precise", 0), "> 85"),
        ("hidden operations, vague instruction, no demo", over(hidden, "generic", 0), "< 30"),
        ("hidden operations, vague instruction, 4 demos", over(hidden, "generic", 4), "> 75"),
        ("hidden operations, chat layout, vague, 4 demos", chatted(hidden, "generic", 1), "> 75"),
        ("arbitrary label maps, vague instruction, 8 demos", over(labels, "generic", 8), "> 70"),
        ("questions over facts, 1 hop", over(["qa.one", "qa.one_text"], "precise", 0), "> 70"),
        ("questions over facts, 2 hops", over(["qa.two"], "precise", 0), "> 70"),
        ("questions over facts, 2 hops with reasoning", over(["qa.two_cot"], "precise", 0), "> 70"),
    ]  # fmt: skip


def shown(value: float | None) -> str:
    """A cell."""
    return "-" if value is None else f"{value:.0f}"


def markdown(
    cells: dict[str, Cells], asked: dict[str, list[float]], maps: dict[str, dict[int, float]], setting: Setting
) -> str:
    """All tables."""
    lines = [f"Measured with {setting.count} fresh episodes a cell (seed {setting.seed}).", ""]
    lines += ["| goal | wanted | measured | |", "|---|---|---|---|"]
    for name, value, wanted in goals(cells):
        good = value > float(wanted[2:]) if wanted[0] == ">" else value < float(wanted[2:])
        lines.append(f"| {name} | {wanted} | {value:.1f} | {'reached' if good else '**missed**'} |")
    everything = mean([cells[name]["generic"][0] for name in (*hidden_tasks(), *ALONE)])
    lines += [
        "",
        f"Not counted as hidden: {', '.join(ALONE)}, since no other operation has inputs like theirs. With them, the",
        f"vague instruction without a demo gives {everything:.1f}. They were taken out after a look at the results.",
        "",
        "Questions without a demo, by the number of facts (pairs of facts for 2 hops) of the asked relation:",
        "",
    ]
    lines += ["| | 2 | 3 | 4 | 6 |", "|---|---|---|---|---|"]
    for name, values in asked.items():
        lines.append(f"| {name} | " + " | ".join([shown(v) for v in values] + ["-"] * (4 - len(values))) + " |")
    lines += ["", "Label maps from demos alone (random demos, vague instruction):", ""]
    lines += ["| | 2 demos | 4 | 8 | 12 |", "|---|---|---|---|---|"]
    lines += [f"| {name} | " + " | ".join(shown(v) for v in row.values()) + " |" for name, row in maps.items()]
    head = [f"{kind[:4]} {k}" for kind in KINDS for k in SHOTS] + ["chat prec 0", "4", "chat gene 0", "4"]
    lines += ["", "By task, instruction kind and number of demos (compact layout; the last four: chat layout):", ""]
    lines += ["| task | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for name, row in cells.items():
        numbers = [v for kind in (*KINDS, "chat precise", "chat generic") for v in row[kind]]
        lines.append(f"| {name} | " + " | ".join(shown(v) for v in numbers) + " |")
    return "\n".join(lines)


def run(scorer: Scorer, setting: Setting, docs: Path | None, raw: Path | None) -> str:
    """Measure everything; paste between the marks of ``docs`` and dump numbers to ``raw``."""
    cells = {task.name: task_cells(scorer, task, setting) for task in TASKS}
    text = markdown(cells, question_cells(scorer, setting), mapping_cells(scorer, setting), setting)
    if raw is not None:
        raw.write_text(json.dumps(cells, indent=1) + "\n")
    if docs is not None:
        begin, end = "<!-- table:begin -->", "<!-- table:end -->"
        old = docs.read_text()
        first, rest = old.split(begin)
        docs.write_text(f"{first}{begin}\n{text}\n{end}{rest.split(end)[1]}")
    return text
