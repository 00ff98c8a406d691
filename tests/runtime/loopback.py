"""A small OpenAI-compatible server on this machine, for tests of whatever talks to endpoints.

    with Loopback(lambda messages: "yes") as server:
        client = OpenAIClient(server.url)

Answers come from a function of the messages, or from an engine. Failures can be scripted.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lampc.backend import Request, Sampling, TokenEngine

Messages = list[dict[str, str]]
Answerer = Callable[[Messages], str]
MAX_BODY = 8 << 20


@dataclass(frozen=True)
class Reply:
    """A scripted reply that is sent instead of a completion. `seconds` is how long the server sits on it."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    cut: bool = False  # announce more bytes than come, then hang up

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def events(*chunks: dict[str, Any] | str, seconds: float = 0.0, done: bool = True) -> Reply:
    """A stream of server-sent events; texts become chunks with that content."""
    made = [
        c if isinstance(c, dict) else {"object": "chat.completion.chunk", "choices": [{"delta": {"content": c}}]}
        for c in chunks
    ]
    lines = [f"data: {json.dumps(c)}\n\n" for c in made] + (["data: [DONE]\n\n"] if done else [])
    return Reply(200, "".join(lines).encode(), {"content-type": "text/event-stream"}, seconds)


def failure(status: int, message: str = "", code: str = "", **headers: str) -> Reply:
    """An error as such servers send it; `retry_after="1"` becomes the header `retry-after`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"error": {"message": message, "code": code or None}}, named)


class Loopback:
    """See the module's text. `script` replies are used up first, one per chat request, None meaning a real answer.

    `requests` are the bodies of chat requests, `headers` their headers (names in lower case), in order of arrival;
    `peak` is the largest number that were under way at once. At most `limit` are served at a time.
    """

    def __init__(
        self,
        answer: Answerer | TokenEngine,
        *,
        script: Iterable[Reply | None] = (),
        models: tuple[str, ...] = ("loop",),
        seconds: float = 0.0,
        limit: int = 64,
    ) -> None:
        self._answer = answer
        self.script = deque(script)
        self.models = models
        self.seconds = seconds
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.peak = 0
        self._running = 0
        self._mutex = threading.Lock()
        self._slots = threading.BoundedSemaphore(limit)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            wbufsize = 1 << 16  # head and body in one packet

            def do_GET(self) -> None:
                if self.path.partition("?")[0] == "/v1/models":
                    self.send(Reply(200, {"data": [{"id": name} for name in owner.models]}))
                else:
                    self.send(failure(404, f"no path {self.path}"))

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", 0))
                if length > MAX_BODY:
                    self.close_connection = True
                    self.send(failure(413, "too long"))
                    return
                body = self.rfile.read(length)
                if self.path.partition("?")[0] == "/v1/embeddings":
                    if owner.script and (scripted := owner.script.popleft()) is not None:
                        self.send(scripted)
                        return
                    texts = json.loads(body)["input"]
                    made = [{"index": i, "embedding": [float(len(t)), 1.0]} for i, t in enumerate(texts)]
                    self.send(Reply(200, {"data": made[::-1]}))
                    return
                if self.path.partition("?")[0] != "/v1/chat/completions":
                    self.send(failure(404, f"no path {self.path}"))
                    return
                with owner._slots:
                    self.send(owner._chat(json.loads(body), {k.lower(): v for k, v in self.headers.items()}))

            def send(self, reply: Reply) -> None:
                content = reply.content()
                try:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(content) + (10 if reply.cut else 0)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True  # the client hung up
                if reply.cut:
                    self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # clients that hang up are part of the tests

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """What to give as the base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Loopback:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _chat(self, body: dict[str, Any], headers: dict[str, str]) -> Reply:
        with self._mutex:
            self.requests.append(body)
            self.headers.append(headers)
            self._running += 1
            self.peak = max(self.peak, self._running)
            scripted = self.script.popleft() if self.script else None
        try:
            time.sleep(self.seconds if scripted is None else scripted.seconds)
            return scripted if scripted is not None else Reply(200, self._complete(body))
        except Exception as e:
            return failure(500, f"{type(e).__name__}: {e}")
        finally:
            with self._mutex:
                self._running -= 1

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        messages: Messages = body["messages"]
        finish = "stop"
        if callable(self._answer):
            text = self._answer(messages)
            prompt = sum(len(m["content"].split()) for m in messages if isinstance(m["content"], str))
            generated = len(text.split())
        else:
            text, finish, prompt, generated = self._generate(self._answer, body)
        return {
            "object": "chat.completion",
            "model": body.get("model", ""),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": generated},
        }

    def _generate(self, engine: TokenEngine, body: dict[str, Any]) -> tuple[str, str, int, int]:
        ids = tuple(engine.tokenizer.encode(engine.tokenizer.render_chat(body["messages"])))
        sampling = Sampling(
            temperature=body.get("temperature", 0.0),
            top_p=body.get("top_p", 1.0),
            max_tokens=body.get("max_tokens", 64),
            stop=tuple(body.get("stop") or ()),
        )
        with self._mutex:  # one engine, one caller
            handle = engine.submit(Request(ids, sampling, body.get("seed", 0)))
            while handle.completion is None:
                engine.step()
        done = handle.completion
        if done.error:
            raise RuntimeError(done.error)
        return done.text, done.finish, len(ids), len(done.tokens)
