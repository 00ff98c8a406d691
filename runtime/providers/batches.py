"""Offline batches of an endpoint (OpenAI's Files and Batches): submitted, asked after, read back, line by line.

Nothing is paid twice: a batch carries the name that its maker gave it, and one that was made before by that name is
found again, whatever became of whoever made it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lampc.ir.errors import (
    LMError,
    LMInvalidRequestError,
    LMServerError,
    LMUnexpectedError,
    is_retryable_lm_error,
)
from lampc.runtime.providers.answer import ChatAnswer, from_data, parse_json
from lampc.runtime.providers.errors import from_status

if TYPE_CHECKING:
    from lampc.runtime.providers.openai import OpenAIClient

ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
NAME = "lampc"
"""The key of a batch's metadata that holds its name."""
ATTEMPTS = 4
"""Of making one batch."""
LONGEST = 1 << 30
"""Most bytes of a file of results."""
_PAGES = 20  # of 100 batches each, that are looked through for a name
_PATH = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the endpoint tells of it. `done` of `total` requests have ended; `why` is told if all of it failed."""

    id: str
    status: str
    total: int = 0
    done: int = 0
    outputs: tuple[str, ...] = ()
    why: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class Expired(LMServerError):
    """The endpoint did not come to a request in time; it was not paid for."""


class BatchEndpoint:
    """See the module's text; over the connection of a client. Methods wait; all raise LMError."""

    def __init__(self, client: OpenAIClient) -> None:
        self.client = client
        self.rules = client.rules

    def line(self, id: str, body: Mapping[str, Any]) -> bytes:
        """A request as a line of a file."""
        said = {"custom_id": id, "method": "POST", "url": _PATH, "body": body}
        return json.dumps(said).encode("ascii") + b"\n"

    def submit(self, lines: Sequence[bytes], name: str) -> Batch:
        """Make the batch of that name, if there is none. Who asks again must give the same lines."""
        found = self.find(name)
        if found is not None:
            return found
        content, kind = _form(b"".join(lines), name)
        data = self._ask("POST", "/files", content, kind=kind)
        wanted = {
            "input_file_id": _said(data, "id", "a file"),
            "endpoint": _PATH,
            "completion_window": f"{self.rules.batch_hours}h",
            "metadata": {NAME: name},
        }
        for attempt in range(ATTEMPTS):
            try:  # an attempt that failed here may have come to something there: it is looked for before the next
                return _batch(self._ask("POST", "/batches", json.dumps(wanted).encode("ascii"), once=True))
            except LMError as e:
                if not is_retryable_lm_error(e) or attempt + 1 == ATTEMPTS:
                    raise
                time.sleep(min(e.retry_after or 2.0**attempt, 60.0))
            if (found := self.find(name)) is not None:
                return found
        raise AssertionError("the last attempt returns or raises")

    def find(self, name: str) -> Batch | None:
        """The latest batch of that name that came, or may still come, to something."""
        after = ""
        for _ in range(_PAGES):
            page = self._ask("GET", f"/batches?limit=100{after}")
            entries = page.get("data") if isinstance(page, dict) else None
            if not isinstance(entries, list):
                raise LMUnexpectedError(f"{self.client.base_url}: no list of batches; does it have /batches?")
            for entry in entries:
                kept = (entry.get("metadata") or {}).get(NAME) == name
                if kept and entry.get("status") not in ("failed", "cancelled", "cancelling"):
                    return _batch(entry)
            if not page.get("has_more") or not entries:
                return None
            after = f"&after={entries[-1]['id']}"
        return None

    def look(self, id: str) -> Batch:
        """The batch as it is now."""
        return _batch(self._ask("GET", f"/batches/{id}"))

    def cancel(self, id: str) -> Batch:
        """Have the endpoint stop; what it answered so far is paid for, and can be read."""
        return _batch(self._ask("POST", f"/batches/{id}/cancel", b"{}"))

    def results(self, batch: Batch) -> Iterator[tuple[str, ChatAnswer | LMError]]:
        """What became of requests, by their ids, in any order; those of a batch that failed as a whole are missing."""
        for file in batch.outputs:
            url = f"/files/{file}/content"
            for raw in self.client.request("GET", url, most=LONGEST).splitlines():
                if raw.strip():
                    yield self._result(parse_json(raw, self.client.base_url + url))

    def _result(self, line: Any) -> tuple[str, ChatAnswer | LMError]:
        url = self.client.base_url + _PATH.removeprefix("/v1")
        id = str(_said(line, "custom_id", "a line of results"))
        response, error = line.get("response"), line.get("error")
        if isinstance(response, dict) and response.get("status_code") == 200:
            try:
                return id, from_data(response.get("body"), url)
            except LMError as e:
                return id, e
        if isinstance(response, dict):
            body = json.dumps(response.get("body")).encode()
            status = int(response.get("status_code") or 500)
            return id, from_status(status, body, url, self.client.model, "", request_id=response.get("request_id", ""))
        said = error if isinstance(error, dict) else {}
        kind = Expired if said.get("code") == "batch_expired" else LMServerError
        return id, kind(f"{url}: {said.get('message') or 'the batch gives no answer to this request'}")

    # -- requests -------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, content: bytes | None = None, **how: Any) -> Any:
        return parse_json(self.client.request(method, path, content, **how), self.client.base_url + path)


def _batch(data: Any) -> Batch:
    counts = data.get("request_counts") or {} if isinstance(data, dict) else {}
    errors = (data.get("errors") or {}).get("data") or [] if isinstance(data, dict) else []
    return Batch(
        str(_said(data, "id", "a batch")),
        str(_said(data, "status", "a batch")),
        int(counts.get("total") or 0),
        int(counts.get("completed") or 0) + int(counts.get("failed") or 0),
        tuple(str(data[k]) for k in ("output_file_id", "error_file_id") if data.get(k)),
        "; ".join(str(e.get("message")) for e in errors[:3]),
    )


def _said(data: Any, name: str, what: str) -> Any:
    if not isinstance(data, dict) or not data.get(name):
        raise LMUnexpectedError(f"the endpoint's answer is not {what}: it has no `{name}`", status=200)
    return data[name]


def _form(content: bytes, name: str) -> tuple[bytes, str]:
    """An upload as `multipart/form-data`, and its content type."""
    edge = uuid.uuid4().hex
    head = (
        f'--{edge}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    return head.encode() + content + f"\r\n--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


def refused(batch: Batch, url: str) -> LMError:
    """The error of all requests of a batch that came to nothing."""
    return LMInvalidRequestError(f"{url}: batch {batch.id} {batch.status} ({batch.why or 'no reason is given'})")


__all__ = ["Batch", "BatchEndpoint", "Expired", "refused"]
