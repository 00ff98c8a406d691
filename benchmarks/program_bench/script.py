"""Scripted answers: what each call of a workload answers, whoever runs it, in whatever order.

An answer hangs on the seed, on the predictor, on the random key of a sampled call and on the *set* of the prompt's
tokens with their counts: equal calls get equal answers, and a prompt whose parts were only put in another order is
answered the same. So a schedule or a layout changes what is computed, never what the program does.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lampc.ir import Demo, Module, Signature, freeze
from lampc.ir.adapters import adapter
from lampc.ir.prog import DefPredictor
from lampc.ir.types import Choice, ListOf, Maybe, Record, Scalar, Type
from program_bench.text import Words, about, generator

if TYPE_CHECKING:
    from lampc.backend import TextTokenizer
    from lampc.runtime.models import ModelCall


@dataclass(frozen=True, slots=True)
class Rule:
    """Of one predictor: mean words of its texts, items of its lists, and how likely each of its options is.

    `words` and `chances` are by output (an empty name: all others); `chances` of a bool is that of true.
    """

    words: Mapping[str, int] = field(default_factory=dict)
    chances: Mapping[str, float | Mapping[str, float]] = field(default_factory=dict)
    items: tuple[int, int] = (2, 4)

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"words": dict(self.words), "chances": dict(self.chances), "items": list(self.items)}

    @staticmethod
    def read(record: Mapping[str, Any]) -> Rule:
        """A rule from its record."""
        return Rule(record["words"], record["chances"], tuple(record["items"]))


Made = dict[tuple[str, int], tuple[int, ...]]
"""Ids of answers, by call site and fingerprint of the prompt."""


class Script:
    """The answers of one module's predictors under one tokenizer: see `lampc.runtime.rehearsal.Answers`. `made` keeps
    them."""

    def __init__(
        self,
        seed: int,
        rules: Mapping[str, Rule],
        module: Module,
        tokenizer: TextTokenizer,
        words: Words,
        made: Made | None = None,
    ) -> None:
        self.seed, self.rules, self.words = seed, rules, words
        self._tokenizer = tokenizer
        self._predictors = {op.symbol: op for op in module.body.ops if isinstance(op, DefPredictor)}
        noise = np.random.Generator(np.random.Philox(seed))
        self._noise = noise.integers(0, 1 << 63, tokenizer.vocab_size, np.uint64)
        self._made = {} if made is None else made

    def tokens(self, call: ModelCall) -> Sequence[int]:
        """The ids of an answer, as the predictor's layout writes it."""
        spot = call.node, self._print(call)
        found = self._made.get(spot)
        if found is None:
            predictor = self._predictors[call.node]
            values = self.outputs(call.node, predictor.signature, spot[1])
            text = adapter(predictor.layout).demo(told(predictor.signature), _demo(predictor.signature, values))[-1][1]
            found = self._made[spot] = tuple(self._tokenizer.encode(text.rstrip("\n")))
        return found

    def score(self, call: ModelCall) -> float:
        """A number below 0 that hangs on prompt and continuation."""
        return -generator(self.seed, "score", self._print(call), call.score).random()

    def _print(self, call: ModelCall) -> int:
        return (int(self._noise[np.asarray(call.ids)].sum(dtype=np.uint64)) ^ call.draw) & (1 << 64) - 1

    def outputs(self, node: str, signature: Signature, fingerprint: int) -> dict[str, Any]:
        """The values that a call answers."""
        rule = self.rules.get(node) or self.rules.get(node.rpartition(".")[2]) or Rule()
        draw = generator(self.seed, node, fingerprint)
        return {f.name: self._value(f.type, f.name, rule, draw) for f in signature.outputs}

    def _value(self, type_: Type, name: str, rule: Rule, draw: random.Random) -> Any:
        match type_:
            case Scalar("bool"):
                return draw.random() < _chance(rule.chances.get(name, 0.5))
            case Scalar("int"):
                return draw.randrange(1, 10)
            case Scalar("float"):
                return round(draw.random(), 2)
            case Choice(options):
                known = rule.chances.get(name)
                weights = [known.get(o, 0.0) for o in options] if isinstance(known, Mapping) else None
                return draw.choices(options, weights)[0]
            case ListOf(item):
                return [self._value(item, name, rule, draw) for _ in range(draw.randint(*rule.items))]
            case Maybe(item):
                return self._value(item, name, rule, draw)
            case Record(fields):
                return {n: self._value(t, n, rule, draw) for n, t in fields}
        mean = rule.words.get(name, rule.words.get("", 12))
        return self.words.text(about(mean, draw, 2), draw.getrandbits(64))


def _chance(value: float | Mapping[str, float]) -> float:
    return value if isinstance(value, float | int) else value.get("true", 0.5)


@functools.lru_cache(maxsize=256)
def told(signature: Signature) -> Signature:
    """The signature with one text input: what an answer looks like does not hang on the inputs."""
    from lampc.ir.content import Field
    from lampc.ir.types import STR

    return Signature((Field("x", STR),), signature.outputs)


def _demo(signature: Signature, values: Mapping[str, Any]) -> Demo:
    return Demo(freeze({"x": "x", **values}))
