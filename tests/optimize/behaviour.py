"""Planted optimization problems: a scripted model whose accuracy is a known function of instruction, demos and layout.

A task has things of four kinds, each of which belongs to one of four sides; a row says which. How likely the model is
right about a kind is its *chance*:

    0.11                    in any case
    0.35                    the instruction says the planted property to go by (`Place a metal by its weight.`)
   -0.20                    it names the kind's misleading one; other properties neither help nor harm
    0.25                    a demo shows the kind, rightly labelled
   -0.10                    for each demo of it that is wrongly labelled, to twice
    0.15                    property and demo together
    0.15, 0.05, 0, 0        by layout; which is best is planted too
   -0.02                    for each sentence on properties beyond six

So all of one task's parameters matter, they depend on each other, and the best of them is known: it is always right.
Rows have quantiles in (0, 1), spread evenly within each kind; the model is right where a row's quantile is below the
chance. One row of five of the training split is labelled wrongly.

Asked for anything else than a task's outputs, the model writes prose: instructions that keep what the last instruction
in its prompt says, changed by what it is told of failures and by its own guesses, half of which are good. All of it is
a function of the prompt and of the draw.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, Demo, DemoSet, ModelInfo, Obj, Unit
from lampc.ir.adapters import bind_predictors
from lampc.runtime.metrics import RowMetric, build_metric
from lampc.runtime.models import Answer, ModelCall
from lampc.runtime.scripted import DummyLM, written
from lampc.runtime.target import RemoteTarget
from lampc.runtime.types import Row

KINDS = ("metal", "plant", "bird", "river")
SIDES = ("north", "south", "east", "west")
PROPERTIES = ("weight", "colour", "age", "name")
LAYOUTS = ("chat", "json", "xml", "compact")
VERBS = {"label": "Place", "kind": "Sort"}
"""How sentences about an output begin."""

ITEM = re.compile(rf"\b({'|'.join(KINDS)})-(\d{{3}})\b")
SENTENCE = re.compile(rf"(Place|Sort) a ({'|'.join(KINDS)}) by its ({'|'.join(PROPERTIES)})\.")
HINT = re.compile(rf"a ({'|'.join(KINDS)}) goes by its ({'|'.join(PROPERTIES)})")
WRITES = ("instruction", "advice", "rule", "prompt", "guideline")
"""Names of outputs, or parts of them, that are instructions."""

ONE = """
signature Place(item: str) -> (label: str) { "Say where the thing belongs." }
module Main(item: str) -> (label: str) {
  use place = Predict(Place) @layout(chat);
  let found = place(item: item);
  return (label: found.label);
}
"""
TWO = """
signature Sort(item: str) -> (kind: str) { "Say what the thing is." }
signature Place(item: str, kind: str) -> (label: str) { "Say where the thing belongs." }
module Main(item: str) -> (label: str) {
  use sort = Predict(Sort) @layout(chat);
  use place = Predict(Place) @layout(chat);
  let sorted = sort(item: item);
  let found = place(item: item, kind: sorted.kind);
  return (label: found.label);
}
"""


def sentence(output: str, kind: str, prop: str) -> str:
    """What an instruction says about a kind."""
    return f"{VERBS[output]} a {kind} by its {prop}."


def side(item: str) -> str:
    """Where a thing belongs."""
    return SIDES[_hash(item) % len(SIDES)]


def _hash(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b("\x00".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


@dataclass(frozen=True)
class Seen:
    """What a prompt shows of a task: its text before the demos, demos as (item, answer), and its layout."""

    said: str
    demos: tuple[tuple[str, str], ...]
    layout: str


@dataclass(frozen=True)
class Planted:
    """The task of a seed, with one predictor (`place`) or two (`sort`, then `place`)."""

    seed: int = 0
    predictors: int = 1
    noise: float = 0.2

    # -- what is planted ----------------------------------------------------------------------------------

    @cached_property
    def properties(self) -> dict[tuple[str, str], tuple[str, str]]:
        """The right and the misleading property by (output, kind)."""
        rng = random.Random(f"properties {self.seed}")
        return {(o, k): tuple(rng.sample(PROPERTIES, 2)) for o in VERBS for k in KINDS}  # type: ignore[misc]

    @cached_property
    def layout(self) -> dict[str, float]:
        """What each layout is worth; that of the program is never the best."""
        rng = random.Random(f"layouts {self.seed}")
        best = rng.choice(LAYOUTS[1:])
        others = rng.sample([name for name in LAYOUTS if name != best], len(LAYOUTS) - 1)
        return dict(zip((best, *others), (0.15, 0.05, 0.0, 0.0), strict=True))

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("label",) if self.predictors == 1 else ("kind", "label")

    def instruction(self, output: str) -> str:
        """The best one."""
        return " ".join(sentence(output, k, self.properties[output, k][0]) for k in KINDS)

    def pool(self, size: int = 8) -> list[str]:
        """Instructions to choose from: the best of each output, and others by chance."""
        rng = random.Random(f"pool {self.seed}")
        out = [self.instruction(o) for o in self.outputs]
        while len(out) < size:
            kinds = rng.sample(KINDS, rng.randint(1, 3))
            out.append(" ".join(sentence(rng.choice(self.outputs), k, rng.choice(PROPERTIES)) for k in kinds))
        return rng.sample(out, len(out))

    @cached_property
    def best(self) -> Assignment:
        """The planted optimum."""
        layout = max(self.layout, key=lambda name: self.layout[name])
        out: dict[str, Any] = {}
        for output, name in zip(self.outputs, self.names, strict=True):
            demos = [self.demo(output, next(r for r in self.train if r.inputs["item"].startswith(k))) for k in KINDS]
            out |= {f"{name}.instruction": self.instruction(output), f"{name}.demos": DemoSet(tuple(demos))}
            out[f"{name}.layout"] = layout
        return Assignment().updated(**out)

    def demo(self, output: str, row: Row) -> Demo:
        """A row as a demo that is rightly labelled."""
        item = row.inputs["item"]
        kind = {"kind": item.split("-")[0]} if self.predictors == 2 else {}
        return Demo(Obj({"item": item, **kind, **({} if output == "kind" else {"label": side(item)})}))

    # -- the program and its rows -------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        return ("place",) if self.predictors == 1 else ("sort", "place")

    @cached_property
    def unit(self) -> Unit:
        return compile_lmp(ONE if self.predictors == 1 else TWO, "planted.lmp")

    @cached_property
    def train(self) -> list[Row]:
        return self._rows(0, 40, self.noise)

    @cached_property
    def dev(self) -> list[Row]:
        return self._rows(100, 40, 0.0)

    def _rows(self, first: int, n: int, noise: float) -> list[Row]:
        rng = random.Random(f"rows {self.seed} {first}")
        kinds = [k for k in KINDS for _ in range(n // len(KINDS))]
        rng.shuffle(kinds)
        out = []
        for number, kind in enumerate(kinds, first):
            item = f"{kind}-{number + 200 * (self.seed % 4):03}"
            label = rng.choice([s for s in SIDES if s != side(item)]) if rng.random() < noise else side(item)
            out.append(Row(str(number), {"item": item}, {"label": label}))
        return out

    @cached_property
    def quantiles(self) -> dict[tuple[str, str], float]:
        """Where each thing stands among those of its kind, over each split evenly, by (output, item)."""
        out: dict[tuple[str, str], float] = {}
        for rows in (self.train, self.dev):
            for output, kind in itertools.product(self.outputs, KINDS):
                items = [r.inputs["item"] for r in rows if r.inputs["item"].startswith(kind)]
                random.Random(f"{self.seed} {output} {kind}").shuffle(items)
                out |= {(output, item): (i + 0.5) / len(items) for i, item in enumerate(items)}
        return out

    # -- the response surface -----------------------------------------------------------------------------

    def chance(self, output: str, kind: str, seen: Seen) -> float:
        """How likely an output of a thing of a kind is right; see the module's text."""
        said = {(k, p) for verb, k, p in SENTENCE.findall(seen.said) if verb == VERBS[output]}
        right, wrong = self.properties[output, kind]
        told = (kind, right) in said
        shown = [answer == _truth(output, item) for item, answer in seen.demos if item.startswith(kind)]
        total = 0.11 + 0.35 * told - 0.2 * ((kind, wrong) in said)
        total += 0.25 * any(shown) - 0.1 * min(2, shown.count(False)) + 0.15 * (told and any(shown))
        total += self.layout[seen.layout] - 0.02 * max(0, len(said) - 6)
        return min(1.0, max(0.0, total))

    def seen(self, assignment: Assignment) -> list[tuple[str, Seen]]:
        """What each output's prompt shows under a candidate."""
        bound = bind_predictors(self.unit.module, assignment)
        out = []
        for output, name in zip(self.outputs, self.names, strict=True):
            b = bound[name]
            demos = tuple((str(d.values["item"]), str(d.values.get(output, ""))) for d in b.demos.items)
            out.append((output, Seen(b.instruction, demos, b.layout)))
        return out

    def accuracy(self, assignment: Assignment) -> float:
        """The expected score of a candidate, 0 to 100, from the surface alone."""
        whole = dict.fromkeys(KINDS, 1.0)
        for output, seen in self.seen(assignment):
            whole = {k: p * self.chance(output, k, seen) for k, p in whole.items()}
        return 100.0 * sum(whole.values()) / len(whole)

    def score(self, assignment: Assignment) -> float:
        """The score on the select split, 0 to 100, from the surface alone."""
        right = {r.inputs["item"] for r in self.dev}
        for output, seen in self.seen(assignment):
            chance = {k: self.chance(output, k, seen) for k in KINDS}
            right = {i for i in right if self.quantiles[output, i] < chance[i.split("-")[0]]}
        return 100.0 * len(right) / len(self.dev)

    def reachable(self, parameters: Iterable[str]) -> float:
        """The best score on the select split if only these of instruction, demos and layout may be changed."""
        wanted = tuple(parameters)
        chosen = {k: v for k, v in self.best.values.items() if k.rpartition(".")[2] in wanted}
        return self.score(Assignment().updated(**chosen))

    # -- the model ----------------------------------------------------------------------------------------

    def reply(self, messages: Sequence[Mapping[str, str]], draw: int = 0) -> str:
        """The answer to a conversation; `draw` is what tells several answers to the same one apart."""
        layout, fields = form(messages)
        names = [name for name, _ in fields]
        if names and all(n in VERBS for n in names):
            seen = Seen(messages[0]["content"], _demos(messages, names[-1]), layout)
            made: dict[str, Any] = {n: self._answer(n, messages[-1]["content"], seen) for n in names}
        else:
            made = {n: self._prose(n, kind, messages, draw) for n, kind in fields}
        return written(layout, made).removesuffix("\n\n[[ ## completed ## ]]\n")

    def _answer(self, output: str, asked: str, seen: Seen) -> str:
        found = ITEM.search(asked)
        if found is None:
            return "nowhere"
        item, kind = found.group(), found.group(1)
        told = re.findall(rf"\b({'|'.join(KINDS)})\b(?!-)", asked) if output == "label" else []
        misled = self.predictors == 2 and output == "label" and told[-1:] != [kind]
        right = self.quantiles.get((output, item), 0.5) < self.chance(output, kind, seen) and not misled
        truth = _truth(output, item)
        choices = SIDES if output == "label" else KINDS
        return truth if right else choices[(choices.index(truth) + 1) % len(choices)]

    def _prose(self, name: str, kind: str, messages: Sequence[Mapping[str, str]], draw: int) -> Any:
        """Instructions for outputs that are called so, remarks for others."""
        rng = random.Random(_hash(name, draw, *(m["content"] for m in messages)))
        text = self._written(messages, rng) if any(w in name.lower() for w in WRITES) else _remark(messages)
        if kind.startswith("dict"):
            return dict.fromkeys(self.names, text)
        return [text] if kind.startswith("list") else text

    def _written(self, messages: Sequence[Mapping[str, str]], rng: random.Random) -> str:
        asked = messages[-1]["content"]
        said = _last_block(asked)
        output = self.outputs[0] if re.search(r"\bsort\b|Say what", asked) and self.predictors == 2 else "label"
        known = dict(said)
        hints = dict(HINT.findall(asked))
        known |= hints
        for kind in rng.sample(KINDS, 1 if hints else 2):
            if kind not in hints:
                known[kind] = self.properties[output, kind][0] if rng.random() < 0.5 else rng.choice(PROPERTIES)
        opening = rng.choice(("Each thing has its place.", "Think of a storehouse with four sides.", "Be exact."))
        return " ".join([opening, *(sentence(output, k, p) for k, p in known.items())])


def _truth(output: str, item: str) -> str:
    return side(item) if output == "label" else item.split("-")[0]


def form(messages: Sequence[Mapping[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    """The layout of a prompt, and the outputs that it asks for with their types as it says them."""
    system, last = messages[0]["content"], messages[-1]["content"]
    if "Your output fields are:" not in system:
        form = system.rstrip().rsplit("\n", 1)[-1].rpartition("->")[2]
        return "compact", [(n.strip().partition(":")[0], "str") for n in form.split(",") if n.strip()]
    listed = system.partition("Your output fields are:")[2].partition("All interactions")[0]
    fields = re.findall(r"^\d+\. `(\w+)` \((.*?)\):", listed, re.MULTILINE)
    layout = "json" if "JSON object" in last else "xml" if "XML tags" in last else "chat"
    return layout, fields


def _demos(messages: Sequence[Mapping[str, str]], output: str) -> tuple[tuple[str, str], ...]:
    answers = re.compile(rf"\b({'|'.join(SIDES if output == 'label' else KINDS)})\b")
    out = []
    for user, assistant in zip(messages[1:-1:2], messages[2:-1:2], strict=False):
        item, found = ITEM.search(user["content"]), answers.findall(assistant["content"])
        if item and found:
            out.append((item.group(), found[-1]))
    return tuple(out)


def _last_block(text: str) -> list[tuple[str, str]]:
    """(kind, property) of the sentences that stand together last."""
    out: list[tuple[str, str]] = []
    end = -100
    for m in SENTENCE.finditer(text):
        if m.start() - end > 3:
            out = []
        out.append((m.group(2), m.group(3)))
        end = m.end()
    return out


def _remark(messages: Sequence[Mapping[str, str]]) -> str:
    kinds = sorted({m.group(1) for m in ITEM.finditer(messages[-1]["content"])})
    return f"Things such as {', '.join(kinds) or 'these'} are given one of four sides."


class BehaviourLM(DummyLM):
    """The model of a planted task. Unlike a script its answers follow from the calls alone, so they may be kept."""

    def __init__(self, task: Planted) -> None:
        super().__init__([])
        self.task = task
        self.target = RemoteTarget(ModelInfo("planted", f"{_hash(repr(task)):032x}", 1 << 20))

    @property
    def kept(self) -> bool:
        return True

    def make(self, call: ModelCall) -> Answer:
        messages = [{"role": r, "content": c} for r, c in call.messages]
        text = self.task.reply(messages, call.draw)
        self.calls.append((messages, text))
        n = sum(len(m["content"].split()) for m in messages)
        return Answer(text, (), "stop", n, n, 0, len(text.split()))


def metric(task: Planted) -> RowMetric:
    """Exact match of labels, with feedback, in the form that GEPA asks for."""

    def exact(example: Any, prediction: Any, trace: Any = None, pred_name: Any = None, pred_trace: Any = None) -> Any:
        said = feedback(task, example.item, prediction.label)
        return {"score": float(prediction.label == example.label), "feedback": said}

    return replace(build_metric(exact), identity=f"planted {task}")  # a closure is another metric every time


def feedback(task: Planted, item: str, label: str) -> str:
    """What a teacher would say of an answer: which property a thing goes by, and where it belongs."""
    kind = item.split("-")[0]
    right = task.properties["label", kind][0]
    return f"{'Right' if label == side(item) else 'Wrong'}: a {kind} goes by its {right}; it belongs {side(item)}."
