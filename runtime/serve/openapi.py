"""`GET /openapi.json`: what the server takes and gives, for tools that read OpenAPI; each program has its own path.

Bodies are those that requests are checked against; of answers the page says media types and the form of errors.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema
from starlette.requests import Request as HTTPRequest
from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from lampc.runtime.serve.programs import Programs
    from lampc.runtime.serve.routes import Endpoint

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


async def openapi(http: HTTPRequest) -> Response:
    """The OpenAPI page."""
    return JSONResponse(page(http.app.state.programs))


def page(programs: Programs) -> dict[str, Any]:
    """OpenAPI 3.1 of all endpoints and of the programs that are served."""
    from lampc.runtime.serve.routes import ENDPOINTS

    kinds = {e.body for e in ENDPOINTS if e.body is not None}
    _, made = models_json_schema(
        [(k, "validation") for k in sorted(kinds, key=lambda k: k.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for e in ENDPOINTS:
        path = e.path.replace(":path", "")
        if e.body is not None and "{name}" in path:
            for name, hosted in programs.hosted.items():
                own = _program_body(hosted.program.described["inputs"])
                paths.setdefault(path.replace("{name}", name), {})["post"] = _operation(e, own, True)
        body = {"$ref": f"#/components/schemas/{e.body.__name__}"} if e.body is not None else None
        paths.setdefault(path, {})[e.method.lower()] = _operation(e, body)
    return {
        "openapi": "3.1.0",
        "info": {"title": "lampc serve", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {**made.get("$defs", {}), "Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _program_body(inputs: dict[str, Any]) -> dict[str, Any]:
    """The body of a program, with its own inputs in the place of any."""
    from lampc.runtime.serve.bodies import ProgramBody

    own = ProgramBody.model_json_schema()
    own["properties"]["inputs"] = inputs
    if inputs.get("required"):
        own["required"] = ["inputs"]
    return own


def _operation(e: Endpoint, body: dict[str, Any] | None, typed: bool = False) -> dict[str, Any]:
    good: dict[str, Any] = {e.media: {}}
    if e.streams:
        good["text/event-stream"] = {}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    if e.path == "/health":  # says why itself
        error = {"application/json": {}}
    answers: dict[str, Any] = {"200": {"description": "done", "content": good}}
    for status in sorted(e.statuses):
        answers[str(status)] = {"description": HTTPStatus(status).phrase, "content": error}
    made: dict[str, Any] = {"summary": e.summary, "responses": answers}
    if body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if "{name" in e.path and not typed:
        made["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    return made
