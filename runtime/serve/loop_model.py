"""The served engine as a model of programs: their calls go to the engine's thread, beside those of everybody else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from lampc.backend.errors import BackendError, BadGrammar, Unsupported
from lampc.backend.loop import Ticket
from lampc.backend.output import TextPieces
from lampc.backend.request import Completion, Handle, Request
from lampc.backend.tokenizer import TextTokenizer
from lampc.ir import ModelInfo
from lampc.runtime.local import answer_of, as_lm_error, request_of
from lampc.runtime.models import Answer, Model, ModelCall, failed
from lampc.runtime.serve.engine import ServedEngine
from lampc.runtime.target import LocalTarget

if TYPE_CHECKING:
    from lampc.backend import PrefixRef
    from lampc.ir import Target

logger = logging.getLogger(__name__)


class LoopModel:
    """See the module's text. Answers are handed over in the engine's thread; a call that nobody waits for any more is
    dropped. Prefixes are not held for calls to come: the engine's own cache keeps what was used last.

    `most` is how many tokens an answer may have. All calls go through `adapter`, if one is named.
    """

    pushes = True
    structured = True

    def __init__(self, engine: ServedEngine, name: str, most: int | None = None, adapter: str | None = None) -> None:
        info = engine.info
        self._engine, self._most, self._adapter = engine, most, adapter
        self.mode = "exact" if info.exact else "fast"
        self.target: Target = LocalTarget(
            ModelInfo(
                name, _digest(info.digest, adapter), info.context_length, info.kv_bytes_per_token, info.vocab_size
            ),
            engine.tokenizer,
        )
        self.on_answer: Callable[[Model, ModelCall, Answer], None] = lambda *_: None
        self._refused: set[str] = set()  # grammars that the engine does not take
        self._pending: dict[int, Ticket] = {}  # by the identity of the call
        self._mutex = threading.Lock()

    @property
    def slack(self) -> float:
        """The share of the engine's places that is free."""
        return self._engine.loop.slack

    def submit(self, calls: Sequence[ModelCall]) -> None:
        for call in calls:
            self._submit(call)

    def _submit(self, call: ModelCall) -> None:
        if not call.waiting:  # dropped on its way here
            self.on_answer(self, call, Answer("", finish="abort", error="abort"))
            return
        grammar = call.grammar if call.grammar and call.grammar not in self._refused else None
        try:
            request = request_of(call, self.target.info.context_length, grammar, self._adapter)
            if self._most is not None and request.sampling.max_tokens > self._most:
                request = replace(request, sampling=replace(request.sampling, max_tokens=self._most))
            teller = _Teller(call, self._engine.tokenizer) if call.listeners else None
            ticket = Ticket(request, None if teller is None else teller.hear)
            with self._mutex:
                self._pending[id(call)] = ticket
            ticket.future.add_done_callback(partial(self._done, call, request, teller))
            self._engine.loop.submit([ticket])
        except (BackendError, ValueError) as e:
            with self._mutex:
                self._pending.pop(id(call), None)
            self.on_answer(self, call, failed(as_lm_error(e, self.target.info.name)))

    def _done(self, call: ModelCall, request: Request, teller: _Teller | None, future: Future[Completion]) -> None:
        with self._mutex:
            self._pending.pop(id(call), None)
        try:
            completion = future.result()
        except (BadGrammar, Unsupported) as e:
            if request.grammar is None:
                self.on_answer(self, call, failed(e))
                return
            logger.warning("answers of %s are not kept to their form: %s", call.node or "a call", e)
            self._refused.add(request.grammar)
            self._submit(call)
        except Exception as e:
            self.on_answer(self, call, failed(as_lm_error(e, self.target.info.name)))
        else:
            if teller is not None:
                teller.end(completion)
            self.on_answer(self, call, answer_of(completion))

    def drop(self, call: ModelCall) -> None:
        """Nobody waits for it any more."""
        with self._mutex:
            ticket = self._pending.get(id(call))
        if ticket is not None:
            self._engine.loop.abort([ticket])

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        return []

    def retain(self, ids: tuple[int, ...]) -> PrefixRef | None:
        return None

    def release(self, ref: PrefixRef) -> None:
        return None

    def abort(self) -> None:
        with self._mutex:
            tickets = list(self._pending.values())
        self._engine.loop.abort(tickets)

    def close(self) -> None:
        self.abort()


def _digest(engine: str, adapter: str | None) -> str:
    """Names what answers follow from: with another adapter they are others."""
    return engine if adapter is None else blake2b(f"{engine} {adapter}".encode(), digest_size=16).hexdigest()


class _Teller:
    """Gives those who listen to a call its text, in the engine's thread."""

    def __init__(self, call: ModelCall, tokenizer: TextTokenizer) -> None:
        self._call, self._tokenizer = call, tokenizer
        self._pieces: TextPieces | None = None

    def hear(self, handle: Handle, token: int) -> None:
        """One more token."""
        if self._pieces is None:
            self._pieces = TextPieces(handle.request.sampling, self._tokenizer)
        self._tell(self._pieces.push(token))

    def end(self, completion: Completion) -> None:
        """It is whole."""
        self._tell(completion.text if self._pieces is None else self._pieces.end(completion.text))

    def _tell(self, text: str) -> None:
        for listener in self._call.listeners if text else ():
            listener(text)
