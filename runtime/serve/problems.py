"""What a server answers when it cannot do what was asked: OpenAI's form of an error, with a status of HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lampc.backend.errors import BackendError, ContextTooLong, EngineClosed, EngineFailed, RequestFailed, Unsupported

_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


LONGEST = 1000
"""Characters of a message: what it quotes of a request may be as long as that."""


class Problem(Exception):
    """An answer that is an error. `param` names the part of the request that it is about, and so does the message."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if param is not None and not re.search(rf"(?<![\w.]){re.escape(param)}(?![\w.\[])", message):
            message = f"{param}: {message}"
        if len(message) > LONGEST:
            message = f"{message[: LONGEST * 3 // 4]} ... {message[-LONGEST // 4 :]}"
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        kind = _KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def busy(limit: int) -> Problem:
    """As much waits as the server takes."""
    why = f"{limit} generations are under way, as many as this server takes; try again in a moment"
    return Problem(429, why, code="queue_full", headers={"retry-after": "1"})


def late(seconds: float, asked: bool = False) -> Problem:
    """The time that a request has is over; `asked`: it is the request that said so, and no fault of the server."""
    why = f"the answer was not complete within {seconds:g} s; ask for fewer tokens"
    return Problem(408 if asked else 504, why, code="timeout", param="timeout" if asked else None)


def shutting_down() -> Problem:
    """The server ends."""
    return Problem(503, "the server is shutting down", code="shutting_down", headers={"retry-after": "5"})


def problem_of(error: Exception, where: str | None = None) -> Problem:
    """What an error of the engine, or a bad value, is to whoever asked. Raises what is a bug of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ContextTooLong):
        return Problem(400, str(error), code="context_length_exceeded", param=where)
    if isinstance(error, EngineFailed):
        return Problem(503, str(error), code="engine_failed")
    if isinstance(error, EngineClosed):
        return shutting_down()
    if isinstance(error, RequestFailed) and "the grammar" in str(error):  # one that no text can keep, for instance
        return Problem(400, str(error), code="grammar_failed", param=where)
    if isinstance(error, RequestFailed):
        return Problem(500, str(error), code="generation_failed")
    if isinstance(error, Unsupported):
        return Problem(400, str(error), code="unsupported", param=where)
    if isinstance(error, BackendError | ValueError | TypeError):
        return Problem(400, str(error), param=where)
    raise error
