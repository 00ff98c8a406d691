"""`POST /v1/chat/completions`: conversations that are answered."""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from lampc.backend.grammar.vocabulary import Spelling
from lampc.backend.request import Completion
from lampc.runtime.serve.bodies import ChatBody
from lampc.runtime.serve.conversations import ids_of
from lampc.runtime.serve.fields import prompt_field
from lampc.runtime.serve.generations import Generations, Piece
from lampc.runtime.serve.logprobs import chat_logprobs
from lampc.runtime.serve.problems import Problem
from lampc.runtime.serve.reading import read_body
from lampc.runtime.serve.service import Service, usage
from lampc.runtime.serve.sse import EventStream, Pattern
from lampc.runtime.serve.tools import TextBeforeCalls, Toolbox, call_records


async def chat_completions(http: HTTPRequest) -> Response:
    """Answer a request. Raises Problem."""
    service: Service = http.app.state.service
    raw = await http.body()
    body = read_body(ChatBody, raw)
    service.admit(1, body.priority)  # before other work, of which a full server has enough
    answer = _Answer(service, body)
    if body.logprobs:
        answer.spelling = await service.engine.spelling()
    prompt = await service.encoded(
        len(raw), lambda: ids_of(service.engine, body.messages, answer.tools), prompt_field(body)
    )
    requests = service.requests(body, [prompt], body.max_completion_tokens or body.max_tokens, answer.options())
    await service.tried(requests, body)
    generations = service.generate(requests, body)
    if body.stream:
        return await EventStream.begun(answer.events(generations), generations.abort)
    try:
        return JSONResponse(answer.whole(await generations.results()))
    finally:
        generations.abort()


class _Answer:
    """How the answer to one body is put together."""

    def __init__(self, service: Service, body: ChatBody) -> None:
        self.service, self.body = service, body
        self.spelling: Spelling | None = None
        self.tools = Toolbox(body)
        if body.top_logprobs and not body.logprobs:
            raise Problem(400, "top_logprobs is given without logprobs: true", param="top_logprobs")
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())

    def options(self) -> dict[str, Any]:
        """Further options of the engine. Raises Problem."""
        more: dict[str, Any] = {}
        if self.body.logprobs:
            more = {"logprobs": True, "top_logprobs": self.body.top_logprobs or 0}
        schemas = [s for s in (self._schema(), self.tools.schema) if s is not None]
        if len(schemas) + (self.body.structured_outputs is not None) > 1:
            why = "of response_format, structured_outputs and a tool that must be called only one can be kept to"
            given = self.body.structured_outputs is not None
            raise Problem(400, why, param="structured_outputs" if given else "response_format")
        return {**more, "json_schema": schemas[0]} if schemas else more

    def _schema(self) -> Any:
        form = self.body.response_format
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return {"type": "object"}
        if form.json_schema is None or form.json_schema.schema_ is None:
            where = "response_format.json_schema" + ("" if form.json_schema is None else ".schema")
            raise Problem(400, f"{where} is missing; give a JSON schema", param=where)
        return form.json_schema.schema_

    def whole(self, found: list[Completion]) -> dict[str, Any]:
        """The answer in one piece. Raises Problem for one that took too long."""
        if any(c.finish == "timeout" for c in found):
            raise self.service.late(self.body.timeout)
        choices = [self._choice(i, c) for i, c in enumerate(found)]
        return {**self._head("chat.completion"), "choices": choices, "usage": usage(found, 1)}

    def _choice(self, index: int, completion: Completion) -> dict[str, Any]:
        text, calls = self.tools.read(completion.text)
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None}
        if calls:
            message["tool_calls"] = call_records(calls)
        logprobs = None
        if self.spelling is not None:
            values, top = completion.logprobs or (), completion.top_logprobs or ()
            logprobs = chat_logprobs(self.spelling, completion.tokens, values, top)
        finish = _finish(completion, bool(calls))
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}

    async def events(self, generations: Generations) -> AsyncIterator[dict[str, Any] | bytes]:
        """The answer as it is written. Raises Problem."""
        count = len(generations.tickets)
        plain = not (self.tools or self.body.logprobs)
        texts = [TextBeforeCalls(self.tools) if self.tools else None for _ in range(count)]
        ended: dict[int, Completion] = {}
        patterns: dict[int, Pattern] = {}
        async for piece in generations.pieces():
            if piece.completion is not None:
                ended[piece.index] = piece.completion
                if piece.completion.finish == "timeout":
                    raise self.service.late(self.body.timeout)
            index = piece.index
            if index not in patterns:
                patterns[index] = Pattern(functools.partial(self._text_chunk, index))
                yield self._chunk(index, {"role": "assistant", "content": ""})
            if plain and piece.completion is None:
                yield patterns[index](piece.text)
                continue
            for event in self._events(piece, texts[piece.index]):
                yield event
        if self.body.stream_options is not None and self.body.stream_options.include_usage:
            found = [ended[i] for i in sorted(ended)]
            yield {**self._head("chat.completion.chunk"), "choices": [], "usage": usage(found, 1)}

    def _events(self, piece: Piece, before: TextBeforeCalls | None) -> list[dict[str, Any]]:
        text = piece.text if before is None else before.push(piece.text)
        calls: list[dict[str, Any]] = []
        if piece.completion is not None and before is not None:
            rest, found = before.end()
            text += rest
            calls = [{"index": i, **c} for i, c in enumerate(call_records(found))]
        logprobs = None
        if self.spelling is not None:
            logprobs = chat_logprobs(self.spelling, piece.tokens, piece.logprobs, piece.top)
        out = []
        if text or (logprobs is not None and piece.tokens):
            out.append(self._chunk(piece.index, {"content": text}, logprobs))
        if calls:
            out.append(self._chunk(piece.index, {"tool_calls": calls}))
        if piece.completion is not None:
            out.append(self._chunk(piece.index, {}, None, _finish(piece.completion, bool(calls))))
        return out

    def _chunk(self, index: int, delta: dict[str, Any], logprobs: Any = None, finish: str | None = None) -> Any:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _text_chunk(self, index: int, text: str) -> Any:
        return self._chunk(index, {"content": text})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.body.model or self.service.name,
            "system_fingerprint": self.service.fingerprint,
        }


def _finish(completion: Completion, calls: bool) -> str:
    if completion.finish == "length":
        return "length"
    return "tool_calls" if calls else "stop"
