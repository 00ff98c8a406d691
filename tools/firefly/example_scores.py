"""How well firefly does on the example data, under the exact signatures the README names."""

# ruff: noqa: E501 (tables of wordings)
from __future__ import annotations

import csv
import json
from pathlib import Path
from random import Random

from firefly.prompts import Example, Field, Signature, Value, compact
from firefly.scoring import Scorer

TEAMS = ("network", "hardware", "billing", "account")
Split = dict[str, list[Example]]


def load(path: Path, inputs: list[str], outputs: list[str], types: dict[str, str] | None = None) -> Split:
    """The rows of a file by split, as examples."""

    def value(name: str, text: str) -> Value:
        kind = (types or {}).get(name, "str")
        return text == "true" if kind == "bool" else int(text) if kind == "int" else text

    splits: Split = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            ins = tuple(value(name, row[name]) for name in inputs)
            outs = tuple(value(name, row[name]) for name in outputs)
            splits.setdefault(row["split"], []).append(Example(ins, outs))
    return splits


def accuracy(scorer: Scorer, signature: Signature, items: list[Example], demos: list[list[Example]]) -> float:
    """Exact share in percent, averaged over the given sets of demonstrations."""
    prompts = [compact(signature, shown, item) for shown in demos for item in items]
    results = scorer.last(prompts)
    return 100 * sum(results) / len(results)


def draws(pool: list[Example], count: int, times: int, seed: int = 3) -> list[list[Example]]:
    """Random sets of demonstrations."""
    rng = Random(seed)
    return [rng.sample(pool, count) for _ in range(times)]


def pooled(scorer: Scorer, folder: Path, file: str, pool: str, label: Field) -> list[str]:
    """The first example: every instruction of the pool, without and with random demonstrations."""
    data = load(folder / file, ["text"], ["label"])
    lines = ["| instruction | no demo | 4 random demos (mean of 4 draws; worst to best) |", "|---|---|---|"]
    for text in (folder / pool).read_text().splitlines():
        signature = Signature((Field("text"),), (label,), text)
        bare = accuracy(scorer, signature, data["dev"], [[]])
        each = [accuracy(scorer, signature, data["dev"], [shown]) for shown in draws(data["train"], 4, 4)]
        mean = sum(each) / len(each)
        lines.append(f"| {text} | {bare:.0f} | {mean:.0f} ({min(each):.0f} to {max(each):.0f}) |")
    return lines


def hops(scorer: Scorer, folder: Path, seed: int = 5) -> list[str]:
    """The third example: one question a step over facts found by words, and both facts at once."""
    facts = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    rng = Random(seed)
    with (folder / "questions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    ask = "Answer the question from the facts."
    one = Signature((Field("facts", "list"), Field("question")), (Field("answer"),), ask)
    two = Signature(one.inputs, (Field("reasoning"), Field("answer")), ask)
    first, second, both, thought = [], [], [], []
    for row in rows:
        words = row["question"].split()
        kin, name = words[3], words[5]
        bridge = next(fact for fact in facts if fact.startswith(f"the {kin} of {name} is "))
        end = f"{row['bridge']} lives in {row['answer']}"
        same = [fact for fact in facts if fact.startswith("the ") and fact != bridge]
        other = [fact for fact in facts if not fact.startswith("the ") and fact != end]
        shown: list[str] = rng.sample([bridge, *rng.sample(same, 3)], 4)
        first.append(compact(one, [], Example((shown, f"who is the {kin} of {name} ?"), (row["bridge"],))))
        shown = rng.sample([end, *rng.sample(other, 3)], 4)
        second.append(compact(one, [], Example((shown, f"where does {row['bridge']} live ?"), (row["answer"],))))
        pair = rng.choice(same)
        shown = [bridge, end, pair, next(f for f in other if f.startswith(pair.split()[-1] + " "))]
        shown = rng.sample(shown, 4)
        both.append(compact(one, [], Example((shown, row["question"]), (row["answer"],))))
        chain = Example((shown, row["question"]), (f"{bridge} . {end}", row["answer"]))
        thought.append(compact(two, [], chain))
    names = [
        "`facts: list[str], question -> answer`, hop 1 (`who is the friend of ann ?`), 4 facts",
        "the same, hop 2 (`where does bob live ?`), 4 facts",
        "the same, both hops in one question, 4 facts (two chains)",
        "`facts: list[str], question -> reasoning, answer`, both hops, reasoning and answer exact",
    ]
    values = [100 * sum(r) / len(r) for r in map(scorer.last, (first, second, both, thought))]
    return [f"| {name} | `{ask}` | {value:.0f} |" for name, value in zip(names, values, strict=True)]


def single(scorer: Scorer, folder: Path) -> list[str]:
    """The other examples: one line for each signature, without and with two demonstrations."""
    kinds = ("question", "order", "complaint")
    story = "Think step by step and compute the answer."
    cases: list[tuple[str, str, Signature, list[str], list[str], dict[str, str]]] = [
        ("02_stories.csv", "`question -> reasoning, answer: int`",
         Signature((Field("question"),), (Field("reasoning"), Field("answer", "int")), story),
         ["question"], ["reasoning", "answer"], {"answer": "int"}),
        ("02_stories.csv", "`question -> answer: int` (no reasoning)",
         Signature((Field("question"),), (Field("answer", "int"),), "Compute the answer."),
         ["question"], ["answer"], {"answer": "int"}),
        ("04_rows.csv", "`row -> keep: bool`",
         Signature((Field("row"),), (Field("keep", "bool"),), "Keep the row if the age is more than 40."),
         ["row"], ["keep"], {"keep": "bool"}),
        ("04_rows.csv", "`row -> group`",
         Signature((Field("row"),), (Field("group"),), "Label the row by age: child, adult or senior."),
         ["row"], ["group"], {}),
        ("05_requests.csv", "`text -> kind: Literal['question', 'order', 'complaint']`",
         Signature((Field("text"),), (Field("kind", "literal", kinds),), "Classify the message as question, order or complaint."),
         ["text"], ["kind"], {}),
    ]  # fmt: skip
    lines = []
    for file, name, signature, inputs, outputs, types in cases:
        data = load(folder / file, inputs, outputs, types)
        bare = accuracy(scorer, signature, data["test"], [[]])
        shown = accuracy(scorer, signature, data["test"], draws(data["train"], 2, 3))
        lines.append(f"| `{file}` | {name} | `{signature.instruction}` | {bare:.0f} | {shown:.0f} |")
    return lines


def readme(scorer: Scorer, folder: Path) -> str:
    """The README of the data folder."""
    parts = [
        "# Data of the examples",
        "",
        "Made by `python tools/make_example_data.py` (fixed seed, splits do not overlap); the numbers below are",
        "written by `python tools/make_example_data.py --measure runtime/firefly` and are exact matches of greedy",
        "answers in percent, in the compact layout.",
        "",
        "## 01: tickets (`01_tickets.csv`: text, label, split; `01_pool.txt`: candidate instructions)",
        "",
        "Signature `text -> label` with the label one of network, hardware, billing, account. Dev split, 60 rows;",
        "demonstrations from the train split. The test split is left to the demo.",
        "",
        *pooled(scorer, folder, "01_tickets.csv", "01_pool.txt", Field("label", "literal", TEAMS)),
        "",
        "## 02, 04, 05: one call each",
        "",
        "| file | signature | instruction | no demo | 2 random demos |",
        "|---|---|---|---|---|",
        *single(scorer, folder),
        "",
        "## 03: two hops over a corpus (`corpus.jsonl`: text; `questions.csv`: question, answer, bridge, split)",
        "",
        "| signature and step | instruction | no demo |",
        "|---|---|---|",
        *hops(scorer, folder),
        "",
    ]
    return "\n".join(parts)
