"""`Engine`: text in, text out. A thin layer over a `TokenEngine`, with one thread of its own that runs it."""

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack, overload

from lampc.backend.api import EngineInfo, EngineStats, TokenEngine
from lampc.backend.errors import BackendError, RequestFailed
from lampc.backend.job import check_request
from lampc.backend.loop import EngineLoop, Ticket
from lampc.backend.metrics import EngineMetrics
from lampc.backend.options import Options, Wanted, check_load_options, wanted
from lampc.backend.prompts import Message, Prompt, Prompts
from lampc.backend.request import Completion, PrefixRef, Request, Sampling
from lampc.backend.results import Chosen, Generation, Scored
from lampc.backend.streams import AsyncStream, Stream
from lampc.backend.tokenizer import TextTokenizer


class Engine:
    """A language model that runs in this process.

    Example:
        >>> from lampc.backend import Engine
        >>> with Engine.load("path/to/checkpoint") as engine:
        ...     print(engine.generate("Once upon a time", max_tokens=40).text)
        ...     print(engine.chat([{"role": "user", "content": "Hello!"}], temperature=0.7, seed=1).text)
        ...     for piece in engine.stream("Once upon a time"):
        ...         print(piece, end="", flush=True)

    All methods may be called from any thread at once; what runs at the same time is batched, and prompts that
    begin alike are computed once. The same call gives the same result, alone or among others: draws come from
    `seed` and the prompt. Use `close` or a `with` block: afterwards no thread and no memory of it is left.
    """

    def __init__(self, engine: TokenEngine) -> None:
        """Wraps an engine and owns it from now on; `Engine.load` is the usual way."""
        self._info = engine.info
        self._prompts = Prompts(engine.tokenizer)
        self._loop = EngineLoop(engine)
        self._gone = weakref.finalize(self, self._loop.close)  # also when it is dropped, and at exit

    @classmethod
    def load(cls, folder: Path | str, **options: Any) -> Self:
        """The model in a Hugging Face checkpoint folder (config.json, *.safetensors, tokenizer.json).

        `options` are those of `load_engine`, among them `dtype="bfloat16"`, `kv_tokens`, `max_running`,
        `exact`. Raises CheckpointError, UnknownArchitecture, Unsupported, NoKernels, ValueError or UnknownOption.

        Example:
            >>> engine = Engine.load("Qwen2.5-0.5B-Instruct", dtype="bfloat16")
        """
        from lampc.backend.load import load_engine

        check_load_options(options, load_engine, "Engine.load")
        return cls(load_engine(folder, **options))

    @property
    def info(self) -> EngineInfo:
        """Name, context length and other facts about the model."""
        return self._info

    @property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer."""
        return self._prompts.tokenizer

    # -- generation --------------------------------------------------------------------------------------

    @overload
    def generate(self, prompts: Prompt, sampling: Sampling | None = None, **options: Unpack[Options]) -> Generation: ...
    @overload
    def generate(
        self,
        prompts: list[str] | tuple[str, ...] | Sequence[Sequence[int]],
        sampling: Sampling | None = None,
        **options: Unpack[Options],
    ) -> list[Generation]: ...
    def generate(
        self, prompts: Any, sampling: Sampling | None = None, **options: Unpack[Options]
    ) -> Generation | list[Generation]:
        """Goes on from a prompt, or from each of a list; results are in its order.

        A prompt is a text or a sequence of token ids. A text gets the bos token if the checkpoint asks for one;
        special tokens that it spells count as such. Options are those of `Options`, on top of `sampling`.
        Raises ValueError, ContextTooLong or UnknownOption before anything runs; and RequestFailed, with the
        results of all, if some could not be computed.

        Example:
            >>> engine.generate(["One,", "Two,"], max_tokens=8, stop="\\n")[1].text
            >>> engine.generate("A name:", temperature=1.0, n=3).texts
        """
        many, ids = self._prompts.many(prompts)
        want = wanted(sampling, options, "generate")
        results = _best(want, self._run(self._requests(ids, want)))
        return results if many else results[0]

    def chat(
        self, messages: Sequence[Message], sampling: Sampling | None = None, **options: Unpack[Options]
    ) -> Generation:
        """Answers a conversation, through the checkpoint's chat template. Options as for `generate`.

        `messages` are dicts with "role" and "content". Special tokens that a content spells are broken up: text
        from outside cannot end its turn. Raises Unsupported if there is no chat template.

        Example:
            >>> engine.chat([{"role": "user", "content": "Name a colour."}], max_tokens=5).text
        """
        ids = self._prompts.chat(messages)
        want = wanted(sampling, options, "chat")
        return _best(want, self._run(self._requests([ids], want)))[0]

    def score(
        self, prefix: Prompt, choices: Sequence[Prompt], *, priority: int = 0, timeout: float | None = None
    ) -> list[Scored]:
        """ln p of each choice as the continuation of `prefix`, which is computed once for all of them.

        A choice is tokenised by itself: give it the leading space that the model would write. Raises as
        `generate` does.

        Example:
            >>> scores = engine.score("The sky is", [" blue", " made of cheese"])
            >>> max(scores, key=lambda s: s.mean).tokens
        """
        groups = self._scorings(prefix, choices, priority, timeout)
        return _scored(groups, self._run(groups))

    def stream(
        self, prompt: Prompt | Sequence[Message], sampling: Sampling | None = None, **options: Unpack[Options]
    ) -> Stream:
        """Pieces of text as they are generated, from a text, token ids or messages. Options as for `generate`.

        A piece is whole characters, and holds nothing that a stop string could still take back; joined, they are
        the text. `stream.completion` tells the rest once it has ended. Dropping or closing it ends the request.

        Example:
            >>> for piece in engine.stream("Once upon a time", max_tokens=100):
            ...     print(piece, end="", flush=True)
        """
        return Stream(self._loop, self._single(prompt, sampling, options, "stream"), self.tokenizer)

    # -- asyncio -----------------------------------------------------------------------------------------

    @overload
    async def agenerate(
        self, prompts: Prompt, sampling: Sampling | None = None, **options: Unpack[Options]
    ) -> Generation: ...
    @overload
    async def agenerate(
        self,
        prompts: list[str] | tuple[str, ...] | Sequence[Sequence[int]],
        sampling: Sampling | None = None,
        **options: Unpack[Options],
    ) -> list[Generation]: ...
    async def agenerate(
        self, prompts: Any, sampling: Sampling | None = None, **options: Unpack[Options]
    ) -> Generation | list[Generation]:
        """`generate` for asyncio. Cancelling it aborts its requests and frees what they hold.

        Example:
            >>> one, two = await asyncio.gather(engine.agenerate("One,"), engine.agenerate("Two,"))
        """
        many, ids = self._prompts.many(prompts)
        want = wanted(sampling, options, "agenerate")
        results = _best(want, await self._arun(self._requests(ids, want)))
        return results if many else results[0]

    async def achat(
        self, messages: Sequence[Message], sampling: Sampling | None = None, **options: Unpack[Options]
    ) -> Generation:
        """`chat` for asyncio."""
        ids = self._prompts.chat(messages)
        want = wanted(sampling, options, "achat")
        return _best(want, await self._arun(self._requests([ids], want)))[0]

    async def ascore(
        self, prefix: Prompt, choices: Sequence[Prompt], *, priority: int = 0, timeout: float | None = None
    ) -> list[Scored]:
        """`score` for asyncio."""
        groups = self._scorings(prefix, choices, priority, timeout)
        return _scored(groups, await self._arun(groups))

    def choose(
        self, prefix: Prompt, choices: Sequence[str], *, priority: int = 0, timeout: float | None = None
    ) -> Chosen:
        """The choice with the highest ln p as the continuation of `prefix`; of equals the first.

        This compares whole texts. `generate(prefix, choice=choices)` draws one token by token instead: it costs a
        step where they differ in their first token, and is what a model that is kept to them says.

        Example:
            >>> engine.choose("Is the sky blue? Answer:", [" yes", " no"]).text
        """
        return _chosen(choices, self.score(prefix, choices, priority=priority, timeout=timeout))

    async def achoose(
        self, prefix: Prompt, choices: Sequence[str], *, priority: int = 0, timeout: float | None = None
    ) -> Chosen:
        """`choose` for asyncio."""
        return _chosen(choices, await self.ascore(prefix, choices, priority=priority, timeout=timeout))

    def astream(
        self, prompt: Prompt | Sequence[Message], sampling: Sampling | None = None, **options: Unpack[Options]
    ) -> AsyncStream:
        """`stream` for asyncio, to be called in a running event loop.

        Example:
            >>> async for piece in engine.astream("Once upon a time"):
            ...     print(piece, end="", flush=True)
        """
        return AsyncStream(self._loop, self._single(prompt, sampling, options, "astream"), self.tokenizer)

    # -- the engine itself -------------------------------------------------------------------------------

    def stats(self) -> EngineStats:
        """Counters so far."""
        return self._loop.call(lambda engine: engine.stats())

    def metrics(self) -> EngineMetrics:
        """Rates, shares and distributions as of now; those of one request are in its `Completion.metrics`."""
        return self._loop.call(lambda engine: engine.metrics())

    def prometheus(self) -> str:
        """The metrics in Prometheus' text format; `docs/engine.md` explains each.

        To serve them together with others, register a `lampc.backend.prometheus.EngineCollector`.
        """
        from lampc.backend.prometheus import text

        return text(self)

    def check(self) -> None:
        """Raises AssertionError if memory leaked inside the engine."""
        self._loop.call(lambda engine: engine.check())

    def reset_cache(self) -> None:
        """Drops cached prefixes that nothing uses."""
        self._loop.call(lambda engine: engine.reset_cache())

    def retain(self, prefix: Prompt | Sequence[Message], ttl: float | None = None) -> PrefixRef:
        """Keeps what is or becomes cached of a prefix until it is released, or for `ttl` seconds.

        Example:
            >>> rules = engine.retain("A long text that many prompts will begin with")
        """
        ids = tuple(self._prompts.ids(prefix, "prefix"))
        return self._loop.call(lambda engine: engine.retain(ids, ttl))

    def release(self, ref: PrefixRef) -> None:
        """Lets a retained prefix go. Raises ValueError if it is not held."""
        self._loop.call(lambda engine: engine.release(ref))

    def close(self) -> None:
        """Ends what runs (with finish "abort"), the thread, and gives all memory back. Twice is fine."""
        self._gone()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- inside ------------------------------------------------------------------------------------------

    def _requests(self, prompts: Sequence[Sequence[int]], want: Wanted) -> list[list[Request]]:
        return [self._checked(want.requests(ids, self.tokenizer), i) for i, ids in enumerate(prompts)]

    def _scorings(
        self, prefix: Prompt, choices: Sequence[Prompt], priority: int, timeout: float | None
    ) -> list[list[Request]]:
        if isinstance(choices, str):
            raise TypeError(f"choices is {choices!r:.80}; give a list of texts or of sequences of token ids")
        start = self._prompts.ids(prefix, "prefix")
        want = Wanted(Sampling(), priority=priority, timeout=timeout)
        scored = [self.tokenizer.encode(c) if isinstance(c, str) else [*c] for c in choices]
        for i, ids in enumerate(scored):
            if not ids:
                raise ValueError(f"choices[{i}] is empty; give at least one token")
        (request,) = want.requests(start, self.tokenizer)
        return [self._checked([replace(request, score=tuple(ids))], i) for i, ids in enumerate(scored)]

    def _single(self, prompt: object, sampling: Sampling | None, options: Mapping[str, Any], what: str) -> Request:
        want = wanted(sampling, options, what)
        if (want.best_of or want.n) != 1:
            raise ValueError(f"n is {want.n}, best_of {want.best_of}; a stream is one generation, open several")
        return self._checked(want.requests(self._prompts.ids(prompt), self.tokenizer), 0)[0]

    def _checked(self, requests: list[Request], place: int) -> list[Request]:
        try:
            for request in requests[:1]:  # the others differ by their keys
                check_request(request, self._info)
        except (BackendError, ValueError) as error:
            error.add_note(f"in prompt or choice {place} of this call")
            raise
        return requests

    def _run(self, groups: list[list[Request]]) -> list[Generation]:
        tickets = [[Ticket(request) for request in group] for group in groups]
        every = [ticket for group in tickets for ticket in group]
        self._loop.submit(every)
        try:
            return _collect(tickets, [ticket.future.result() for ticket in every])
        except BaseException:
            self._loop.abort(every)
            raise

    async def _arun(self, groups: list[list[Request]]) -> list[Generation]:
        tickets = [[Ticket(request) for request in group] for group in groups]
        every = [ticket for group in tickets for ticket in group]
        self._loop.submit(every)
        try:
            return _collect(tickets, [await asyncio.wrap_future(ticket.future) for ticket in every])
        except BaseException:
            self._loop.abort(every)
            raise


def _collect(tickets: list[list[Ticket]], completions: Sequence[Completion]) -> list[Generation]:
    following = iter(completions)
    results = [Generation(group[0].request.ids, tuple(next(following) for _ in group)) for group in tickets]
    for place, result in enumerate(results):
        for completion in result.completions:
            if completion.finish == "error":
                raise RequestFailed(f"prompt or choice {place} failed: {completion.error}", results)
    return results


def _best(want: Wanted, results: list[Generation]) -> list[Generation]:
    return [replace(result, completions=want.best(result.completions)) for result in results]


def _chosen(choices: Sequence[str], scores: Sequence[Scored]) -> Chosen:
    if not scores:
        raise ValueError("choices is empty; give at least one text")
    index = max(range(len(scores)), key=lambda i: (scores[i].total, -i))
    return Chosen(choices[index], index, tuple(scores))


def _scored(groups: list[list[Request]], results: list[Generation]) -> list[Scored]:
    for place, result in enumerate(results):
        if result.finish != "stop":
            raise RequestFailed(f"choice {place} was not scored: {result.finish}", results)
    return [
        Scored(requests[0].score, result.completions[0].logprobs or ())
        for requests, result in zip(groups, results, strict=True)
    ]
