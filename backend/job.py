"""A request inside an engine: the ids it knows, where it stands in the tree, what it has cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lampc.backend.api import EngineInfo
from lampc.backend.bare_draws import bare_of
from lampc.backend.errors import BadGrammar, ContextTooLong, Unsupported
from lampc.backend.grammar.matcher import Matcher, Words
from lampc.backend.metrics import RequestMetrics, Times
from lampc.backend.nodes import Cursor, Node
from lampc.backend.output import Output, check_ids
from lampc.backend.request import Completion, Finish, Handle, Request
from lampc.backend.shaping import Shaper
from lampc.backend.speculation.guess import Guess
from lampc.backend.tokenizer import TextTokenizer


class Job:
    """Everything about one request that changes while it runs.

    `ids` are the tokens whose K/V the model needs: prompt, then scripted and generated ones. `slots[i]` is
    the slot of `ids[i]`, int64, valid up to `cursor.length`. Counts of prompt tokens are exact: see `pass_by`.
    `matcher` is the request's grammar at the end of what was generated. Raises ValueError if the request's forced
    tokens are not in it.
    """

    __slots__ = (
        "bare",
        "cached",
        "computed",
        "cursor",
        "failure",
        "fast",
        "first_row",
        "follow",
        "forced",
        "greedy",
        "guess",
        "handle",
        "ids",
        "lane",
        "logprobs",
        "matcher",
        "output",
        "pending",
        "plain",
        "preempted",
        "promised",
        "promoted",
        "prompt_len",
        "rank",
        "request",
        "root",
        "script",
        "shaper",
        "slots",
        "slots_at",
        "stalled",
        "synchronous",
        "ticket",
        "times",
        "top",
        "unpassed",
        "untold",
        "wants_logprobs",
        "watermark",
    )

    def __init__(
        self, handle: Handle, tokenizer: TextTokenizer, info: EngineInfo, matcher: Matcher | None = None
    ) -> None:
        request = handle.request
        prompt = request.ids
        self.handle = handle
        self.request = request
        self.prompt_len = len(prompt)
        self.output = Output(request.sampling, tokenizer, info.context_length - len(prompt))
        forced: list[int] = []
        for token in request.forced:
            if self.output.done or not self.output.push(token):
                break
            forced.append(token)
        self.matcher = matcher
        self.failure = ""  # why its grammar cannot go on
        self.untold: list[int] = []  # tokens under a grammar that its owner was not told of
        self.forced = 0  # tokens that the grammar left no choice about
        if matcher is not None:
            self.output.bounded = True
            matcher.stop_at(self.output.stop_ids)
            for i, token in enumerate(forced):
                if not matcher.take(token):
                    raise ValueError(f"forced[{i}] is {token}, which the request's grammar does not take there")
            forced += self._force()
            if matcher.failure:
                raise BadGrammar(f"the grammar cannot go on: {matcher.failure}")
        self.follow = (*prompt, *forced, *request.score)
        self.ids = list(prompt) + forced + list(request.score[:-1])
        self.script: list[int] | None = None
        self.logprobs: list[float] = []
        self.top: list[tuple[tuple[int, float], ...]] = []
        self.cursor: Cursor | None = None
        self.root: Node | None = None
        self._room(0)
        # Whether every token after position `first_row` needs its logits row, and where `logprobs` starts.
        self.wants_logprobs = (
            request.logprobs or bool(request.score) or request.prompt_logprobs or request.top_logprobs > 0
        )
        if request.logprobs or request.top_logprobs:
            handle.measured = self._measured
        sampling = request.sampling
        # Whether each of its tokens is the likeliest, of those that its grammar takes or, if `plain`, of all, and
        # nothing else is wanted of the logits.
        self.shaper = Shaper(sampling, prompt, info.vocab_size) if sampling.shaped else None
        self.greedy = not (sampling.temperature or sampling.min_tokens or self.wants_logprobs or self.shaper)
        self.plain = self.greedy and matcher is None
        # How its tokens are drawn, if that takes nothing but a row of logits, and a mask if it has a grammar.
        more = sampling.min_tokens or self.wants_logprobs or self.shaper
        self.bare = None if more else bare_of(sampling, request.key, self.prompt_len)
        # Whether its next row cannot be launched before its newest token is here: see `docs/engine.md`.
        grows = self.shaper is not None and self.shaper.grows
        self.synchronous = bool(sampling.stop) or matcher is not None or grows
        self.first_row = 0 if request.prompt_logprobs else self.prompt_len - 1
        self.watermark = 0
        self.computed = 0
        self.cached = 0
        self.times = Times()
        # The scheduler's notes.
        self.rank: tuple[Any, ...] = ()  # its place among others
        self.fast = False  # all but its newest token is written, and had its logits
        self.preempted = 0
        self.promoted = False  # waited long enough to go before all others
        self.ticket = 0  # its place in the order of arrival among those that wait
        self.unpassed = 0  # admissions that did not pass it, beyond those that did not pass the one before it
        self.stalled = 0  # steps in a row in which it wanted rows and got none
        self.promised = 0  # blocks that were left to it when it was admitted
        self.lane: Lane | None = None
        self.guess: Guess | None = None  # where tokens are guessed
        self.pending = False  # it has no lane, and something is drawn for it by a step whose results are not here yet

    @property
    def owner(self) -> "Job":
        """See `lampc.backend.drawing.Drawing`."""
        return self

    @property
    def next_logits(self) -> int:
        """The first position whose logits are still needed."""
        if self.wants_logprobs:
            return self.first_row + len(self.logprobs)
        return len(self.ids) - 1

    @property
    def scored(self) -> bool:
        """Whether this is a scoring request that has all it asked for."""
        score = self.request.score
        return bool(score) and self.next_logits == self.prompt_len - 1 + len(score)

    def record(self, drawn: "Drawn") -> None:
        """Keeps the logprobs of a step."""
        self.logprobs += drawn.logprobs
        self.top += drawn.top

    def _measured(self, start: int) -> tuple[list[float], list[tuple[tuple[int, float], ...]]]:
        """What `Handle.measured` gives."""
        at = start + self.prompt_len - 1 - self.first_row
        return self.logprobs[at:], self.top[at:]

    @property
    def draws(self) -> bool:
        """Whether the logits of the last known token are to be sampled from."""
        return not self.output.done and not self.request.score

    def set_slots(self, slots: list[int]) -> None:
        """Slots of the whole path; leaves room for tokens to come."""
        if len(self.slots) < len(slots):
            self._room(2 * len(slots))
        self.slots[: len(slots)] = slots

    def add_slots(self, start: int, slots: Sequence[int]) -> None:
        """Slots of the tokens from `start` on."""
        end = start + len(slots)
        if end > self.slots.size:
            known = self.slots
            self._room(max(64, 2 * end))
            self.slots[: known.size] = known
        self.slots[start:end] = slots

    def accept(self, token: int) -> bool:
        """A token was drawn; False if it does not belong to the output (a stopping id does not).

        What the grammar then leaves no choice about is known with it: `ids` may grow by several tokens.
        """
        if not self.output.push(token):
            return False
        self.ids.append(token)
        self.handle.sent_before.append(token)
        if self.matcher is not None:
            self.untold.append(token)
            if self.matcher.take(token):
                self.ids += self._force()
            if self.matcher.failure:
                self.failure = f"the grammar cannot go on: {self.matcher.failure}"
            if self.wants_logprobs:
                self.follow = tuple(self.ids)
        return True

    def _force(self) -> list[int]:
        """Takes the tokens that must follow, as far as there is room for them."""
        matcher, output = self.matcher, self.output
        assert matcher is not None
        if matcher.ended:
            output.end()
            return []
        tokens = [] if output.done else matcher.forced()
        if not tokens:
            return tokens
        forced = []
        for token in tokens:
            if output.done:
                break
            output.push(token, forced=True)
            forced.append(token)
        else:
            if matcher.ended:
                output.end()
        self.forced += len(forced)
        self.untold += forced
        self.handle.sent_before += forced
        return forced

    def mask(self) -> Words | None:
        """Which ids may be drawn next, see `Matcher.mask`; None if all may."""
        if self.matcher is None:
            return None
        return self.matcher.mask(self.output.banned)

    def hear(self, tokens: list[int]) -> None:
        """Several tokens were generated, none of which ends it."""
        self.ids += tokens
        self.output.tokens += tokens
        self.handle.sent_before += tokens

    def _room(self, count: int) -> None:
        self.slots: NDArray[np.int64] = np.zeros(count, np.int64)
        self.slots_at: int = self.slots.__array_interface__["data"][0]  # the address, for kernels

    def pass_by(self, start: int, end: int) -> tuple[int, int]:
        """Accounts for rows [start, end) of this job going through the model (none if start == end).

        Prompt tokens between what it had reached and `start` are cached. Returns (newly cached, computed).
        """
        limit = self.prompt_len
        cached = max(0, min(start, limit) - self.watermark)
        computed = max(0, min(end, limit) - min(start, limit))
        self.watermark = max(self.watermark, min(end, limit))
        self.cached += cached
        self.computed += computed
        return cached, computed

    def complete(self, finish: Finish, error: str | None, metrics: RequestMetrics) -> Completion:
        """The completion as of now, the last."""
        self.handle.measured = None
        request = self.request
        tokens, text = self.output.result()
        start = self.prompt_len - 1 - self.first_row  # logprobs before this are the prompt's
        end = start + len(request.score or tokens)
        wanted = request.logprobs or bool(request.score) or request.top_logprobs > 0
        reason = self.output.reason if finish == "stop" else None
        stopped = isinstance(reason, int) and wanted and end < len(self.logprobs)
        return Completion(
            tokens=tokens,
            text=text,
            finish=finish,
            stop_reason=reason,
            prompt_tokens=self.prompt_len,
            cached_tokens=self.cached,
            computed_tokens=self.computed,
            logprobs=tuple(self.logprobs[start:end]) if wanted else None,
            error=error,
            prompt_logprobs=(None, *self.logprobs[:start]) if request.prompt_logprobs else None,
            top_logprobs=tuple(self.top[start:end]) if request.top_logprobs else None,
            forced_tokens=min(self.forced, len(tokens)),
            prompt_top_logprobs=((), *self.top[:start]) if request.prompt_logprobs and request.top_logprobs else None,
            stop_logprob=(self.logprobs[end], self.top[end] if request.top_logprobs else ()) if stopped else None,
            metrics=metrics,
        )


class Lane:
    """Where a job is among those that generate, see `lampc.backend.lanes`.

    `at` is its place, `first` the first step that it has a row in, `last` that of its last token. It has heard of its
    tokens of all steps before `heard`. `claimed` is the slot of its next token outside of the tree, if that has one.
    """

    __slots__ = ("at", "claimed", "first", "heard", "job", "last")

    def __init__(self, job: Job, at: int, step: int, last: int) -> None:
        self.job = job
        self.at = at
        self.first = self.heard = step
        self.last = last
        self.claimed: int | None = None


@dataclass(slots=True)  # not frozen: one is made per request and step
class Drawn:
    """What a runner found for a job: logprobs of known next tokens in order, and a drawn token if wanted.

    `top[i]` are the likeliest tokens at the place of `logprobs[i]`, if the request asks for any.
    """

    token: int | None
    logprobs: tuple[float, ...] = ()
    top: tuple[tuple[tuple[int, float], ...], ...] = ()


def check_request(request: Request, info: EngineInfo) -> None:
    """Raises Unsupported, ContextTooLong or ValueError if an engine cannot run this request."""
    check_adapter(request.adapter, info)
    prompt = request.ids
    check_ids(prompt, info.vocab_size, "prompt")
    check_ids(request.forced, info.vocab_size, "forced")
    check_ids(request.score, info.vocab_size, "score")
    sampling = request.sampling
    check_ids([token for token, _ in sampling.logit_bias], info.vocab_size, "logit_bias")
    check_ids(sampling.allowed_ids or (), info.vocab_size, "allowed_ids")
    for i, word in enumerate(sampling.bad_ids):
        check_ids(word, info.vocab_size, f"bad_ids[{i}]")
    if not prompt:
        raise ValueError("the prompt is empty; give at least one token id (a bos token, for instance)")
    if request.top_logprobs > info.vocab_size:
        raise ValueError(f"top_logprobs is {request.top_logprobs}; the vocabulary has {info.vocab_size} tokens")
    asked = len(prompt) + max(1, len(request.forced), len(request.score))
    if asked > info.context_length:
        raise ContextTooLong(asked, info.context_length)


def check_adapter(adapter: str | None, info: EngineInfo) -> None:
    """Raises Unsupported if an engine has no adapter of that name."""
    if adapter is not None and adapter not in info.adapters:
        loaded = ", ".join(map(repr, info.adapters)) or "none, since the engine was loaded without `adapters`"
        raise Unsupported(f"Request.adapter is {adapter!r}; loaded: {loaded}")


class Ids:
    """Numbers for handles, in order of arrival."""

    def __init__(self) -> None:
        self._count = count()

    def next(self) -> int:
        """A number larger than all before."""
        return next(self._count)
