"""The path of one LM call: is it known, is it under way, else to the model; then to disk and to whoever waits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from lampc.ir import CallKey, Draw, Key, Sampling
from lampc.runtime.models import Answer, Model, ModelCall
from lampc.runtime.plan import SharedPrefixes
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.runtime.events import EventBus
    from lampc.runtime.store import Store

Deliver = Callable[[Answer, Usage], None]
ROLLOUT_TEMPERATURE = 1.0
"""Temperature of the second and later rollouts of a greedy call: equal draws would be of no use."""


class CallDesk:
    """Takes calls, answers each once. Equal calls (same `CallKey`) are computed once and journaled.

    A call is finished when it is in the store: a run killed later will find it there.
    """

    def __init__(self, store: Store, bus: EventBus, *, record_prompts: int = 4_000_000) -> None:
        self.store = store
        self.bus = bus
        self.usage = Usage()
        self.by_node: dict[str, Usage] = {}
        self.prompts: list[tuple[int, ...]] = []
        self.written: list[tuple[int, ...]] = []
        self._room = record_prompts
        self._queue: dict[Model, list[ModelCall]] = {}
        self._open: dict[str, tuple[Model, ModelCall]] = {}
        self._shared: dict[Model, SharedPrefixes] = {}
        self._ready: list[tuple[Deliver, Answer, Usage]] = []

    @property
    def complete_prompts(self) -> bool:
        """Whether `prompts` holds every computed prompt and `written` its answer, so that the bound can be given."""
        return self._room >= 0

    def request(
        self,
        model: Model,
        sampling: Sampling,
        draw: Draw,
        deliver: Deliver,
        *,
        ids: tuple[int, ...] = (),
        messages: tuple[tuple[str, str], ...] = (),
        score: tuple[int, ...] = (),
        node: str = "",
    ) -> None:
        """Ask for a completion of `ids` (local) or `messages` (endpoint), or for the probability of `score`
        after `ids`; `deliver` is called from `advance`."""
        self.bus.emit("node.start", node=node, row=draw.row)
        prompt = _digest(ids, messages, score)
        if draw.sample and sampling.temperature == 0.0:
            # passes merge equal greedy calls, so their further rollouts are one draw too, whatever the call site
            sampling = replace(sampling, temperature=ROLLOUT_TEMPERATURE)
            draw = replace(draw, key=Key((prompt,)), indices=())
        key = CallKey.of(model.target.info.digest, model.mode, prompt, sampling, draw)
        name = key.digest()
        record = self.store.get("call", name)
        if record is not None:
            answer = Answer.from_record(record)
            self._finish(node, deliver, answer, Usage.stored(answer.prompt_tokens))
            return
        if name in self._open:
            self._open[name][1].waiting.append((deliver, node))
            return
        call = ModelCall(key, sampling, draw.bits() if sampling.temperature else 0, ids, messages, score, node)
        call.waiting.append((deliver, node))
        self._open[name] = (model, call)
        self._queue.setdefault(model, []).append(call)

    @property
    def idle(self) -> bool:
        return not (self._open or self._ready)

    def advance(self) -> None:
        """Hand queued calls to their models, let models work, deliver what is finished."""
        self._flush()
        if not self._ready:
            models = {id(m): m for m, _ in self._open.values()}
            for model in models.values():
                for call, answer in model.advance():
                    self._answered(model, call, answer)
        ready, self._ready = self._ready, []
        for deliver, answer, usage in ready:
            deliver(answer, usage)

    def _flush(self) -> None:
        for model, calls in self._queue.items():
            if model.target.local:
                shared = self._shared.setdefault(model, SharedPrefixes(model))
                calls = shared.plan(calls)
            model.submit(calls)
            self.bus.emit("request.submit", count=len(calls), model=model.target.info.name)
        self._queue = {}

    def _answered(self, model: Model, call: ModelCall, answer: Answer) -> None:
        name = call.key.digest()
        del self._open[name]
        if model in self._shared:
            self._shared[model].done(call)
        if not answer.error:
            self.store.put("call", name, answer.record())
        if answer.computed_tokens or not answer.error:
            self._room -= len(call.ids) + len(answer.ids)
            if self._room >= 0:
                self.prompts.append(call.ids)
                self.written.append(answer.ids)
        self.bus.emit(
            "request.done",
            node=call.node,
            finish=answer.finish,
            generated=answer.generated_tokens,
            prompt=answer.prompt_tokens,
            computed=answer.computed_tokens,
            cached=answer.cached_tokens,
        )
        usage = Usage(1, 0, answer.prompt_tokens, answer.computed_tokens, answer.cached_tokens, answer.generated_tokens)
        for deliver, node in call.waiting:
            self._finish(node, deliver, answer, usage)
            usage = Usage.stored(answer.prompt_tokens)  # whoever asked for the same call gets it for nothing

    def _finish(self, node: str, deliver: Deliver, answer: Answer, usage: Usage) -> None:
        self.usage += usage
        self.by_node[node] = self.by_node.get(node, Usage()) + usage
        self.bus.emit("node.end", node=node, **({"error": answer.error} if answer.error else {}))
        self._ready.append((deliver, answer, usage))

    def abort(self) -> None:
        """Drop everything that is not finished, and let shared prefixes go."""
        for model in {id(m): m for m, _ in self._open.values()}.values():
            model.abort()
        for shared in self._shared.values():
            shared.close()
        self._queue, self._open, self._ready = {}, {}, []


def _digest(ids: Iterable[int], messages: tuple[tuple[str, str], ...], score: Iterable[int]) -> str:
    text = json.dumps(messages) if messages else ",".join(map(str, ids))
    text += "".join(f"|{i}" for i in score)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
