"""`Embedder`: texts to vectors, by a callable, a checkpoint of this machine or an endpoint; batched, equal texts once,
kept in memory."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lampc.backend.encoder import Encoder
    from lampc.runtime.providers.openai import OpenAIClient

KEPT = 100_000
"""Most vectors that an embedder keeps."""


class Embedding(Protocol):
    """What stores need: the vectors of several texts, one row each."""

    def __call__(self, inputs: list[str], /) -> Any: ...


class Embedder:
    """Vectors of texts, as DSPy's class of this name gives them: one row a text, one vector for a single text.

    `model` is a callable that takes a list of texts (`SentenceTransformer(...).encode`), the folder of an encoder's
    checkpoint (BERT, MiniLM; `lampc.backend.encoder`), or the name of a model behind
    an OpenAI-compatible endpoint (`openai/text-embedding-3-small`, or any name with `api_base`); other providers'
    (`cohere/...`) are asked through litellm (extra `litellm`). Texts go in batches
    of `batch_size`; with `caching`, a text is asked for once. `kwargs` go to the callable or into the request; for an
    endpoint `api_base`, `api_key`, `timeout` and `num_retries` say how to reach it; for a folder they are options of
    `lampc.backend.load_encoder`, such as `max_length`. Raises ValueError for another
    kind of model or result, BackendError for a checkpoint that cannot be used, LMError where an endpoint fails.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Callable[..., Any],
        batch_size: int = 200,
        caching: bool = True,
        **kwargs: Any,
    ) -> None:
        if not isinstance(model, str | os.PathLike) and not callable(model):
            raise ValueError(
                f"an embedder's model is a callable, an encoder's folder or the name of a model at an endpoint, not "
                f"{type(model).__name__}"
            )
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give 1 or more")
        self.model = os.fspath(model) if isinstance(model, os.PathLike) else model
        self.batch_size, self.caching = batch_size, caching
        self.encoder: Encoder | None = None
        if isinstance(model, str | os.PathLike) and _local(model):
            self.encoder, kwargs = _encoder(os.fspath(model), kwargs), {}
        self.default_kwargs = kwargs
        # which callable it is shows in a corpus's vectors; a number would make later processes forget what was found
        called = self.model if isinstance(self.model, str) else getattr(model, "__qualname__", type(model).__qualname__)
        self.identity = f"{called} {sorted((k, repr(v)) for k, v in kwargs.items() if k not in _REACH)}"
        if self.encoder is not None:
            self.identity = f"encoder {self.encoder.info.digest}"
        self._known: OrderedDict[tuple[str, str], Any] = OrderedDict()
        self._mutex = threading.Lock()
        self._clients: dict[tuple[Any, ...], OpenAIClient] = {}

    def __call__(
        self, inputs: str | list[str], batch_size: int | None = None, caching: bool | None = None, **kwargs: Any
    ) -> Any:
        """An array of float32: two-dimensional for a list, one-dimensional for a text."""
        import numpy as np

        if isinstance(inputs, str):
            return self([inputs], batch_size, caching, **kwargs)[0]
        texts = list(inputs)
        if not all(isinstance(t, str) for t in texts):
            raise ValueError("an embedder takes a text or a list of texts")
        options = {**self.default_kwargs, **kwargs}
        if not texts:
            return np.zeros((0, 0), np.float32)
        keep = self.caching if caching is None else caching
        where = repr(sorted((k, repr(v)) for k, v in options.items())) if keep else ""
        known = self._recall(texts, where) if keep else {}
        missing = list(dict.fromkeys(t for t in texts if t not in known))
        size = batch_size or self.batch_size
        for at in range(0, len(missing), size):
            part = missing[at : at + size]
            found = as_matrix(self._compute(part, options))
            if len(found) != len(part):
                raise ValueError(f"the model gave {len(found)} vectors for {len(part)} texts")
            known.update(zip(part, found, strict=True))
            if keep:
                self._keep(part, found, where)
        return np.stack([known[t] for t in texts])

    async def acall(
        self, inputs: str | list[str], batch_size: int | None = None, caching: bool | None = None, **kwargs: Any
    ) -> Any:
        """The same without blocking the event loop."""
        return await asyncio.to_thread(self, inputs, batch_size, caching, **kwargs)

    def count_tokens(self, texts: Sequence[str]) -> int | None:
        """Tokens that a checkpoint of this machine computes for texts; None for other models."""
        return None if self.encoder is None else self.encoder.count_tokens(texts)

    def _compute(self, texts: list[str], options: dict[str, Any]) -> Any:
        if self.encoder is not None:
            if options:
                raise ValueError(f"options of a local encoder are given when it is made: {', '.join(options)}")
            return self.encoder.embed(texts)
        if not isinstance(self.model, str):
            return self.model(texts, **options)
        provider, slash, _ = self.model.partition("/")
        if slash and provider != "openai" and not (options.get("api_base") or options.get("base_url")):
            return self._by_litellm(texts, options)
        reach = {k: options.pop(k) for k in _REACH if k in options}
        return self._client(reach).embed(texts, **options)

    def _by_litellm(self, texts: list[str], options: dict[str, Any]) -> Any:
        """Vectors from a provider that speaks no OpenAI, as in DSPy."""
        try:
            import litellm
        except ImportError:
            raise ImportError(
                f"the embedding model {self.model!r} is asked through litellm: pip install 'lampc[litellm]'; for an "
                "OpenAI-compatible endpoint give api_base="
            ) from None
        found = litellm.embedding(model=self.model, input=texts, **options)
        return [item["embedding"] for item in sorted(found.data, key=lambda item: int(item["index"]))]

    def _client(self, reach: dict[str, Any]) -> OpenAIClient:
        from lampc.runtime.providers.openai import OpenAIClient

        base = reach.get("api_base") or reach.get("base_url") or "https://api.openai.com/v1"
        name = str(self.model).removeprefix("openai/")
        spot = (base, name, reach.get("api_key"))
        with self._mutex:
            if spot not in self._clients:
                self._clients[spot] = OpenAIClient(
                    base,
                    name,
                    api_key=reach.get("api_key") or "",
                    timeout=reach.get("timeout") or 60.0,
                    max_retries=int(reach.get("num_retries", 3)),
                )
            return self._clients[spot]

    def _recall(self, texts: Sequence[str], where: str) -> dict[str, Any]:
        with self._mutex:
            found = {}
            for text in texts:
                if (where, text) in self._known:
                    self._known.move_to_end((where, text))
                    found[text] = self._known[where, text]
            return found

    def _keep(self, texts: Sequence[str], vectors: Any, where: str) -> None:
        with self._mutex:
            for text, vector in zip(texts, vectors, strict=True):
                self._known[where, text] = vector
            while len(self._known) > KEPT:
                self._known.popitem(last=False)

    def close(self) -> None:
        """End connections to endpoints."""
        for client in self._clients.values():
            client.close()
        self._clients = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Embedder:
        return self  # the same model gives the same vectors; copies of programs share what is known


def _local(model: str | os.PathLike[str]) -> bool:
    """Whether this names a folder of this machine, or firefly, and not a model at an endpoint."""
    path = Path(model)
    named = not isinstance(model, str) or model == "firefly" or model.startswith(("/", "./", "../", "~"))
    return named or (path / "config.json").is_file() or (path / "modules.json").is_file()


def _encoder(model: str, options: dict[str, Any]) -> Encoder:
    from lampc.backend.encoder import load_encoder
    from lampc.backend.errors import UnknownArchitecture, UnknownOption
    from lampc.runtime.pool import firefly_folder

    known = inspect.signature(load_encoder).parameters.keys() - {"folder"}
    for name in options:
        if name not in known:
            raise UnknownOption(name, known, "a local encoder")
    try:
        return load_encoder(firefly_folder() if model == "firefly" else Path(model).expanduser(), **options)
    except UnknownArchitecture as e:
        raise ValueError(
            f"{model!r} gives no vectors: {e}; pass an encoder's folder, a callable, such as "
            "SentenceTransformer(...).encode, or the name of a model at an endpoint"
        ) from e


_REACH = ("api_base", "base_url", "api_key", "timeout", "num_retries")


def as_matrix(vectors: Any) -> Any:
    """Vectors as an array, one row each. Raises ValueError for other shapes, and for numbers that are not finite."""
    import numpy as np

    try:
        made = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as e:
        raise ValueError(f"vectors are rows of numbers, all of one length: {e}") from None
    if made.ndim != 2 or not made.shape[1]:
        raise ValueError(f"vectors are rows of numbers, all of one length; these have the shape {made.shape}")
    if not np.isfinite(made).all():
        raise ValueError("vectors hold finite numbers; some of these are not")
    return made
