"""An engine of ours as a model: calls become requests, finished requests become answers."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lampc.ir import ModelInfo
from lampc.runtime.models import Answer, ModelCall, failed
from lampc.runtime.seats import Seats
from lampc.runtime.target import LocalTarget

if TYPE_CHECKING:
    from lampc.backend import Completion, Handle, PrefixRef, Request, TokenEngine
    from lampc.backend.output import TextPieces
    from lampc.ir import Target

logger = logging.getLogger(__name__)


SLACK = 4
"""Requests under way with which an engine is not busy."""


class LocalModel:
    """An engine of ours.

    `structured`: whether answers are kept to what their layout reads, unless an `LM` says otherwise. By default they
    are, but for an engine whose replies are scripted, and where a grammar cannot be kept (the log says why); if it is
    True, such a call fails. All calls go through `adapter`, if one is named; models that differ in it alone may share
    the engine (`seats`). `folder`, `adapter_folder` and `source` are set by whoever loaded the engine: where its
    weights lie, and what the model is called without the adapter.
    """

    def __init__(
        self,
        engine: TokenEngine,
        name: str,
        structured: bool | None = None,
        adapter: str | None = None,
        seats: Seats | None = None,
    ) -> None:
        info = engine.info
        digest = digest_of(engine, adapter)
        self.adapter = adapter
        self.folder: Path | None = None
        self.adapter_folder: Path | None = None
        self.source = ""
        self.engine = engine
        self.kv_tokens, self.block_size = info.kv_tokens, info.block_size
        self.mode = "exact" if info.exact else "fast"
        self.structured = structured if structured is not None else not getattr(engine, "scripted", False)
        self.target: Target = LocalTarget(
            ModelInfo(name, digest, info.context_length, info.kv_bytes_per_token, info.vocab_size),
            engine.tokenizer,
        )
        self._firm = structured is True
        self._refused: set[str] = set()  # grammars that the engine does not take
        self._pending: dict[int, tuple[Handle, ModelCall]] = {}
        self._pieces: dict[int, TextPieces] = {}
        self._prefilling: dict[int, tuple[Handle, tuple[int, ...], int]] = {}
        self._prefilled: list[tuple[tuple[int, ...], int]] = []
        self._failed: list[tuple[ModelCall, Answer]] = []
        self._backlog: deque[ModelCall] = deque()  # calls beyond what the engine queues
        self.seats = seats or Seats(engine)
        self.seats.take(self)

    def submit(self, calls: Sequence[ModelCall]) -> None:
        self._backlog += calls
        self._feed()

    def _feed(self) -> None:
        from lampc.backend import BackendError, BadGrammar, Unsupported
        from lampc.backend.errors import QueueFull
        from lampc.backend.output import TextPieces

        while self._backlog:
            call = self._backlog.popleft()
            grammar = self._grammar_of(call)
            try:
                request = request_of(call, self.target.info.context_length, grammar, self.adapter)
                handle = self.engine.submit(request)
            except QueueFull:
                self._backlog.appendleft(call)
                return
            except (BadGrammar, Unsupported) as e:
                if grammar is None or self._firm:
                    self._failed.append((call, failed(e)))
                    continue
                logger.warning("answers of %s are not kept to their form: %s", call.node or "a call", e)
                self._refused.add(grammar)
                self._backlog.appendleft(call)
                continue
            except (BackendError, ValueError) as e:
                self._failed.append((call, failed(as_lm_error(e, self.target.info.name))))
                continue
            self._pending[handle.id] = (handle, call)
            self._submitted(handle, call)
            if call.listeners:
                self._pieces[handle.id] = TextPieces(request.sampling, self.engine.tokenizer)

    def _grammar_of(self, call: ModelCall) -> str | None:
        """What the answer to a call is kept to."""
        return call.grammar if call.grammar and call.grammar not in self._refused else None

    def _submitted(self, handle: Handle, call: ModelCall) -> None:
        """For others to override: a call became a request."""

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        self._feed()
        out, self._failed = self._failed, []
        if not (self._pending or self._prefilling):
            return out
        ended = self.seats.step(self)
        for i in list(self._pieces):
            self._tell(i)
        for handle in ended:
            found = self._pending.pop(handle.id, None)
            if found is not None:
                out.append((found[1], answer_of(handle.completion)))
            elif (early := self._prefilling.pop(handle.id, None)) is not None:
                assert handle.completion is not None
                self._prefilled.append((early[1], handle.completion.computed_tokens))
        return out

    def spare(self, more: int) -> bool:
        """Whether the engine has so little to do that it can compute what nobody asked for yet, beside `more`."""
        return sum(len(m._pending) + len(m._backlog) + len(m._prefilling) for m in self.seats.models) + more < SLACK

    def prefill(self, ids: tuple[int, ...], number: int = 0) -> bool:
        """Compute a prefix, and nothing after it; False if there is nothing to do, or the engine does not take it.
        `number` is what events call the request."""
        from lampc.backend import BackendError, Request
        from lampc.backend import Sampling as EngineSampling

        nothing = EngineSampling(max_tokens=1, ignore_eos=True)
        known = getattr(self.engine, "known", None)
        if known is not None and known(ids, self.adapter) == len(ids):
            return False  # even so its last token would be computed again, for what follows it
        try:
            handle = self.engine.submit(Request(ids, nothing, adapter=self.adapter, priority=-1))
        except (BackendError, ValueError):
            return False
        self._prefilling[handle.id] = (handle, ids, number)
        return True

    def prefilled(self) -> list[tuple[tuple[int, ...], int]]:
        """Prefixes that are computed since the last call, and how many tokens of each went through the model."""
        ended, self._prefilled = self._prefilled, []
        return ended

    def stop_prefills(self) -> None:
        """Compute no more prefixes."""
        for handle, *_ in self._prefilling.values():
            self.engine.abort(handle)
        self._prefilling, self._prefilled = {}, []

    def _tell(self, i: int) -> None:
        """Give those who listen to a request the text that is new and sure."""
        handle, call = self._pending[i]
        pieces = self._pieces[i]
        text = "".join(map(pieces.push, handle.new_tokens()))
        if handle.completion is not None:
            text += pieces.end(handle.completion.text)
            del self._pieces[i]
        for listener in call.listeners if text else ():
            listener(text)

    def has(self, handle: Handle) -> bool:
        """Whether a request of the engine is of this model, and under way."""
        return self._call(handle) is not None or self._early(handle) is not None

    def call_of(self, handle: Handle) -> ModelCall | None:
        """The call that a request of the engine is of, as long as it is under way: of this model or another one that
        the engine computes."""
        return next((call for m in self.seats.models if (call := m._call(handle)) is not None), None)

    def number_of(self, handle: Handle) -> int:
        """What events call a request of the engine; 0 if it is of somebody else."""
        call = self.call_of(handle)
        if call is not None:
            return call.number
        return next((early for m in self.seats.models if (early := m._early(handle)) is not None), 0)

    def _call(self, handle: Handle) -> ModelCall | None:
        found = self._pending.get(handle.id)
        return found[1] if found is not None and found[0] is handle else None

    def _early(self, handle: Handle) -> int | None:
        """The number of a prefix that is being computed."""
        found = self._prefilling.get(handle.id)
        return found[2] if found is not None and found[0] is handle else None

    def retain(
        self, ids: tuple[int, ...], ttl: float | None = None, next_use: float | None = None, yields: bool = False
    ) -> PrefixRef:
        return self.engine.retain(ids, ttl, next_use, yields, self.adapter)

    def release(self, ref: PrefixRef, next_use: float | None = None, spent: int | None = None) -> None:
        self.engine.release(ref, next_use, spent)

    def abort(self) -> None:
        for handle, _ in self._pending.values():
            self.engine.abort(handle)
        self._pending, self._pieces = {}, {}
        self.stop_prefills()
        self._backlog.clear()

    def drop(self, call: ModelCall) -> Answer | None:
        """Stop a call; what was written by then, or None if it had not begun."""
        handle = next((h for h, c in self._pending.values() if c is call), None)
        if handle is None:
            if call in self._backlog:
                self._backlog.remove(call)
            return None
        del self._pending[handle.id]
        self._pieces.pop(handle.id, None)
        self.engine.abort(handle)
        answer = answer_of(handle.completion)
        return answer if answer.computed_tokens or answer.cached_tokens else None

    @property
    def slack(self) -> float:
        """The share of the engine's places that is free; 0 while a call waits for one, or if it has no such thing."""
        return 0.0 if self._backlog else float(getattr(self.engine, "slack", 0.0))

    @property
    def busy(self) -> bool:
        return bool(self._pending or self._backlog)

    def close(self) -> None:
        try:
            self.abort()
        finally:
            self.seats.leave(self)


def digest_of(engine: TokenEngine, adapter: str | None) -> str:
    """Names what calls follow from: others with other adapters, whichever are loaded."""
    from lampc.backend.adapting import Adaptable

    if isinstance(engine, Adaptable):
        return engine.digest_of(adapter)
    own = engine.info.digest
    return own if adapter is None else hashlib.sha256(f"{own} {adapter}".encode()).hexdigest()[:32]


def request_of(call: ModelCall, context_length: int, grammar: str | None, adapter: str | None = None) -> Request:
    """A call as a request. Its prompt may leave less room than it asks for: what fits is generated, as a length stop.
    Raises ValueError."""
    from lampc.backend import Request
    from lampc.backend import Sampling as EngineSampling

    s = call.sampling
    room = context_length - len(call.ids)
    drawn = EngineSampling(
        s.temperature,
        s.top_k,
        s.top_p,
        max(min(s.max_tokens or room, room), 1),
        0,
        s.stop,
        min_p=s.min_p,
        presence_penalty=s.presence_penalty,
        frequency_penalty=s.frequency_penalty,
        repetition_penalty=s.repetition_penalty,
        logit_bias=s.logit_bias,
    )
    closed = call.closed and grammar is not None
    use = call.use
    return Request(
        call.ids,
        drawn,
        call.draw,
        score=call.score,
        logprobs=call.scored,
        grammar=grammar,
        adapter=adapter,
        closed=closed,
        priority=-1 if call.provisional else 0,  # behind what is surely needed
        depth=-1 if call.provisional else call.depth,
        next_use=use.next_use,
        spent=use.spent,
    )


def answer_of(completion: Completion | None) -> Answer:
    """The answer that the end of a request is."""
    assert completion is not None
    c = completion
    return Answer(
        c.text,
        c.tokens,
        c.finish,
        c.prompt_tokens,
        c.computed_tokens,
        c.cached_tokens,
        len(c.tokens),
        error=(c.error or c.finish) if c.finish in ("error", "timeout", "abort") else "",
        score=sum(c.logprobs or ()),
        forced_tokens=c.forced_tokens,
    )


def as_lm_error(error: Exception, model: str) -> Exception:
    """What an engine raised, as programs may catch it."""
    from lampc.backend.errors import ContextTooLong
    from lampc.ir.errors import ContextWindowExceededError

    return ContextWindowExceededError(str(error), model=model) if isinstance(error, ContextTooLong) else error
