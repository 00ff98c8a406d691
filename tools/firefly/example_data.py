"""The data of the examples: fixed seed, disjoint splits, only words that firefly knows."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from random import Random

from firefly.prompts import Example
from firefly.tasks_text import record, request, show, story, two_problems
from firefly.words import CITIES, NAMES

Rows = list[dict[str, str]]
SPLITS = {"train": 60, "dev": 60, "test": 100}

POOL = [
    "Complete the task.",
    "Classify the message.",
    "Say the team for the first problem.",
    "Say the team for the last problem.",
    "Which team handles the urgent problem?",
    "Say the city in the message.",
    "What is the name?",
    "Choose a team.",
]
"""Candidate instructions for the tickets: some wrong, some half right, one precise."""


def unique(sample: Callable[[Random], Example], rng: Random, sizes: dict[str, int]) -> dict[str, list[Example]]:
    """Splits without a common input."""
    seen: set[str] = set()
    result: dict[str, list[Example]] = {}
    for split, size in sizes.items():
        result[split] = []
        while len(result[split]) < size:
            example = sample(rng)
            if str(example.inputs) not in seen:
                seen.add(str(example.inputs))
                result[split].append(example)
    return result


def tickets(seed: int = 21) -> Rows:
    """Messages with two problems; the label is the team of the last one."""
    rows: Rows = []
    for split, examples in unique(two_problems(1), Random(seed), SPLITS).items():
        rows += [{"text": str(e.inputs[0]), "label": str(e.outputs[0]), "split": split} for e in examples]
    return rows


def stories(seed: int = 12) -> Rows:
    """Sums in two steps, with the steps written out."""

    def sample(rng: Random) -> Example:
        text, thought, result = story(rng)
        return Example((text,), (thought, result))

    rows: Rows = []
    for split, examples in unique(sample, Random(seed), {"train": 40, "dev": 40, "test": 80}).items():
        for e in examples:
            question, thought, answer = str(e.inputs[0]), str(e.outputs[0]), str(e.outputs[1])
            rows.append({"question": question, "reasoning": thought, "answer": answer, "split": split})
    return rows


def corpus(seed: int = 13) -> tuple[Rows, Rows]:
    """Facts about people, and questions that need two of them."""
    rng = Random(seed)
    people = rng.sample(NAMES, 60)
    facts: list[str] = []
    rows: Rows = []
    for a, b in zip(people[:30], people[30:], strict=True):
        kin = rng.choice(["friend", "boss", "neighbor", "teacher"])
        city = rng.choice(CITIES)
        first, second = f"the {kin} of {a} is {b}", f"{b} lives in {city}"
        facts += [first, second]
        rows.append({"question": f"where does the {kin} of {a} live ?", "answer": city, "bridge": b})
    rng.shuffle(facts)
    rng.shuffle(rows)
    for index, row in enumerate(rows):
        row["split"] = "train" if index < 6 else "dev" if index < 14 else "test"
    return [{"text": fact} for fact in facts], rows


def table(seed: int = 14) -> Rows:
    """Rows of people; kept if older than 40, labelled by age group."""
    rng = Random(seed)
    rows: Rows = []
    names = rng.sample(NAMES, 60)
    for index, name in enumerate(names):
        person = record(rng, ("city", "job")) | {"name": name}
        age = int(person["age"])
        rows.append(
            {
                "row": show(person),
                "keep": "true" if age > 40 else "false",
                "group": "child" if age < 18 else "senior" if age >= 65 else "adult",
                "split": "train" if index < 10 else "dev" if index < 30 else "test",
            }
        )
    return rows


def requests(seed: int = 15) -> Rows:
    """Customer messages of three kinds."""
    rows: Rows = []
    for split, examples in unique(request, Random(seed), {"train": 30, "dev": 30, "test": 60}).items():
        rows += [{"text": str(e.inputs[0]), "kind": str(e.outputs[0]), "split": split} for e in examples]
    return rows


def write_csv(path: Path, rows: Rows) -> None:
    """A table with a header."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_all(folder: Path) -> None:
    """Write every file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "01_tickets.csv", tickets())
    (folder / "01_pool.txt").write_text("".join(f"{line}\n" for line in POOL))
    write_csv(folder / "02_stories.csv", stories())
    facts, questions = corpus()
    (folder / "corpus.jsonl").write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    write_csv(folder / "questions.csv", questions)
    write_csv(folder / "04_rows.csv", table())
    write_csv(folder / "05_requests.csv", requests())
