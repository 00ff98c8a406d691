"""`POST /v1/completions`: texts that are continued."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from lampc.backend.grammar.vocabulary import Spelling
from lampc.backend.request import Completion, Request
from lampc.backend.results import likeliest_of
from lampc.runtime.serve.bodies import CompletionBody
from lampc.runtime.serve.fields import prompt_field
from lampc.runtime.serve.generations import Generations, Piece
from lampc.runtime.serve.logprobs import CompletionLogprobs
from lampc.runtime.serve.problems import Problem
from lampc.runtime.serve.reading import read_body
from lampc.runtime.serve.service import Service, usage
from lampc.runtime.serve.sse import EventStream, Pattern


async def completions(http: HTTPRequest) -> Response:
    """Answer a request. Raises Problem."""
    service: Service = http.app.state.service
    raw = await http.body()
    body = read_body(CompletionBody, raw)
    service.admit(1, body.priority)  # before other work, of which a full server has enough
    if body.suffix:
        raise Problem(400, "suffix: this server only continues texts; leave it out", param="suffix")
    prompts = await service.encoded(len(raw), lambda: _prompts(service, body))
    answer = _Answer(service, body, prompts)
    if body.logprobs is not None:
        answer.spelling = await service.engine.spelling()
    requests = answer.requests
    await service.tried(requests, body)
    generations = service.generate(requests, body)
    if body.stream:
        return await EventStream.begun(answer.events(generations), generations.abort)
    try:
        return JSONResponse(answer.whole(await generations.results()))
    finally:
        generations.abort()


def _prompts(service: Service, body: CompletionBody) -> list[list[int]]:
    _, ids = service.engine.prompts.many(body.prompt)
    empty = next((i for i, one in enumerate(ids) if not one), None if ids else 0)
    if empty is not None:
        where = prompt_field(body, empty)
        raise Problem(400, f"{where} is empty; give a text, token ids, or a list of them", param=where)
    return ids


class _Answer:
    """How the answer to one body is put together."""

    def __init__(self, service: Service, body: CompletionBody, prompts: list[list[int]]) -> None:
        self.service, self.body, self.prompts = service, body, prompts
        self.tokenizer = service.engine.tokenizer
        self.spelling: Spelling | None = None
        self.n = body.n or 1
        self.drawn = max(self.n, body.best_of or 1)
        if body.stream and self.drawn > self.n:
            raise Problem(400, "best_of cannot be streamed: which is best is known at the end", param="best_of")
        if body.best_of is not None and body.best_of < self.n:
            raise Problem(400, f"best_of is {body.best_of}; give at least n, which is {self.n}", param="best_of")
        if not body.max_tokens and not body.echo and body.max_tokens is not None:
            raise Problem(
                400, "max_tokens is 0; give at least 1, or echo: true for the prompt alone", param="max_tokens"
            )
        self.silent = body.max_tokens == 0  # nothing but the prompt is wanted
        self.id = f"cmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.counted = 0 if body.logprobs is None else body.logprobs

    @property
    def requests(self) -> list[Request]:
        """What the engine is asked for."""
        body = self.body
        wants = body.logprobs is not None or self.drawn > self.n
        more: dict[str, Any] = {"n": self.drawn, "logprobs": wants, "top_logprobs": self.counted}
        if body.logprobs is not None and body.echo:
            more["prompt_logprobs"] = True
        return self.service.requests(body, self.prompts, 1 if self.silent else body.max_tokens, more)

    def whole(self, found: list[Completion]) -> dict[str, Any]:
        """The answer in one piece. Raises Problem for one that took too long."""
        if any(c.finish == "timeout" for c in found):
            raise self.service.late(self.body.timeout)
        choices: list[dict[str, Any]] = []
        for at, prompt in enumerate(self.prompts):
            drawn = found[at * self.drawn : (at + 1) * self.drawn]
            for completion in likeliest_of(drawn, self.n):
                choices.append(self._choice(len(choices), prompt, drawn[0], completion))
        return {**self._head(), "choices": choices, "usage": self._usage(found)}

    def _usage(self, found: list[Completion]) -> dict[str, Any]:
        counts = usage(found, len(self.prompts))
        if self.silent:
            counts["total_tokens"] -= counts["completion_tokens"]
            counts["completion_tokens"] = 0
        return counts

    def _choice(self, index: int, prompt: list[int], first: Completion, completion: Completion) -> dict[str, Any]:
        text = "" if self.silent else completion.text
        if self.body.echo:
            text = self._echo(index) + text
        logprobs = None
        if self.spelling is not None:
            tokens = [] if self.silent else list(completion.tokens)
            values: Sequence[float | None] = (completion.logprobs or ())[: len(tokens)]
            top = list(completion.top_logprobs or [()] * len(tokens))[: len(tokens)]
            if self.body.echo:
                if isinstance(completion.stop_reason, int) and completion.stop_logprob is not None and not self.silent:
                    # A generated token stands there even if it ended the text: who asks for one drops the last.
                    tokens, values = [*tokens, completion.stop_reason], [*values, completion.stop_logprob[0]]
                    top.append(completion.stop_logprob[1])
                tokens = prompt + tokens
                values = [*(first.prompt_logprobs or ()), *values]
                top = [*(first.prompt_top_logprobs or [()] * len(prompt)), *top]
            logprobs = CompletionLogprobs(self.spelling, self.counted).of(tokens, values, top, text)
        finish = "length" if self.silent else _finish(completion)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def _echo(self, index: int) -> str:
        place, given = index // self.n, self.body.prompt
        if isinstance(given, str):
            return given
        text = given[place]
        return text if isinstance(text, str) else self.tokenizer.decode(self.prompts[place], skip_special=False)

    async def events(self, generations: Generations) -> AsyncIterator[dict[str, Any] | bytes]:
        """The answer as it is written. Raises Problem."""
        if self.body.logprobs is not None and self.body.echo:
            raise Problem(400, "echo with logprobs is not streamed; leave one of the three out", param="stream")
        spelling = self.spelling
        forms = [None if spelling is None else CompletionLogprobs(spelling, self.counted) for _ in generations.tickets]
        patterns: dict[int, Pattern] = {}
        plain = self.body.logprobs is None and not self.silent
        ended: dict[int, Completion] = {}
        for index in range(len(generations.tickets) if self.body.echo else 0):
            yield self._chunk(index, self._echo(index))
        async for piece in generations.pieces():
            index = piece.index
            if plain and piece.completion is None:
                if index not in patterns:
                    patterns[index] = Pattern(functools.partial(self._chunk, index))
                yield patterns[index](piece.text)
                continue
            if piece.completion is not None:
                ended[piece.index] = piece.completion
                if piece.completion.finish == "timeout":
                    raise self.service.late(self.body.timeout)
            yield self._event(piece, forms[piece.index])
        if self.body.stream_options is not None and self.body.stream_options.include_usage:
            found = [ended[i] for i in sorted(ended)]
            yield {**self._head(), "choices": [], "usage": self._usage(found)}

    def _event(self, piece: Piece, form: CompletionLogprobs | None) -> dict[str, Any]:
        logprobs = None
        if form is not None and not self.silent:
            top = piece.top or [()] * len(piece.tokens)
            logprobs = form.of(piece.tokens, piece.logprobs, top)
        finish = None
        if piece.completion is not None:
            finish = "length" if self.silent else _finish(piece.completion)
        return self._chunk(piece.index, "" if self.silent else piece.text, logprobs, finish)

    def _chunk(self, index: int, text: str, logprobs: Any = None, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}
        return {**self._head(), "choices": [choice]}

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.body.model or self.service.name,
            "system_fingerprint": self.service.fingerprint,
        }


def _finish(completion: Completion) -> str:
    return "length" if completion.finish == "length" else "stop"
