"""The ASGI app: an engine and programs behind OpenAI's paths, and ours."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from lampc.backend.api import TokenEngine
from lampc.backend.loop import Driver, EngineLoop
from lampc.backend.prometheus import EngineCollector
from lampc.runtime.cache import CallCache
from lampc.runtime.serve.engine import ServedEngine
from lampc.runtime.serve.front import Front, Traffic
from lampc.runtime.serve.limits import Limits
from lampc.runtime.serve.loop_model import LoopModel
from lampc.runtime.serve.programs import Hosted, Program, Programs
from lampc.runtime.serve.routes import ENDPOINTS
from lampc.runtime.serve.service import Service
from lampc.runtime.serve.vectors import Vectors
from lampc.runtime.session import Session

REMEMBERED = 10_000
"""Answers of programs' calls that are kept in memory: equal calls are answered once."""


class App:
    """An ASGI app that owns `engine`, and gives it back when the server that runs the app ends. One that is given
    itself runs in a thread of this process; what drives one from elsewhere is `lampc.runtime.engine_process`.

    `name` is what the model is called, by default what its engine says. `found` are programs, all run by this engine.
    `embed` makes vectors of texts, one row each, and may count their tokens (`count_tokens`). With `keys`, one of them
    must come with every request but `/health`; without, and if `local`, only requests that name this machine are
    answered. `seed` is of programs that are asked for none. Raises ValueError for two programs of one name, and for
    names and keys that no request can have.
    """

    def __init__(
        self,
        engine: TokenEngine | Driver,
        *,
        name: str | None = None,
        found: Iterable[Program] = (),
        embed: Callable[[list[str]], Any] | None = None,
        limits: Limits | None = None,
        keys: Iterable[str] = (),
        local: bool = True,
        seed: int = 0,
    ) -> None:
        limits = limits or Limits()
        served = ServedEngine(EngineLoop(engine) if isinstance(engine, TokenEngine) else engine)
        vectors = None if embed is None else Vectors(embed, limits)
        self.service = Service(served, name or served.info.name, limits, vectors)
        programs = list(found)
        names = [p.name for p in programs]
        if len(set(names)) < len(names):
            raise ValueError(f"two programs have one name, of {', '.join(names)}; serve one, or rename the other")
        for called in [*self.service.models, *names]:
            if re.search("[\ud800-\udfff]", called):
                raise ValueError(f"the name {called!r} is no UTF-8 text, which names in requests are; give another")
        cache = CallCache(entries=REMEMBERED)

        def session(base: Path, adapter: str | None) -> Session:
            model = LoopModel(served, adapter or self.service.name, limits.tokens, adapter)
            return Session(model=model, base=base, seed=seed, exact=served.info.exact, cache=cache)

        hosted = [Hosted(p, functools.partial(session, p.base)) for p in programs]
        registry = CollectorRegistry()
        registry.register(EngineCollector(served))
        self.state = SimpleNamespace(
            service=self.service, programs=Programs(hosted, limits.programs), registry=registry
        )
        self._router = Router([Route(e.path, e.answer, methods=[e.method]) for e in ENDPOINTS], lifespan=self._lifespan)
        self._front = Front(self._router, self.service, Traffic(registry), keys, local)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self._front(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Any) -> AsyncIterator[None]:
        self.service.engine.attach()
        try:
            yield
        finally:
            self.close()

    def drain(self) -> None:
        """Take nothing new from now on."""
        self.service.draining = True

    def end(self) -> None:
        """Answer what is under way with 503. To be called in the event loop."""
        self._front.end()

    def close(self) -> None:
        """End what runs and give the engine back. Twice is fine."""
        self.service.engine.close()
        self.state.programs.close()
        if self.service.vectors is not None:
            self.service.vectors.close()
