"""Requests and what comes back: the types that every engine speaks. No torch here."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from math import isnan
from numbers import Integral, Real
from typing import Any, Literal

from lampc.backend.metrics import RequestMetrics
from lampc.backend.shaping_options import LogitsProcessor, check_shaping

Finish = Literal["stop", "length", "abort", "error", "timeout"]


class State(Enum):
    """Where a request stands; the legal transitions are in `lampc.backend.lifecycle`.

    WAITING for blocks; PREFILLING until all tokens it knows are computed; RUNNING: it generates; PREEMPTED: its
    blocks went to others, and it waits again; FINISHED.
    """

    WAITING = "waiting"
    PREFILLING = "prefilling"
    RUNNING = "running"
    PREEMPTED = "preempted"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn and when a generation ends.

    `temperature` 0 is greedy (ties go to the lowest id). `top_k` 0, `top_p` 1.0 and `min_p` 0.0 switch the
    filters off; which tokens they keep, and in which order they apply, is in `lampc.backend.sampler`.
    The model's end-of-sequence ids always stop, unless `ignore_eos`. `stop` strings are looked for in the
    decoded text, across token boundaries; neither they nor stopping ids are part of the completion. Before
    `min_tokens` no stopping id can be drawn and no stop string counts.

    What changes the logits before anything is drawn, by the formulas in `lampc.backend.shaping`: `presence_penalty`,
    `frequency_penalty` (0.0: off; of tokens of the output), `repetition_penalty` (1.0: off; of prompt and output),
    `logit_bias` (pairs of id and number), `logits_processors` (functions, see there). `allowed_ids` are the only ones
    that may be drawn (None: all; without a stopping id among them nothing but `max_tokens` ends it), `bad_ids`
    sequences of ids that must not come about. Log-probabilities are those of the model, before all of it. Raises
    ValueError.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    max_tokens: int = 64
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_ids: tuple[int, ...] | None = None
    bad_ids: tuple[tuple[int, ...], ...] = ()
    logits_processors: tuple[LogitsProcessor, ...] = ()

    @property
    def shaped(self) -> bool:
        """Whether anything but temperature and filters says which token is drawn."""
        return bool(
            self.presence_penalty
            or self.frequency_penalty
            or self.repetition_penalty != 1.0
            or self.logit_bias
            or self.allowed_ids is not None
            or self.bad_ids
            or self.logits_processors
        )

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p", "min_p"):
            if not _is(getattr(self, name), Real):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a number")
        for name in ("top_k", "max_tokens", "min_tokens"):
            if not _is(getattr(self, name), Integral):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a whole number")
        if not isinstance(self.ignore_eos, bool):
            raise ValueError(f"ignore_eos is {self.ignore_eos!r}; give True or False")
        if not 0.0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature is {self.temperature}; give 0 (greedy) or a positive number")
        if self.top_k < 0:
            raise ValueError(f"top_k is {self.top_k}; give 0 (off) or the number of tokens to keep")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}; give a number in (0, 1], 1.0 is off")
        if not 0.0 <= self.min_p <= 1.0:
            raise ValueError(f"min_p is {self.min_p}; give a number in [0, 1], 0.0 is off")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens is {self.max_tokens}; give at least 1")
        if not 0 <= self.min_tokens <= self.max_tokens:
            raise ValueError(f"min_tokens is {self.min_tokens}; give 0 up to max_tokens, which is {self.max_tokens}")
        if not isinstance(self.stop, tuple) or not all(isinstance(s, str) and s for s in self.stop):
            raise ValueError(f"stop is {self.stop!r}; give a tuple of non-empty strings")
        if not isinstance(self.stop_ids, tuple) or not all(_is(i, Integral) and i >= 0 for i in self.stop_ids):
            raise ValueError(f"stop_ids is {self.stop_ids!r}; give a tuple of token ids")
        check_shaping(self)


def check_spent(spent: int | None) -> None:
    """Raises ValueError unless it is a position, or None."""
    if spent is not None and not (_is(spent, Integral) and spent >= 0):
        raise ValueError(f"spent is {spent!r}; give a position from 0, or None")


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_float(value: Any) -> bool:
    """Whether a number fits into a float, and is not NaN."""
    try:
        return not isnan(float(value))
    except OverflowError:
        return False


@dataclass(frozen=True, slots=True)
class PrefixRef:
    """A retained prefix, as `TokenEngine.retain` hands it out; `ids` are its token ids from the very start. One that
    `yields` may be let go by the engine, see there. What is held was computed with `adapter`, or without one."""

    id: int
    ids: tuple[int, ...]
    yields: bool = False
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One generation (or scoring) wanted from an engine.

    `prompt` ids come after `parent`'s ids. `key` is a 64-bit random key: generated token t is drawn with a
    counter-based generator from (key, t), never from arrival order. `forced` ids are the first generated tokens,
    whatever the model says. They are computed all at once, like a prompt, count for `max_tokens` and may stop the
    request; a script of `max_tokens` ids is the whole generation. `score` ids are not generated but scored: the
    completion then has no tokens and `logprobs[i]` is ln p(score[i] | prompt, score[:i]). Higher `priority` runs
    first, ties in order of arrival. `deadline` is in seconds on the engine's clock (`time.monotonic`); past it the
    request finishes with "timeout". `next_use` says when the request's tokens, prompt and generated ones, are
    needed next, on any scale that grows (the number of the call in a plan, for instance), the same for all
    requests: when blocks run short, what is needed last goes first, and before it what nothing was said of, the
    least recently used first. `inf` says that they are not needed again, and they go first of all. Of tokens from
    position `spent` on (prompt and generated ones counted together) nobody but this request needs anything once it has
    ended: they go first, at once where blocks are short, and `next_use` is that of what stands before. `depth` says how
    many requests follow one another from this one on, as far as is known: the policy `warm` takes first what most hangs
    on. None of these changes a token. `logprobs` asks for ln p of each generated token under the unfiltered
    distribution, `top_logprobs` for as many of the likeliest tokens at each of these places (it includes `logprobs`),
    `prompt_logprobs` for ln p of each prompt token given those before it: the whole prompt is then computed, whatever
    of it is cached. `grammar` says what the generated text may be (`lampc.backend.grammar` makes one from a JSON
    schema, a pattern or options): tokens that it leaves no choice about are computed several at once, like a prompt;
    the request ends where nothing may follow, and before that only where the text is whole. Only `max_tokens`, a
    deadline and `stop` strings cut it. `closed` says that it has places where only one of a few texts can follow:
    where there is room in a step, their tokens are computed beside each other (`lampc.backend.branches`). It changes no
    token either.
    """

    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    key: int = 0
    parent: PrefixRef | None = None
    forced: tuple[int, ...] = ()
    priority: int = 0
    deadline: float | None = None
    next_use: float | None = None
    grammar: str | None = None
    adapter: str | None = None
    logprobs: bool = False
    score: tuple[int, ...] = ()
    prompt_logprobs: bool = False
    top_logprobs: int = 0
    closed: bool = False
    depth: int = 0
    spent: int | None = None

    def __post_init__(self) -> None:
        if self.parent is None and not self.prompt:
            raise ValueError("the prompt is empty; give at least one token id (a bos token, for instance)")
        # What is compared must be comparable: a queue in disorder would hurt others.
        for name in ("prompt", "forced", "score"):
            if not isinstance(getattr(self, name), tuple):
                raise ValueError(f"{name} is a {type(getattr(self, name)).__name__}; give a tuple of token ids")
        for name in ("key", "priority", "top_logprobs", "depth"):
            if not _is(getattr(self, name), Integral):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give a whole number")
        for name in ("deadline", "next_use"):
            value = getattr(self, name)
            if value is not None and not (_is(value, Real) and _is_float(value)):
                raise ValueError(f"{name} is {value!r}; give a number, or None")
        check_spent(self.spent)
        if not 0 <= self.key < 1 << 64:
            raise ValueError(f"key is {self.key}; give an integer in [0, 2**64)")
        if self.score and (self.forced or self.grammar is not None):
            raise ValueError("a request cannot both score and force tokens or keep a grammar; drop one of the two")
        if not isinstance(self.closed, bool):
            raise ValueError(f"closed is {self.closed!r}; give True or False")
        if self.top_logprobs < 0:
            raise ValueError(f"top_logprobs is {self.top_logprobs}; give 0 (off) or how many to report")

    @property
    def ids(self) -> tuple[int, ...]:
        """All prompt ids, the parent's first."""
        return self.prompt if self.parent is None else self.parent.ids + self.prompt


@dataclass(frozen=True, slots=True)
class Completion:
    """The end of a request.

    `tokens` leave out the stopping id, and all tokens whose text reaches into a stop string; `text` is cut
    right before the stop string. `stop_reason` is the string or id that stopped it. `computed_tokens` counts
    prompt tokens that were run through the model for this request (again, if it was preempted),
    `cached_tokens` the prompt tokens that it did not have to compute because someone else had, or did.
    `logprobs` belong to `tokens` (or to the scored ids), in nats; `top_logprobs[i]` are pairs of token id and
    ln p, the likeliest first, at the place of `tokens[i]`. `prompt_logprobs[i]` belongs to prompt token i; the
    first is None, as nothing stands before it; `prompt_top_logprobs` are, of the same places, what `top_logprobs` are
    of generated ones, if both were asked for. They end early if the request did not get through its prompt.
    `stop_logprob` is ln p of the stopping id and what `top_logprobs` are of its place, if `logprobs` were asked for.
    `forced_tokens` counts those of `tokens` that the grammar left no choice about: steps that nobody had to wait for.
    `metrics` says how long things took (None where nobody measured); completions are compared without them.
    """

    tokens: tuple[int, ...]
    text: str
    finish: Finish
    stop_reason: str | int | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    computed_tokens: int = 0
    logprobs: tuple[float, ...] | None = None
    error: str | None = None
    prompt_logprobs: tuple[float | None, ...] | None = None
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] | None = None
    forced_tokens: int = 0
    prompt_top_logprobs: tuple[tuple[tuple[int, float], ...], ...] | None = None
    stop_logprob: tuple[float, tuple[tuple[int, float], ...]] | None = None
    metrics: RequestMetrics | None = field(default=None, compare=False)


class Handle:
    """A submitted request, followed by its owner: state, completion and a stream of tokens.

    `on_token`, which hears of every token, is to be there before the first of them. While the request is under way,
    and if it asks for any, `measured(start)` gives logprobs and likeliest tokens, as in `Completion`, from place
    `start` on; only `on_token` may call it. `sent_before` and `unsent` are for engines: tokens that the handle holds,
    and how to get those that came after them.
    """

    __slots__ = ("_read", "completion", "id", "measured", "on_token", "request", "sent_before", "state", "unsent")

    def __init__(self, id: int, request: Request, on_token: Callable[["Handle", int], None] | None = None) -> None:
        self.id = id
        self.request = request
        self.state = State.WAITING
        self.completion: Completion | None = None
        self.on_token = on_token
        self.measured: Callable[[int], tuple[list[float], list[tuple[tuple[int, float], ...]]]] | None = None
        self.sent_before: list[int] = []
        self.unsent: Callable[[], list[int]] | None = None
        self._read = 0

    @property
    def done(self) -> bool:
        """True once `completion` is there."""
        return self.completion is not None

    @property
    def sent(self) -> list[int]:
        """The tokens generated so far; a later stop string may still take the last ones back."""
        return self.sent_before if self.unsent is None else self.sent_before + self.unsent()

    def new_tokens(self) -> tuple[int, ...]:
        """Tokens generated since the last call. A later stop string may still take the last ones back."""
        sent = self.sent
        fresh = tuple(sent[self._read :])
        self._read = len(sent)
        return fresh

    def push(self, token: int) -> None:
        """For engines: a token was generated."""
        self.sent_before.append(token)
        if self.on_token is not None:
            self.on_token(self, token)

    def __repr__(self) -> str:
        return f"Handle({self.id}, {self.state.value})"
