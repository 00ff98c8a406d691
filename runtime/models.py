"""What a model is to whoever runs programs: calls go in, answers come out, whoever computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lampc.ir import CallKey, Sampling

if TYPE_CHECKING:
    from lampc.backend import PrefixRef
    from lampc.ir import Target
    from lampc.runtime.providers.prices import Price


class ModelError(Exception):
    """A model cannot be had or used; the message says what, where and how to mend it."""


@dataclass(slots=True)
class Answer:
    """A finished call. `ids` are the generated token ids (local models). Token counts are this call's own.

    `score` is the log-probability, in nats, of the continuation that a scoring call asked about. Endpoints may also
    give `tool_calls` (as they send them), `reasoning`, and `choices` (texts) where several were asked for.
    `forced_tokens` of the generated ones its grammar left no choice about. Of a call that failed `error` says why,
    `exception` is what was raised, if anything.
    """

    text: str
    ids: tuple[int, ...] = ()
    finish: str = "stop"
    prompt_tokens: int = 0
    computed_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    error: str = ""
    stored: bool = False
    score: float = 0.0
    tool_calls: tuple[dict[str, Any], ...] = ()
    reasoning: str = ""
    choices: tuple[str, ...] = ()
    exception: Exception | None = None
    forced_tokens: int = 0

    def record(self) -> dict[str, Any]:
        """What the store keeps."""
        kept: dict[str, Any] = {
            "text": self.text,
            "ids": list(self.ids),
            "finish": self.finish,
            "prompt_tokens": self.prompt_tokens,
            "generated_tokens": self.generated_tokens,
            "score": self.score,
        }
        if self.tool_calls:
            kept["tool_calls"] = list(self.tool_calls)
        if self.reasoning:
            kept["reasoning"] = self.reasoning
        if self.choices:
            kept["choices"] = list(self.choices)
        if self.forced_tokens:
            kept["forced_tokens"] = self.forced_tokens
        return kept

    @staticmethod
    def from_record(record: dict[str, Any]) -> Answer:
        return Answer(
            record["text"],
            tuple(record["ids"]),
            record["finish"],
            record["prompt_tokens"],
            0,
            0,
            record["generated_tokens"],
            stored=True,
            score=record["score"],
            tool_calls=tuple(record.get("tool_calls", ())),
            reasoning=record.get("reasoning", ""),
            choices=tuple(record.get("choices", ())),
            forced_tokens=record.get("forced_tokens", 0),
        )


@dataclass(frozen=True, slots=True)
class KvUse:
    """What a plan knows of the K/V of a call: from position `spent` on nobody needs it once the call has ended, and
    what stands before that is needed next at `next_use`. None: not known. See `lampc.backend.Request`."""

    spent: int | None = None
    next_use: float | None = None


NOT_KNOWN = KvUse()


@dataclass(slots=True, eq=False)
class ModelCall:
    """One call. Local: `ids` is the whole prompt. Remote: `messages`. `draw` are 64 random bits.

    With `score`, nothing is generated: these ids are scored as the continuation of the prompt. `extra` are further
    options for an endpoint, a JSON object as text, `grammar` is what an engine of ours keeps the answer to. `name` is
    what the desk knows the call by, `number` what events do.
    """

    key: CallKey
    sampling: Sampling
    draw: int
    ids: tuple[int, ...] = ()
    messages: tuple[tuple[str, str], ...] = ()
    score: tuple[int, ...] = ()
    node: str = ""
    extra: str = ""
    row: str = ""
    number: int = 0
    name: str = ""
    open: bool = False  # whether the temperature is left to the endpoint
    cached: bool = True  # whether equal calls are one, and journaled
    kept: bool = True  # whether the answer is kept for later runs
    provisional: bool = False  # whether nobody knows yet if the answer is needed; it is not kept until then
    answer: Answer | None = None  # the answer that is to be kept then
    price: Price | None = None
    waiting: list[Any] = field(default_factory=list)
    last: Any = None  # who waited for it before it was dropped
    told: bool = False  # of a model that is Python code: whether it knows of the call
    maker: int = 0  # the same: the thread that makes the call
    grammar: str = ""
    closed: bool = False  # whether the grammar has places where one of a few texts must follow
    scored: bool = False  # whether the answer's score is the log-probability of what was written
    site: Any = None  # the same: what all draws of the call have in common, if there may be several
    awaiter: Any = None  # the same: the task that awaits it
    depth: int = 0  # calls on the longest path that begins with this one
    use: KvUse = NOT_KNOWN  # of an engine of ours

    @property
    def prompted(self) -> bool:
        """Whether it is a prompt alone, that somebody called the LM with."""
        return len(self.messages) == 1 and self.messages[0][0] == "prompt"

    def is_draw_of(self, other: ModelCall) -> bool:
        """Whether it is another of several draws of the same call."""
        return (
            self.site is not None
            and self.site == other.site
            and (self.messages, self.sampling, self.extra) == (other.messages, other.sampling, other.extra)
        )

    @property
    def listeners(self) -> list[Callable[[str], None]]:
        """Who is given the answer's text while it is written."""
        return [w.on_text for w in self.waiting if getattr(w, "on_text", None) is not None]


class Model(Protocol):
    """A model that takes calls and gives answers as they finish.

    One whose answers arrive by themselves says so by `pushes = True`, and hands each to its attribute `on_answer`
    instead of giving it from `advance`.
    """

    @property
    def target(self) -> Target: ...
    @property
    def mode(self) -> str:
        """`exact`, `fast` or `remote`; part of every call's key."""
        ...

    def submit(self, calls: Sequence[ModelCall]) -> None:
        """Take calls, in the order in which they are best run."""
        ...

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        """Do some work; gives the calls that finished. Never returns nothing while a call is pending forever."""
        ...

    def retain(self, ids: tuple[int, ...]) -> PrefixRef | None: ...
    def release(self, ref: PrefixRef) -> None: ...
    def abort(self) -> None:
        """Drop all pending calls."""
        ...

    def close(self) -> None: ...


class PythonModel(Model, Protocol):
    """A model that is Python code. Its calls are made where they are asked for, by many threads at once; it may ask
    other models, or itself, while it makes one. `submit` only tells it of calls that will be made."""

    @property
    def waits(self) -> bool:
        """Whether the code mostly waits, so that several calls are best made by several threads."""
        ...

    def make(self, call: ModelCall) -> Answer:
        """The answer to one call; what the code raises is in it."""
        ...

    def make_draws(self, calls: Sequence[ModelCall]) -> list[Answer]:
        """The answers to several draws of one call."""
        ...


def failed(error: Exception) -> Answer:
    """The answer of a call that ended in an exception."""
    return Answer("", finish="error", error=str(error), exception=error)
