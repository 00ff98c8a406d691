"""Episodes: a task, a wording, some examples; with the loss where something can be known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from tokenizers import Tokenizer

from firefly import tasks_facts, tasks_lists, tasks_text
from firefly.batches import EpisodeMaker
from firefly.dense import Row
from firefly.phrases import GENERIC, expand
from firefly.prompts import Example, Field, Message, Signature, chat, compact, default_instruction
from firefly.tasks import Kit, Task
from firefly.words import all_words

TASKS: list[Task] = tasks_lists.TASKS + tasks_text.TASKS + tasks_facts.TASKS
COPYING = 2.0
"""Operations by position teach copying, which labels and questions build on; they get more than their share."""
BY_NAME = {task.name: task for task in TASKS}
PLAIN_WORDS = [word for word in all_words() if word.isalpha() and word.islower() and len(word) > 2]


def signature_for(rng: Random, task: Task, kit: Kit, instruction: str, odd: float = 0.1) -> Signature:
    """Field names and types for a task; ``odd`` is the share of names that are any word."""
    used: set[str] = set()

    def name(pattern: str) -> str:
        while True:
            text = rng.choice(PLAIN_WORDS) if rng.random() < odd else rng.choice(pattern.split("|"))
            if text not in used:
                used.add(text)
                return text

    inputs = tuple(
        Field(name(pattern), task.in_types[index] if task.in_types else "str")
        for index, pattern in enumerate(task.inputs)
    )
    outputs = []
    for pattern, types in zip(task.outputs, task.types, strict=True):
        kind = rng.choice(types.split("|"))
        options = kit.options if kind == "literal" else ()
        if kind == "literal" and not options:
            options = tasks_text.KINDS
        outputs.append(Field(name(pattern), kind, options))
    return Signature(inputs, tuple(outputs), instruction)


def wording(rng: Random, task: Task, kit: Kit, kind: str) -> str:
    """An instruction of a kind: precise, semi or generic."""
    if kind == "precise" or (kind == "semi" and not task.semi):
        return expand(rng, rng.choice(task.precise)).format(**kit.fill)
    if kind == "semi":
        return expand(rng, rng.choice(task.semi))
    return rng.choice(GENERIC)


def text_of(messages: list[Message]) -> str:
    """The chat template."""
    return "".join(f"<|{role}|>{content}<|end|>" for role, content in messages)


class Encoder:
    """Token ids and loss weights of rendered messages."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

        def one(text: str) -> int:
            ids: list[int] = tokenizer.encode(text).ids
            return ids[0]

        self.assistant, self.end, self.newline = one("<|assistant|>"), one("<|end|>"), one("\n")
        self.colon = tokenizer.encode("a:").ids[1]
        self.open = {one("[[ ##"), one("\n\n[[ ##")}
        self.close = one(" ## ]]\n")
        self.completed = {one("\n\n[[ ## completed ## ]]"), one("\n\n[[ ## completed ## ]]\n")}

    def row(self, messages: list[Message], values: list[float], markers: bool) -> Row:
        """``values`` holds the weight of the answer tokens of each assistant message."""
        ids: list[int] = self.tokenizer.encode(text_of(messages)).ids
        weights = [0.0] * len(ids)
        turn, last = -1, len(values) - 1
        inside = head = False
        for index, token in enumerate(ids):
            if token == self.assistant:
                turn, inside, head = turn + 1, True, True
                continue
            if not inside:
                continue
            mark = 0.25 if turn == 0 else 0.08
            if token == self.end:
                weights[index] = 0.5 * max(values[turn], 0.2) if turn == last or not markers else 0.0
                inside = False
            elif markers:
                if token in self.completed:
                    weights[index] = 0.4 if turn == last else 0.0
                elif token in self.open:
                    head, weights[index] = True, mark
                elif head:
                    head, weights[index] = token != self.close, mark
                else:
                    weights[index] = values[turn]
            elif token == self.newline:
                head, weights[index] = True, 0.5 * values[turn]
            elif head:
                head, weights[index] = token != self.colon, mark
            else:
                weights[index] = values[turn]
        return ids, weights


def turn_weights(task: Task, kind: str, examples: list[Example], labels: float) -> list[float]:
    """How much can be known at each turn: nothing before the first demo of a vague episode.

    ``labels`` is the weight of a label that only the demos tell.
    """
    weights: list[float] = []
    seen: set[object] = set()
    for number, example in enumerate(examples):
        weight = 1.0
        if kind != "precise":
            if task.name.startswith("label."):
                weight = labels if str(example.outputs) in seen else 0.05
                if task.name == "label.table":
                    weight = 1.5 * labels if str(example) in seen else 0.02
            elif task.hidden and number < 2:
                weight = (0.15, 0.7)[number]
        seen.update((str(example.outputs), str(example)))
        weights.append(weight)
    return weights


def demo_count(rng: Random, kind: str, task: Task) -> int:
    """How many examples stand before the last one."""
    if task.name.startswith("qa."):
        return rng.choice((0, 0, 1, 2, 3))
    if kind == "precise":
        return rng.choice((0, 0, 0, 1, 2, 4))
    if task.name.startswith("label."):
        return rng.choice((4, 6, 8, 8, 10, 12))
    return rng.choice((1, 2, 3, 4, 5, 8))


@dataclass(frozen=True)
class Focus:
    """What a stage dwells on: shares of questions over facts with one and two hops, and how many facts they have;
    the share of chat markers; the weight of labels that only demos tell; how much more often there is to calculate.
    """

    one_hop: float
    two_hops: float
    low: int
    high: int
    chats: float
    labels: float = 1.0
    numbers: float = 1.0

    def boost(self, task: Task) -> float:
        """How much more often a task is drawn than its weight says."""
        if task.name.startswith("list.") and ".pick" not in task.name:
            return COPYING
        return self.numbers if task.name.startswith(("num.", "cot.", "items.count")) else 1.0


FOCUSES = {
    "easy": Focus(0.12, 0.0, 2, 4, 0.08),
    "mixed": Focus(0.15, 0.05, 2, 6, 0.15),
    "labels": Focus(0.08, 0.06, 2, 6, 0.20, labels=3.0),
    "full": Focus(0.10, 0.12, 3, 6, 0.30, labels=2.5),
    "numbers": Focus(0.10, 0.10, 3, 6, 0.30, labels=1.5, numbers=3.0),
}


def episode(rng: Random, encoder: Encoder, length: int, pool: list[Task], sums: list[float], focus: Focus) -> Row:
    """One episode of at most ``length`` tokens."""
    while True:
        task = rng.choices(pool, cum_weights=sums)[0]
        draw = rng.random()
        kind = "precise" if draw < 0.5 else "semi" if draw < 0.65 else "generic"
        kit = task.kit(rng)
        vague_default = kind == "generic" and rng.random() < 0.3
        signature = signature_for(rng, task, kit, wording(rng, task, kit, kind))
        if vague_default:
            signature = replace(signature, instruction=rng.choice(("", default_instruction(signature))))
        examples = [kit.sample(rng) for _ in range(1 + demo_count(rng, kind, task))]
        markers = rng.random() < focus.chats
        render = chat if markers else compact
        while examples:
            messages = render(signature, examples[:-1], examples[-1])
            row = encoder.row(messages, turn_weights(task, kind, examples, focus.labels), markers)
            if len(row[0]) <= length:
                return row
            examples = examples[1:]


def question_episode(rng: Random, encoder: Encoder, length: int, hops: int, low: int, high: int) -> Row:
    """One context and all questions on it."""
    while True:
        reasoning = rng.random() < (0.4 if hops == 2 else 0.15)
        listed = rng.random() < 0.6
        task = BY_NAME["qa.one_cot" if reasoning else "qa.one"]
        task = replace(task, in_types=("list" if listed else "str", "str"))
        examples = tasks_facts.questions(rng, hops, reasoning, listed, low, high)
        signature = signature_for(
            rng, task, Kit(task.kit(rng).sample), wording(rng, task, task.kit(rng), "precise"), 0.03
        )
        render = chat if rng.random() < 0.2 else compact
        messages = render(signature, examples[:-1], examples[-1])
        row = encoder.row(messages, [1.0] * len(examples), render is chat)
        if len(row[0]) <= length:
            return row


def maker(tokenizer: Tokenizer) -> Callable[[str], EpisodeMaker]:
    """Episode makers by the name of a focus."""
    encoder = Encoder(tokenizer)
    pool = [task for task in TASKS if task.seen]

    def by_focus(name: str) -> EpisodeMaker:
        focus = FOCUSES[name]
        sums = list(accumulate(task.weight * focus.boost(task) for task in pool))

        def make(rng: Random, length: int) -> Row:
            draw = rng.random()
            if draw < focus.one_hop:
                return question_episode(rng, encoder, length, 1, focus.low, focus.high)
            if draw < focus.one_hop + focus.two_hops:
                return question_episode(rng, encoder, length, 2, 2, 3)
            return episode(rng, encoder, length, pool, sums, focus)

        return make

    return by_focus
