"""What all answers need: the engine, its names, the limits, and the way in: who may have how much under way."""

from __future__ import annotations

import asyncio
import functools
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lampc.backend.errors import BadGrammar
from lampc.backend.job import check_request
from lampc.backend.options import OPTIONS, wanted
from lampc.backend.request import Request
from lampc.ir.diag import there_are
from lampc.runtime.serve.bodies import Generating
from lampc.runtime.serve.engine import ServedEngine
from lampc.runtime.serve.fields import KEPT, engine_problem, kept_field
from lampc.runtime.serve.generations import Generations
from lampc.runtime.serve.limits import Limits
from lampc.runtime.serve.problems import Problem, busy, late, problem_of, shutting_down
from lampc.runtime.serve.trials import Trials
from lampc.runtime.serve.vectors import Vectors

T = TypeVar("T")
LONG = 1 << 15
"""Bytes of a body from which on its text becomes tokens on another thread, so that nobody else waits for it."""


@dataclass(slots=True)
class Service:
    """See the module's text. `name` is what the model is called, `vectors` makes vectors of texts, if anything does.

    `draining`: the server was asked to end, and takes nothing new.
    """

    engine: ServedEngine
    name: str
    limits: Limits = field(default_factory=Limits)
    vectors: Vectors | None = None
    draining: bool = False
    started: float = field(default_factory=time.time)
    trials: Trials = field(default_factory=Trials)

    @property
    def fingerprint(self) -> str:
        """Names weights, tokenizer and numerics: equal ones give equal answers."""
        return f"lampc-{self.engine.info.digest[:16]}"

    @property
    def models(self) -> list[str]:
        """Names that a request may ask for: the model's, and those of its adapters."""
        return [self.name, *self.engine.info.adapters]

    def adapter(self, model: str | None) -> str | None:
        """The adapter that a model's name stands for, None for the model itself. Raises Problem."""
        if model is None or model == self.name:
            return None
        if model in self.engine.info.adapters:
            return model
        why = f"there is no model {model!r} here; {there_are(map(repr, self.models))}"
        raise Problem(404, why, code="model_not_found", param="model")

    def seconds(self, asked: float | None) -> float:
        """How long an answer may take."""
        return self.limits.seconds if asked is None else min(asked, self.limits.seconds)

    def late(self, asked: float | None) -> Problem:
        """An answer took longer than that."""
        return late(self.seconds(asked), asked is not None and asked < self.limits.seconds)

    async def encoded(self, size: int, work: Callable[[], T], field: str = "prompt") -> T:
        """What `work` makes of a text of about so many bytes, which a body has in a field. Raises Problem."""
        try:
            return await asyncio.to_thread(work) if size >= LONG else work()
        except RecursionError as e:
            raise Problem(400, f"{field}: JSON in it is nested too deeply to be read", param=field) from e
        except Exception as e:
            raise problem_of(e, field) from e

    def requests(
        self, body: Generating, prompts: Sequence[Sequence[int]], most: int | None, more: Mapping[str, Any]
    ) -> list[Request]:
        """The generations that a body asks for: `n` of each prompt, of at most `most` tokens. Raises Problem."""
        n = int(more.get("n") or body.n or 1)
        fit = min(self.limits.choices, self.limits.room(body.priority))
        if n * len(prompts) > fit:
            why = f"{n * len(prompts)} generations are asked for; at most {fit} fit in one request"
            raise Problem(400, why, param="prompt" if n == 1 else "n" if n == body.n else "best_of")
        kept = {**_kept_to(body), **{name: more[name] for name in KEPT if name in more}}
        if kept:
            try:
                wanted(None, kept, "this request")
            except Exception as e:
                raise engine_problem(e, body) from e
        options = {
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "top_p": body.top_p,
            "top_k": max(0, body.top_k) if body.top_k is not None else None,
            "min_p": body.min_p,
            "min_tokens": body.min_tokens,
            "stop": body.stop or None,
            "stop_ids": body.stop_token_ids,
            "ignore_eos": body.ignore_eos,
            "presence_penalty": body.presence_penalty,
            "frequency_penalty": body.frequency_penalty,
            "repetition_penalty": body.repetition_penalty,
            "logit_bias": body.logit_bias,
            "allowed_ids": body.allowed_token_ids,
            "bad_words": body.bad_words,
            "priority": body.priority,
            "timeout": self.seconds(body.timeout),
            "seed": secrets.randbits(62) if body.seed is None else body.seed,
            "adapter": self.adapter(body.model),
            **kept,
            **more,
            "n": n,
        }
        out: list[Request] = []
        for at, ids in enumerate(prompts):
            options["max_tokens"] = self._room(len(ids), most)
            try:
                given = {k: v for k, v in options.items() if v is not None and k in OPTIONS}
                made = wanted(None, given, "this request").requests(ids, self.engine.tokenizer)
                check_request(made[0], self.engine.info)
            except Exception as e:
                raise engine_problem(e, body, at) from e
            out += made
        return out

    def _room(self, prompt: int, most: int | None) -> int:
        room = max(1, self.engine.info.context_length - prompt)
        return min(room, *(m for m in (most, self.limits.tokens) if m is not None), room)

    async def tried(self, requests: Sequence[Request], body: Generating) -> None:
        """The grammars of a body's requests can be read in time. Raises Problem if not."""
        try:
            for grammar in {request.grammar for request in requests if request.grammar is not None}:
                await self.trials.check(grammar)
        except BadGrammar as e:
            raise problem_of(e, await asyncio.to_thread(kept_field, body)) from e

    def generate(self, requests: Sequence[Request], body: Generating) -> Generations:
        """Have what a body asks for run, if there is room for it. Raises Problem."""
        self.admit(len(requests), max(r.priority for r in requests))
        try:
            kept = functools.partial(kept_field, body)
            events = self.limits.events
            return Generations(self.engine, requests, listen=bool(body.stream), events_per_s=events, kept=kept)
        except Exception as e:
            raise problem_of(e) from e

    def admit(self, count: int, priority: int = 0) -> None:
        """Raises Problem if so many more are too many, or nothing new is taken."""
        if self.draining:
            raise shutting_down()
        if self.engine.under_way + count > self.limits.room(priority):
            raise busy(self.engine.under_way)


def _kept_to(body: Generating) -> dict[str, Any]:
    """What the text may be, as options of the engine. Raises Problem."""
    form = body.structured_outputs
    if form is None:
        return {}
    given = {n: v for n in KEPT if (v := getattr(form, n)) is not None}
    if len(given) != 1:
        raise Problem(
            400, "structured_outputs: give one of json, regex, choice and grammar", param="structured_outputs"
        )
    return given


def usage(generations: Sequence[Any], prompts: int) -> dict[str, Any]:
    """Token counts of an answer; `prompts` of its generations have a prompt of their own, the others share it."""
    step = len(generations) // max(1, prompts)
    asked = sum(c.prompt_tokens for c in generations[::step])
    cached = sum(c.cached_tokens for c in generations[::step])
    written = sum(len(c.tokens) for c in generations)
    return {
        "prompt_tokens": asked,
        "completion_tokens": written,
        "total_tokens": asked + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
