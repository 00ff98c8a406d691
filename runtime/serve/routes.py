"""The paths of a server: what answers each, which body it takes, and which statuses it may have besides 200."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from lampc.runtime.serve import bodies
from lampc.runtime.serve.chat import chat_completions
from lampc.runtime.serve.completions import completions
from lampc.runtime.serve.openapi import openapi
from lampc.runtime.serve.plain import detokenize, embeddings, health, metrics, model, models, tokenize, tokenizer_info
from lampc.runtime.serve.problems import Problem
from lampc.runtime.serve.programs import describe_program, list_programs, run_program

Handler = Callable[[Request], Awaitable[Response]]
ALWAYS = (401, 403, 408, 413, 503)
"""Of every path: no key, a foreign host, a slow or too large body, a server that ends or is crowded."""
POSTED = (400, 404, 415, *ALWAYS)
GENERATED = (429, 504, *POSTED)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path; `streams`: it can answer with server-sent events."""

    path: str
    method: str
    handler: Handler
    statuses: tuple[int, ...] = ALWAYS
    body: type[bodies.Body] | None = None
    streams: bool = False
    media: str = "application/json"

    async def answer(self, http: Request) -> Response:
        """What the handler answers. Raises Problem for a body that is not said to be JSON: pages of other sites can
        have a browser send one of another kind, unasked."""
        kind = http.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.body is not None and kind != "application/json":
            raise Problem(415, f"the content type is {kind or 'missing'}; send application/json", code="content_type")
        return await self.handler(http)

    @property
    def summary(self) -> str:
        """The first line of its handler's documentation."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]


ENDPOINTS = (
    Endpoint("/v1/completions", "POST", completions, GENERATED, bodies.CompletionBody, True),
    Endpoint("/v1/chat/completions", "POST", chat_completions, GENERATED, bodies.ChatBody, True),
    Endpoint("/v1/embeddings", "POST", embeddings, GENERATED, bodies.EmbeddingBody),
    Endpoint("/v1/models", "GET", models),
    Endpoint("/v1/models/{name:path}", "GET", model, (404, *ALWAYS)),
    Endpoint("/tokenize", "POST", tokenize, POSTED, bodies.TokenizeBody),
    Endpoint("/detokenize", "POST", detokenize, POSTED, bodies.DetokenizeBody),
    Endpoint("/tokenizer_info", "GET", tokenizer_info),
    Endpoint("/programs", "GET", list_programs),
    Endpoint("/programs/{name}", "GET", describe_program, (404, *ALWAYS)),
    Endpoint("/programs/{name}", "POST", run_program, (422, *GENERATED), bodies.ProgramBody, True),
    Endpoint("/health", "GET", health),
    Endpoint("/metrics", "GET", metrics, media="text/plain"),
    Endpoint("/openapi.json", "GET", openapi),
)
