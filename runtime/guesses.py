"""Guessed answers, for plans that ask no model: a value of the right type, about as long as such answers are.

How long, and how often which option, is known from earlier runs (`lampc.runtime.experience`), else lengths come from
the predictor's demos, else from the bounds that its outputs declare.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lampc.ir import Demo, Field, freeze, thaw
from lampc.ir.adapters import adapter
from lampc.ir.types import STR, Choice, ListOf, MapOf, Maybe, Record, Scalar, Type
from lampc.runtime.experience import Known, option

if TYPE_CHECKING:
    from lampc.ir.adapters import Bound
    from lampc.runtime.models import ModelCall

WORDS = "some words that stand for an answer"
_SOME = tuple(f"{WORDS} it is not what they were but how long and which one comes first here or there".split())
Encode = Callable[[str], Sequence[int]]


def guess(type: Type) -> Any:
    """A plain value of a type."""
    match type:
        case Scalar("int"):
            return 1
        case Scalar("float"):
            return 0.5
        case Scalar("bool"):
            return True
        case Scalar("none"):
            return None
        case Choice(options):
            return options[0] if options else ""
        case ListOf(item):
            return [guess(item)]
        case Maybe(item):
            return guess(item)
        case MapOf(item):
            return {WORDS: guess(item)}
        case Record(fields):
            return {n: guess(t) for n, t in fields}
    return WORDS


def guessed(
    bound: Bound, encode: Encode, known: Known | None = None, draw: random.Random | None = None
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Outputs of a predictor, and the answer that gives them as ids.

    `known` is what was answered before. With `draw`, words are drawn, so that answers differ, and so are options of
    closed outputs: as often as they were chosen before, else all alike.
    """
    known = known or Known()
    values = {f.name: _output(f, bound, known, draw) for f in bound.signature.outputs}
    shown = {name for demo in bound.demos.items for name in demo.values}
    texts = [f for f in bound.signature.outputs if f.type == STR and isinstance(values[f.name], str)]
    for f in texts:
        if known.mean is not None:
            values[f.name] = _text(1, draw)
        elif f.max_tokens and f.name not in shown:
            values[f.name] = _text(_words(f.max_tokens, encode), draw)
        elif draw is not None:
            values[f.name] = _text(len(str(values[f.name]).split()), draw)
    ids = tuple(encode(answer_text(bound, values)))
    if known.mean is not None and texts and len(ids) < known.mean:
        last = texts[-1].name
        values[last] = f"{values[last]} {_text(_words(round(known.mean) - len(ids), encode), draw)}"
        ids = tuple(encode(answer_text(bound, values)))
    return values, ids


def answer_text(bound: Bound, values: Mapping[str, Any]) -> str:
    """The text by which a model would give these outputs in the predictor's layout."""
    alone = replace(bound.signature, inputs=(Field("x", STR),))
    turns = adapter(bound.layout).demo(alone, Demo(freeze({"x": "x", **values})))
    if turns:
        return turns[-1][1].rstrip("\n")
    return "\n".join(str(v) for v in values.values())


class Guesses:
    """Guessed answers of predictors by name, as `lampc.runtime.rehearsal.Answers`. `known` says what a predictor
    answered before. What is drawn hangs on the prompt alone."""

    def __init__(self, bounds: Mapping[str, Bound], encode: Encode, known: Callable[[Bound], Known]) -> None:
        self._bounds, self._encode = bounds, encode
        self._before = {name: known(bound) for name, bound in bounds.items()}

    def tokens(self, call: ModelCall) -> Sequence[int]:
        """An answer to a call, the same for equal calls."""
        bound = self._bounds.get(call.node)
        if bound is None:
            return ()
        return guessed(bound, self._encode, self._before[call.node], random.Random(_digest(call)))[1]

    def score(self, call: ModelCall) -> float:
        """Any option may win."""
        return -random.Random(_digest(call)).random()


def _digest(call: ModelCall) -> bytes:
    return hashlib.blake2b(repr((call.ids, call.draw, call.score)).encode(), digest_size=8).digest()


def _output(f: Field, bound: Bound, known: Known, draw: random.Random | None) -> Any:
    """An option, a demo's value where there is one, else a guess."""
    options = _options(f.type)
    if options and draw is not None:
        counts = known.options.get(f.name) or Counter()
        weights = [counts.get(option(o), 0) for o in options]
        return draw.choices(options, weights if any(weights) else None)[0]
    for demo in bound.demos.items:
        if f.name in demo.values:
            return thaw(demo.values[f.name])
    value = guess(f.type)
    items = known.items(f.name)
    return value * items if isinstance(value, list) and items is not None else value


def _options(type_: Type) -> tuple[Any, ...]:
    """What a closed output may be."""
    if isinstance(type_, Choice):
        return type_.options
    return (True, False) if type_ == Scalar("bool") else ()


def _text(count: int, draw: random.Random | None) -> str:
    """So many words, at least one."""
    if draw is not None:
        return " ".join(draw.choices(_SOME, k=max(count, 1)))
    return " ".join(_SOME[i % len(_SOME)] for i in range(max(count, 1)))


@functools.lru_cache(maxsize=256)
def _words(tokens: int, encode: Encode) -> int:
    """How many words make so many tokens."""
    return max(1, round(tokens * len(_SOME) / max(len(encode(" " + " ".join(_SOME))), 1)))
