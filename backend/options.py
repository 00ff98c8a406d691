"""Options of a generation as keywords: checked, with a suggestion for a misspelt one, and made into requests."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

from lampc.backend.errors import UnknownOption
from lampc.backend.grammar import texts
from lampc.backend.random_keys import fork_key, prompt_key
from lampc.backend.request import Completion, Request, Sampling
from lampc.backend.results import likeliest_of
from lampc.backend.shaping_options import LogitsProcessor, bias_pairs
from lampc.backend.tokenizer import TextTokenizer


class Options(TypedDict, total=False):
    """Keywords of `generate`, `chat`, `stream` and their async forms; all have defaults.

    Those of `Sampling`: `temperature` (0 is greedy), `top_k`, `top_p`, `min_p`, `max_tokens` (64), `min_tokens`,
    `stop` (a string or several), `stop_ids`, `ignore_eos`, `presence_penalty`, `frequency_penalty`,
    `repetition_penalty`, `logit_bias` (of token ids, as a mapping or pairs), `allowed_ids`, `bad_ids`,
    `logits_processors`. Further: `n` generations from each prompt (1), the likeliest per token of `best_of` (n) if that
    is more; `bad_words`, texts none of which may be written, spelt as the tokenizer spells them at the beginning of a
    text and after a space; `seed` (0), from which all draws come, together with the prompt; `forced`, a text or token
    ids that the generation begins with; `priority` (higher first); `timeout` in seconds; `logprobs`, `prompt_logprobs`
    and `top_logprobs` as in `Request`. What the text may be says one of `json_schema` (a schema, or its text), `regex`,
    `choice` (texts, one of which it is) and `grammar` (Lark, see `lampc.backend.grammar.compiled`). `adapter` names one
    that was loaded.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    max_tokens: int
    min_tokens: int
    stop: str | Sequence[str]
    stop_ids: Sequence[int]
    ignore_eos: bool
    presence_penalty: float
    frequency_penalty: float
    repetition_penalty: float
    logit_bias: Mapping[int, float] | Mapping[str, float] | Sequence[tuple[int, float]]
    allowed_ids: Sequence[int] | None
    bad_ids: Sequence[Sequence[int]]
    bad_words: str | Sequence[str]
    logits_processors: Sequence[LogitsProcessor]
    n: int
    best_of: int | None
    seed: int
    forced: str | Sequence[int]
    priority: int
    timeout: float | None
    logprobs: bool
    prompt_logprobs: bool
    top_logprobs: int
    json_schema: Mapping[str, Any] | bool | str | None
    regex: str | None
    choice: Sequence[str] | None
    grammar: str | None
    adapter: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Checked options: what to do with each prompt."""

    sampling: Sampling
    n: int = 1
    seed: int = 0
    forced: str | tuple[int, ...] = ()
    priority: int = 0
    timeout: float | None = None
    logprobs: bool = False
    prompt_logprobs: bool = False
    top_logprobs: int = 0
    json_schema: Any = None
    regex: str | None = None
    choice: Sequence[str] | None = None
    grammar: str | None = None
    adapter: str | None = None
    best_of: int | None = None
    bad_words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("n", 1), ("seed", None), ("priority", None), ("top_logprobs", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or (least is not None and value < least):
                raise ValueError(f"{name} is {value!r}; give a whole number{'' if least is None else f' from {least}'}")
        for name in ("logprobs", "prompt_logprobs"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r}; give True or False")
        if self.best_of is not None and (type(self.best_of) is not int or self.best_of < self.n):
            raise ValueError(f"best_of is {self.best_of!r}; give at least n, which is {self.n}")
        if not isinstance(self.bad_words, tuple):
            raise ValueError(f"bad_words is {self.bad_words!r:.80}; give texts of more than spaces")
        for i, word in enumerate(self.bad_words):
            if not isinstance(word, str) or not word.strip():
                raise ValueError(f"bad_words[{i}] is {word!r:.80}; give a text of more than spaces")
        if not isinstance(self.forced, str) and not (
            isinstance(self.forced, tuple) and all(isinstance(i, int) and not isinstance(i, bool) for i in self.forced)
        ):
            raise ValueError(f"forced is {self.forced!r:.80}; give a text or token ids")
        limit = self.timeout
        if limit is not None and (not isinstance(limit, int | float) or isinstance(limit, bool) or not limit > 0):
            raise ValueError(f"timeout is {limit!r}; give seconds above 0, or None")
        given = [name for name in ("json_schema", "regex", "choice", "grammar") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given; a text keeps one of them")
        self._grammar()

    def _grammar(self) -> str | None:
        """The text of the grammar that these options come to. Raises ValueError."""
        if self.json_schema is not None:
            return texts.json_schema(self.json_schema)
        if self.regex is not None:
            return texts.regex(self.regex)
        return self.grammar if self.choice is None else texts.choice(self.choice)

    def requests(self, ids: Sequence[int], tokenizer: TextTokenizer) -> list[Request]:
        """`n` requests for one prompt, or `best_of`; the tree makes them forks of one prefill.

        Their keys come from seed and prompt: neither from the order of calls nor from neighbours.
        """
        prompt = tuple(ids)
        key = prompt_key(self.seed, prompt)
        forced = tuple(tokenizer.encode(self.forced)) if isinstance(self.forced, str) else self.forced
        grammar, count = self._grammar(), self.best_of or self.n
        sampling = self.sampling
        if self.bad_words:
            sampling = replace(sampling, bad_ids=sampling.bad_ids + spelt(self.bad_words, tokenizer))
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        return [
            Request(
                prompt,
                sampling,
                fork_key(key, fork),
                forced=forced,
                priority=self.priority,
                deadline=deadline,
                grammar=grammar,
                adapter=self.adapter,
                logprobs=self.logprobs or count > self.n,
                prompt_logprobs=self.prompt_logprobs and fork == 0,
                top_logprobs=self.top_logprobs,
                closed=self.choice is not None,
            )
            for fork in range(count)
        ]

    def best(self, completions: Sequence[Completion]) -> tuple[Completion, ...]:
        """Those of a prompt's completions that were asked for: the likeliest `n`, if there were more."""
        found = likeliest_of(completions, self.n)
        if len(completions) <= self.n:
            return tuple(found)
        if not (self.logprobs or self.top_logprobs):
            found = [replace(c, logprobs=None) for c in found]
        first = completions[0]  # which alone has log-probabilities of the prompt
        prompt = {n: getattr(first, n) for n in ("prompt_logprobs", "prompt_top_logprobs")}
        return tuple(replace(c, **(prompt if i == 0 else dict.fromkeys(prompt))) for i, c in enumerate(found))


SAMPLING = frozenset(f.name for f in fields(Sampling))
CALL = frozenset(f.name for f in fields(Wanted)) - {"sampling"}
OPTIONS = SAMPLING | CALL


def check_load_options(options: Mapping[str, Any], load: Callable[..., object], what: str) -> None:
    """Raises UnknownOption unless every option is a keyword of `load`."""
    known = [n for n, p in inspect.signature(load).parameters.items() if p.kind is p.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            raise UnknownOption(name, known, what)


def wanted(sampling: Sampling | None, options: Mapping[str, Any], what: str) -> Wanted:
    """Options on top of `sampling`. Raises UnknownOption (a TypeError), or ValueError for a bad value."""
    for name in options:
        if name not in OPTIONS:
            raise UnknownOption(name, OPTIONS, what)
    if sampling is not None and not isinstance(sampling, Sampling):
        raise TypeError(f"sampling is {sampling!r}; give a Sampling, or its fields as keywords")
    drawn = {name: _tuple(name, value) for name, value in options.items() if name in SAMPLING}
    rest = {name: _call(name, value) for name, value in options.items() if name in CALL}
    return Wanted(replace(sampling or Sampling(), **drawn), **rest)


def _tuple(name: str, value: Any) -> Any:
    if name == "stop" and isinstance(value, str):
        return (value,)
    if name == "logit_bias" and isinstance(value, Mapping):
        return bias_pairs(value)
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        return value
    if name in ("logit_bias", "bad_ids"):
        return tuple(tuple(one) if isinstance(one, Sequence) and not isinstance(one, str) else one for one in value)
    return tuple(value) if name in ("stop", "stop_ids", "allowed_ids", "logits_processors") else value


def spelt(words: Sequence[str], tokenizer: TextTokenizer) -> tuple[tuple[int, ...], ...]:
    """Token ids of words, each at the beginning of a text and after a space."""
    found = [tuple(tokenizer.encode(text)) for word in words for text in (word, f" {word.lstrip()}")]
    return tuple(dict.fromkeys(ids for ids in found if ids))


def _call(name: str, value: Any) -> Any:
    if name == "bad_words" and isinstance(value, str):
        return (value,)
    if name not in ("forced", "bad_words"):
        return value
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value
