"""The path of one LM call: is it known, is it under way, else to the model; then to disk and to whoever waits.

One desk serves a session from any number of threads. Engines are driven by who waits (`lampc.runtime.driving`);
answers of endpoints arrive by themselves. Calls of models that are Python code are made by who asked for them, in its
own thread: such code may ask other models meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from lampc.ir import CallKey, Draw, Key, Sampling
from lampc.runtime.books import Books
from lampc.runtime.client import Client, OnText, Waiting
from lampc.runtime.driving import Driving
from lampc.runtime.dropping import end
from lampc.runtime.making import Awaiter
from lampc.runtime.models import NOT_KNOWN, Answer, KvUse, Model, ModelCall
from lampc.runtime.modelview import ModelView
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.runtime.cache import CallCache
    from lampc.runtime.events import EventBus
    from lampc.runtime.store import Store

ROLLOUT_TEMPERATURE = 1.0
"""Temperature of the second and later rollouts of a greedy call: equal draws would be of no use."""


class CallDesk(Driving):
    """Takes calls, answers each once. Equal calls (same `CallKey`) are computed once and journaled.

    A call is finished when it is in the store: a run killed later will find it there. `books` has what was spent, and
    the calls that models worked on as long as their prompts have fewer tokens together than `record_prompts`.
    """

    def __init__(
        self,
        store: Store,
        bus: EventBus,
        cache: CallCache | None = None,
        *,
        record_prompts: int = 4_000_000,
        window: float = 0.0,
    ) -> None:
        super().__init__(bus, window)
        self.store = store
        self.books = Books(store, bus, cache, record_prompts)
        self.numbers = count(1)  # of whoever asks, for events
        self._heard: dict[Draw, OnText] = {}
        self._ending: Counter[int] = Counter()  # answers that are being kept and booked, by thread

    @property
    def idle(self) -> bool:
        return not self._open

    def abort(self) -> None:
        """Drop everything that is not finished, and let shared prefixes go."""
        with self._lock:
            for model in {id(m): m for m in [*(m for m, _ in self._open.values()), *self._stepped]}.values():
                model.abort()
            self.prefills.clear()
            for shared in self._shared.values():
                shared.close()
            for _, call in self._open.values():
                for waiting in call.waiting:
                    waiting.call = None
            self._queue, self._open = {}, {}
            self._stepped.clear()
            self._dropped += 1
            self._turn.notify_all()

    def forsake(self, client: Client) -> None:
        """Nobody waits for a client's calls any more: those that nobody else waits for are not sent, or ended where
        their model can do that. For who holds the lock."""
        for name, (model, call) in list(self._open.items()):
            own = [w for w in call.waiting if w.client is client]
            if not own:
                continue
            call.waiting = [w for w in call.waiting if w.client is not client]
            for waiting in own:
                waiting.call = None
            if call.waiting:
                continue
            call.last = own[-1]
            queued = self._queue.get(model, [])
            if call in queued:
                queued.remove(call)
            elif hasattr(model, "drop"):
                end(self, model, call)
            else:
                continue  # it goes on, and its answer is kept
            del self._open[name]

    @contextlib.contextmanager
    def hearing(self, listeners: Mapping[Draw, OnText]) -> Iterator[None]:
        """Give the text of these draws' answers to listeners while it is written, inside of the block."""
        with self._lock:
            self._heard.update(listeners)
        try:
            yield
        finally:
            with self._lock:
                for draw in listeners:
                    self._heard.pop(draw, None)

    # -- asking ---------------------------------------------------------------------------------------

    def ask(
        self,
        client: Client,
        view: ModelView,
        sampling: Sampling,
        draw: Draw,
        waiting: Waiting,
        ids: tuple[int, ...],
        messages: tuple[tuple[str, str], ...],
        score: tuple[int, ...],
        awaiter: Awaiter | None = None,
        depth: int = 0,
        use: KvUse = NOT_KNOWN,
    ) -> None:
        """Take a call for a client. What is known is answered at once. `awaiter` is who awaits it, if a task does."""
        model = view.model
        if awaiter is not None:
            model = getattr(model, "awaited", None) or model
        open_ = view.open(sampling) and not draw.sample
        prompt = _digest(
            ids,
            messages,
            score,
            view.extra + ("\nopen" if open_ else "") + view.grammar + ("\nscored" if view.scored else ""),
        )
        sampling = view.sampling(sampling)
        if draw.sample and sampling.temperature == 0.0:
            # passes merge equal greedy calls, so their further rollouts are one draw too, whatever the call site
            sampling = replace(sampling, temperature=ROLLOUT_TEMPERATURE)
            draw = replace(draw, key=Key((prompt,)), indices=())
        key = CallKey.of(model.target.info.digest, model.mode, prompt, sampling, draw)
        name = key.digest()
        # a journal that was asked for holds all calls of models that may be cached, so that a run can be resumed
        cached = view.cached or (self.store.path is not None and view.lm is not None and view.lm.cache)
        known = self.books.known(name, view) if cached else None
        if known is not None:
            self._settle(waiting, known, Usage.stored(known.prompt_tokens, known.generated_tokens), ids, messages)
            return
        with self._lock:
            here = threading.get_ident()
            under_way = self._open.get(name) if cached else None
            if under_way is not None and under_way[1].maker != here:
                under_way[1].waiting.append(waiting)
                under_way[1].provisional &= waiting.provisional
                waiting.call = under_way
                if hasattr(model, "make") and not under_way[1].maker:
                    client.asked.append(under_way)
                return
            if not cached or under_way is not None:  # a call that asks for itself is another call
                name = f"{name}/{id(waiting)}"
            call = ModelCall(
                key,
                sampling,
                key.draw,
                ids,
                messages,
                score,
                waiting.node,
                view.extra,
                draw.row,
                next(self.requests),
            )
            call.open, call.grammar, call.closed, call.depth = open_, view.grammar, view.closed, depth
            call.scored, call.price = view.scored, view.price
            call.name, call.cached, call.kept = name, cached, view.cached
            call.provisional = waiting.provisional
            call.waiting.append(waiting)
            waiting.call = self._open[name] = (model, call)
            call.site = (draw.key, draw.row, draw.sample, draw.indices[:-1]) if draw.indices else None
            call.awaiter, call.use = awaiter, use
            if hasattr(model, "make"):
                client.asked.append((model, call))
            else:
                self._queue.setdefault(model, []).append(call)

    # -- answers --------------------------------------------------------------------------------------

    def _answered(self, model: Model, call: ModelCall, answer: Answer) -> None:
        with self._lock:
            found = self._open.get(call.name)
            if found is None or found[1] is not call:
                return  # dropped meanwhile; another may have been asked for by the same name
            del self._open[call.name]
            self._leave(model, call)
            self.prefills.count(model, call, answer)
            if answer.computed_tokens or not answer.error:
                self.books.worked(model, call, answer)
            self._ending[threading.get_ident()] += 1
        try:
            self._ended(model, call, answer)
        finally:
            with self._lock:
                self._ending -= Counter((threading.get_ident(),))
                self._turn.notify_all()

    def _ended(self, model: Model, call: ModelCall, answer: Answer) -> None:
        with self._lock:  # it may be confirmed meanwhile
            provisional = call.provisional
            if provisional:
                call.answer = answer
        if not provisional:
            self.books.keep(model, call, answer)
        with self._lock:
            usage = self.books.spent(model, call, answer)
        if not call.waiting:
            self.unwanted(call, answer, usage)
        for i, waiting in enumerate(call.waiting):
            # whoever else asked for the same call gets it for nothing
            used = Usage.stored(answer.prompt_tokens, answer.generated_tokens) if i else usage
            self._settle(waiting, answer, used, call.ids, call.messages, call.number)

    def unwanted(self, call: ModelCall, answer: Answer, usage: Usage) -> None:
        """Nobody waits for a call any more, and it was paid for: who waited last, if that is known, is told."""
        with self._lock:
            self.books.book(call.node, usage)
            if call.last is not None and call.last.watch is not None:
                call.last.watch(answer, usage, call.ids, call.messages)

    def prefill(self, model: Model, ids: tuple[int, ...], node: str) -> bool:
        """Have a beginning of a predictor's prompt computed before it is asked for; False if its model has enough to
        do."""
        with self._lock:
            wanted = self.prefills.want(model, ids, node)
            self._turn.notify_all()
            return wanted

    def forget_prefills(self) -> None:
        """What was computed for calls that did not come is held no more."""
        with self._lock:
            self.prefills.forget()

    def _settle(
        self, waiting: Waiting, answer: Answer, usage: Usage, ids: Any, messages: Any, request: int = 0
    ) -> None:
        with self._lock:
            if not waiting.provisional:
                waiting.call = None
            self.books.book(waiting.node, usage)
            error = {"error": answer.error} if answer.error else {}
            self.bus.emit("node.end", node=waiting.node, call=waiting.number, request=request, **error)
            if waiting.watch is not None:
                waiting.watch(answer, usage, ids, messages)
            waiting.client.ready.append(partial(waiting.deliver, answer, usage))
            if waiting.client.waits:
                self._turn.notify_all()
            if waiting.client.wake is not None:
                waiting.client.wake()


def _digest(ids: tuple[int, ...], messages: tuple[tuple[str, str], ...], score: Iterable[int], extra: str) -> str:
    # the ids with commas between them, more than twice as fast as by `join`
    text = "".join([f"{r}:{len(c)}:{c}" for r, c in messages]) if messages else ("%d," * len(ids) % ids)[:-1]
    text += "".join(f"|{i}" for i in score) + (f"\n{extra}" if extra else "")
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


__all__ = ["CallDesk"]
