"""The short answers: models, tokens of texts, vectors, health, metrics."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

from lampc.backend.errors import BackendError
from lampc.runtime.serve.bodies import DetokenizeBody, EmbeddingBody, TokenizeBody
from lampc.runtime.serve.conversations import ids_of
from lampc.runtime.serve.problems import Problem, problem_of
from lampc.runtime.serve.reading import read_body
from lampc.runtime.serve.service import Service


def _service(http: HTTPRequest) -> Service:
    found: Service = http.app.state.service
    return found


async def models(http: HTTPRequest) -> Response:
    """`GET /v1/models`."""
    service = _service(http)
    return JSONResponse({"object": "list", "data": [_model(service, name) for name in service.models]})


async def model(http: HTTPRequest) -> Response:
    """`GET /v1/models/NAME`. Raises Problem."""
    service, name = _service(http), http.path_params["name"]
    service.adapter(name)
    return JSONResponse(_model(service, name))


def _model(service: Service, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(service.started),
        "owned_by": "lampc",
        "parent": None if name == service.name else service.name,
        "max_model_len": service.engine.info.context_length,
    }


async def tokenize(http: HTTPRequest) -> Response:
    """`POST /tokenize`. Raises Problem."""
    service, raw = _service(http), await http.body()
    body = read_body(TokenizeBody, raw)
    service.adapter(body.model)
    if (body.prompt is None) == (body.messages is None):
        raise Problem(400, "give prompt or messages, one of the two", param="prompt")
    if body.messages is not None:
        messages = body.messages
        ids = await service.encoded(len(raw), lambda: ids_of(service.engine, messages), "messages")
    else:
        text, tokenizer = body.prompt or "", service.engine.tokenizer
        encode = tokenizer.encode_prompt if body.add_special_tokens else tokenizer.encode
        ids = await service.encoded(len(raw), lambda: encode(text))
    return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": service.engine.info.context_length})


async def tokenizer_info(http: HTTPRequest) -> Response:
    """`GET /tokenizer_info`: special tokens by name and the chat template, for clients that make prompts themselves."""
    service = _service(http)
    tokenizer = service.engine.tokenizer
    named = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token")) | dict(tokenizer.named_tokens)
    most = service.engine.info.context_length
    return JSONResponse({**named, "chat_template": tokenizer.chat_template, "model_max_length": most})


async def detokenize(http: HTTPRequest) -> Response:
    """`POST /detokenize`. Raises Problem."""
    service, raw = _service(http), await http.body()
    body = read_body(DetokenizeBody, raw)
    service.adapter(body.model)
    size = service.engine.info.vocab_size
    wrong = next((at for at, i in enumerate(body.tokens) if i >= size), None)
    if wrong is not None:
        why = f"tokens[{wrong}] is {body.tokens[wrong]}; ids of this model are 0 to {size - 1}"
        raise Problem(400, why, param=f"tokens[{wrong}]")
    decode = service.engine.tokenizer.decode
    text = await service.encoded(len(raw), lambda: decode(body.tokens, skip_special=False), "tokens")
    return JSONResponse({"prompt": text})


async def embeddings(http: HTTPRequest) -> Response:
    """`POST /v1/embeddings`, if the server was given something that makes vectors. Raises Problem."""
    service, raw = _service(http), await http.body()
    body = read_body(EmbeddingBody, raw)
    vectors = service.vectors
    if vectors is None:
        why = "this server has no embedder; start it with `lampc serve --embedder FOLDER`, or MODULE:FUNCTION"
        raise Problem(400, why, code="no_embedder")
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts or len(texts) > service.limits.choices * 16:
        raise Problem(400, f"input has {len(texts)} texts; give 1 to {service.limits.choices * 16}", param="input")
    if body.dimensions is not None:
        raise Problem(400, "dimensions: vectors are not cut here; leave it out", param="dimensions")
    try:
        rows, tokens = await vectors.of(texts)
        data = [_vector(i, row, body.encoding_format) for i, row in enumerate(rows)]
    except (BackendError, ValueError, TypeError) as e:
        raise problem_of(e, "input") from e
    if len(data) != len(texts):
        raise Problem(500, f"the embedder gave {len(data)} vectors for {len(texts)} texts", code="bad_embedder")
    if tokens is None:
        encode = service.engine.tokenizer.encode
        tokens = await service.encoded(len(raw), lambda: sum(len(encode(t)) for t in texts), "input")
    counts = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": body.model or service.name, "usage": counts})


def _vector(index: int, row: Any, form: str) -> dict[str, Any]:
    import numpy as np

    values = np.asarray(row, dtype="<f4")
    packed: Any = base64.b64encode(values.tobytes()).decode() if form == "base64" else values.tolist()
    return {"object": "embedding", "index": index, "embedding": packed}


async def health(http: HTTPRequest) -> Response:
    """`GET /health`: 200 while the engine works and takes requests, else 503."""
    service = _service(http)
    if service.draining:
        return JSONResponse({"status": "draining"}, 503)
    try:
        await asyncio.wait_for(service.engine.asked("idle"), 30)
    except Exception as e:
        return JSONResponse({"status": "failed", "why": f"{type(e).__name__}: {e}"}, 503)
    return JSONResponse({"status": "ok", "model": service.name, "under_way": service.engine.under_way})


async def metrics(http: HTTPRequest) -> Response:
    """`GET /metrics`: the engine's and the server's, in Prometheus' text format."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    text = await asyncio.to_thread(generate_latest, http.app.state.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
