"""A stand-in for a provider, on this machine: chat completions with a prompt cache, limits told in headers, batches.

    with Provider(answer, minimum=64, step=16) as server:
        client = OpenAIClient(server.url, "m", prompt_cache={"like": "openai", "minimum": 64, "step": 16})

Four characters are a token. A beginning is in the cache once a request that has it wrote its first token; `seconds` is
what a prompt token that is not cached takes. `requests` are all bodies in order of arrival, `used` is (prompt, cached)
of each answer, by `prompt` text.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answerer = Callable[[list[dict[str, Any]]], str]


def flat(body: dict[str, Any]) -> tuple[str, list[int]]:
    """The text of a prompt, and where breakpoints stand in it."""
    text, marks = "", []
    for message in body["messages"]:
        text += f"{message['role']}\n"
        parts = message["content"]
        for part in [{"text": parts}] if isinstance(parts, str) else parts:
            text += part["text"]
            if "cache_control" in part:
                marks.append(len(text))
        text += "\n"
    return text, marks


@dataclass
class Provider:
    answer: Answerer
    minimum: int = 64
    step: int = 16
    breakpoints: bool = False
    seconds: float = 0.0  # of a prompt token that is not cached
    tail: float = 0.0  # seconds from the first token to the last
    streams: bool = True
    limit: float = 0.0  # requests a second, told in headers
    burst: int = 4
    max_per_batch: int = 0  # a batch with more requests is refused
    polls: int = 2  # how often a batch is asked for before it is done
    fail: Callable[[dict[str, Any]], tuple[int, str] | None] = lambda body: None
    expire: Callable[[str], bool] = lambda id: False
    requests: list[dict[str, Any]] = field(default_factory=list)
    used: list[tuple[int, int]] = field(default_factory=list)
    refused: int = 0
    peak: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    paid: list[str] = field(default_factory=list)  # custom ids that batches answered

    def __post_init__(self) -> None:
        self._kept: set[str] = set()
        self._running = 0
        self._level, self._at = float(self.burst), time.monotonic()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def computed(self) -> int:
        """Prompt tokens that the cache did not give."""
        return sum(prompt - cached for prompt, cached in self.used)

    def __enter__(self) -> Provider:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=1 << 26)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self._chat),
                web.get("/v1/models", self._models),
                web.post("/v1/files", self._upload),
                web.get("/v1/files/{id}/content", self._content),
                web.post("/v1/batches", self._create),
                web.get("/v1/batches", self._list),
                web.get("/v1/batches/{id}", self._retrieve),
                web.post("/v1/batches/{id}/cancel", self._cancel),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

        async def start() -> None:
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.port = runner.addresses[0][1]
            self._ready.set()

        self._loop.run_until_complete(start())
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    # -- chat -----------------------------------------------------------------------------------------

    def ends(self, body: dict[str, Any]) -> list[int]:
        """Lengths in characters that the cache keeps of a prompt."""
        text, marks = flat(body)
        least = self.minimum * 4
        return [m for m in marks if m >= least] if self.breakpoints else [*range(least, len(text) + 1, self.step * 4)]

    def counts(self, body: dict[str, Any]) -> tuple[int, int]:
        """(prompt tokens, those in the cache)."""
        text, _ = flat(body)
        found = [end for end in self.ends(body) if text[:end] in self._kept]
        return len(text) // 4, max(found, default=0) // 4

    def completion(self, body: dict[str, Any], counts: tuple[int, int]) -> dict[str, Any]:
        text = self.answer(body["messages"])
        return {
            "id": "c", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": self.usage(counts, text),
        }  # fmt: skip

    @staticmethod
    def usage(counts: tuple[int, int], text: str) -> dict[str, Any]:
        prompt, cached = counts
        written = max(1, len(text) // 4)
        return {
            "prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written,
            "prompt_tokens_details": {"cached_tokens": cached},
        }  # fmt: skip

    def _limited(self) -> tuple[dict[str, str], bool]:
        """Headers, and whether the request is one too many."""
        if not self.limit:
            return {}, False
        now = time.monotonic()
        self._level = min(float(self.burst), self._level + (now - self._at) * self.limit)
        self._at = now
        over = self._level < 1
        self._level -= 0 if over else 1
        return {
            "x-ratelimit-limit-requests": str(self.burst),
            "x-ratelimit-remaining-requests": str(int(self._level)),
            "x-ratelimit-reset-requests": f"{int(1000 * (self.burst - self._level) / self.limit)}ms",
        }, over

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        headers, over = self._limited()
        if over:
            self.refused += 1
            return web.json_response({"error": {"message": "too many requests"}}, status=429, headers=headers)
        self.requests.append(body)
        self._running += 1
        self.peak = max(self.peak, self._running)
        try:
            if (failure := self.fail(body)) is not None:
                return web.json_response({"error": {"message": failure[1]}}, status=failure[0], headers=headers)
            counts = self.counts(body)
            self.used.append(counts)
            await asyncio.sleep((counts[0] - counts[1]) * self.seconds)
            text, _ = flat(body)
            self._kept.update(text[:end] for end in self.ends(body))
            if body.get("stream") and self.streams:
                return await self._streamed(request, body, counts, headers)
            await asyncio.sleep(self.tail)
            return web.json_response(self.completion(body, counts), headers=headers)
        finally:
            self._running -= 1

    async def _streamed(
        self, request: web.Request, body: dict[str, Any], counts: tuple[int, int], headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", **headers})
        await response.prepare(request)
        text = self.answer(body["messages"])

        async def send(delta: dict[str, Any], finish: str | None = None, **more: Any) -> None:
            choices = [] if more else [{"index": 0, "delta": delta, "finish_reason": finish}]
            chunk = {
                "id": "c", "object": "chat.completion.chunk", "created": 0, "model": body["model"],
                "choices": choices, **more,
            }  # fmt: skip
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())

        await send({"role": "assistant", "content": text[:1]})
        await asyncio.sleep(self.tail)
        await send({"content": text[1:]})
        await send({}, "stop")
        await send({}, usage=self.usage(counts, text))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m", "object": "model"}]})

    # -- batches --------------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        given: Any = form["file"]
        id = f"file-{len(self.files)}"
        self.files[id] = given.file.read()
        return web.json_response(self._file(id))

    def _file(self, id: str) -> dict[str, Any]:
        return {
            "id": id, "object": "file", "bytes": len(self.files[id]), "created_at": 0, "filename": "f.jsonl",
            "purpose": "batch", "status": "processed",
        }  # fmt: skip

    async def _content(self, request: web.Request) -> web.Response:
        data = self.files.get(request.match_info["id"])
        if data is None:
            return web.json_response({"error": {"message": "no such file"}}, status=404)
        return web.Response(body=data, content_type="application/jsonl")

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        id = f"batch-{len(self.batches)}"
        lines = self.files[body["input_file_id"]].splitlines()
        made = {
            "id": id, "object": "batch", "endpoint": body["endpoint"], "input_file_id": body["input_file_id"],
            "completion_window": body["completion_window"], "status": "validating", "created_at": int(time.time()),
            "metadata": body.get("metadata"), "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }  # fmt: skip
        if self.max_per_batch and len(lines) > self.max_per_batch:
            made |= {"status": "failed", "errors": {"object": "list", "data": [{"message": "too many requests"}]}}
        self.batches[id] = made
        made["_polls"] = self.polls
        return web.json_response(_shown(made))

    def _advance(self, batch: dict[str, Any]) -> None:
        if batch["status"] not in ("validating", "in_progress"):
            return
        batch["_polls"] -= 1
        batch["status"] = "in_progress"
        if batch["_polls"] > 0:
            return
        good, bad, expired = [], [], False
        for raw in self.files[batch["input_file_id"]].splitlines():
            line = json.loads(raw)
            id = line["custom_id"]
            if self.expire(id):
                expired = True
                error = {"code": "batch_expired", "message": "This request could not be executed in time."}
                bad.append({"id": f"r{id}", "custom_id": id, "response": None, "error": error})
            elif (failure := self.fail(line["body"])) is not None:
                said = {"status_code": failure[0], "request_id": "q", "body": {"error": {"message": failure[1]}}}
                bad.append({"id": f"r{id}", "custom_id": id, "response": said, "error": None})
            else:
                self.paid.append(id)
                answer = self.completion(line["body"], (len(flat(line["body"])[0]) // 4, 0))
                said = {"status_code": 200, "request_id": "q", "body": answer}
                good.append({"id": f"r{id}", "custom_id": id, "response": said, "error": None})
        for name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[name] = f"file-{len(self.files)}"
                self.files[batch[name]] = "".join(json.dumps(x) + "\n" for x in reversed(lines)).encode()
        batch["status"] = "expired" if expired else "completed"
        batch["request_counts"] |= {"completed": len(good), "failed": len(bad)}

    async def _retrieve(self, request: web.Request) -> web.Response:
        batch = self.batches.get(request.match_info["id"])
        if batch is None:
            return web.json_response({"error": {"message": "no such batch"}}, status=404)
        self._advance(batch)
        return web.json_response(_shown(batch))

    async def _list(self, request: web.Request) -> web.Response:
        found = list(self.batches.values())[::-1]
        after = request.query.get("after")
        if after:
            found = found[[b["id"] for b in found].index(after) + 1 :]
        page = found[: int(request.query.get("limit", 20))]
        return web.json_response(
            {"object": "list", "data": [_shown(b) for b in page], "has_more": len(page) < len(found)}
        )

    async def _cancel(self, request: web.Request) -> web.Response:
        batch = self.batches[request.match_info["id"]]
        batch["status"] = "cancelled"
        return web.json_response(_shown(batch))


def _shown(batch: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in batch.items() if not k.startswith("_")}
