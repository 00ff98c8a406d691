"""ColBERTv2 behind a server, as DSPy asks it: `GET url?query=...&k=...` gives JSON with `topk`."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lampc.ir.lookup import Hit, as_hit
from lampc.runtime.retrieval.protocol import RetrieverError, Store

MAX_ANSWER = 32 << 20
_MOST = 100
"""Most passages that such a server gives."""


class Passage(dict[str, Any]):
    """A passage with its fields as attributes: `text`, `long_text`, `score`, ..."""

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(name)
        return self[name]


class ColBERTv2(Store):
    """`ColBERTv2(url)(query, k=10)` gives passages; as a store it asks for several queries at once, on threads.

    `timeout` bounds each request, in seconds. Results are kept on disk where the session has a store. Raises
    RetrieverError naming the URL for whatever goes wrong, ValueError for more than 100 passages.
    """

    lasting = True

    def __init__(
        self, url: str = "http://0.0.0.0", port: str | int | None = None, post_requests: bool = False, *,
        timeout: float = 10.0, max_concurrency: int = 16,
    ) -> None:  # fmt: skip
        self.url = f"{url}:{port}" if port else url
        self.post_requests, self.timeout, self.max_concurrency = post_requests, timeout, max_concurrency
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise RetrieverError(f"{self.url!r} is no URL of a server; write it like http://127.0.0.1:8893/api/search")
        self.identity = f"colbert {self.url}"

    def __call__(self, query: str, k: int = 10, simplify: bool = False) -> list[Any]:
        """Passages as records, or with `simplify` their texts."""
        found = self._ask(query, k)
        return [p["long_text"] for p in found] if simplify else list(found)

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        with ThreadPoolExecutor(min(self.max_concurrency, max(1, len(queries)))) as pool:
            found = list(pool.map(lambda q: self._ask(q, k), queries))
        return [[Hit(as_hit(p).text, as_hit(p).score, _place(p.get("pid"))) for p in passages] for passages in found]

    def _ask(self, query: str, k: int) -> list[Passage]:
        if not 0 < k <= _MOST:
            raise ValueError(f"k is {k}; a ColBERTv2 server gives 1 to {_MOST} passages")
        payload = {"query": query, "k": k}
        if self.post_requests:
            body = json.dumps(payload).encode()
            request = urllib.request.Request(self.url, body, {"Content-Type": "application/json; charset=utf-8"})
        else:
            request = urllib.request.Request(f"{self.url}?{urllib.parse.urlencode(payload)}")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                data = json.loads(answer.read(MAX_ANSWER))
        except urllib.error.HTTPError as e:
            with e:
                raise RetrieverError(f"{self.url}: HTTP {e.code} {e.reason}") from None
        except (OSError, ValueError) as e:
            raise RetrieverError(f"{self.url}: {getattr(e, 'reason', e)}") from None
        return self._read(data)[:k]

    def _read(self, data: Any) -> list[Passage]:
        if isinstance(data, dict) and data.get("error"):
            raise RetrieverError(f"{self.url}: the server says {data.get('message') or data['error']!r:.300}")
        if not isinstance(data, dict) or not isinstance(data.get("topk"), list):
            raise RetrieverError(f"{self.url}: the answer has no `topk`: {data!r:.200}")
        return [Passage({**p, "long_text": p.get("text", p.get("long_text", ""))}) for p in data["topk"]]


def _place(pid: Any) -> int:
    return pid if isinstance(pid, int) else -1
