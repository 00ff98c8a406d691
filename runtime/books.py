"""What a desk writes down: answers for those who ask again, what calls cost, and which prompts models worked on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lampc.passes.schedule.block_tree import packed, unpacked
from lampc.runtime.awaited import AwaitedModel
from lampc.runtime.models import Answer, Model, ModelCall
from lampc.runtime.plan import prefix_shares
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.runtime.cache import CallCache
    from lampc.runtime.events import EventBus
    from lampc.runtime.modelview import ModelView
    from lampc.runtime.store import Store


@dataclass(slots=True, eq=False)
class Computed:
    """A call that a model worked on: its prompt (text for an endpoint), what was `written` after it, and how many
    tokens of the prompt were `computed` and `cached`. Ids are kept packed: a run may have a million of these."""

    kept: bytes | str
    written: tuple[int, ...]
    node: str
    row: str
    model: Model
    asked: int  # prompt tokens
    computed: int
    cached: int

    @property
    def prompt(self) -> tuple[int, ...] | str:
        return unpacked(self.kept) if isinstance(self.kept, bytes) else self.kept


class Books:
    """Those of one desk. `usage` is everything, `by_node` the same by predictor, `by_model` what models worked on, by
    their names and whether they are on this machine. `computed` has the calls that models worked on, as long as their
    prompts have fewer tokens together than `record_prompts`; those of endpoints only while somebody hears details of
    the bus."""

    def __init__(self, store: Store, bus: EventBus, cache: CallCache | None, record_prompts: int) -> None:
        self.usage = Usage()
        self.by_node: dict[str, Usage] = {}
        self.by_model: dict[tuple[str, bool], Usage] = {}
        self.computed: list[Computed] = []
        self._store, self._bus, self.cache = store, bus, cache
        self._room = record_prompts

    @property
    def complete_prompts(self) -> bool:
        """Whether `computed` holds every prompt of token ids, so that the bound can be given."""
        return self._room >= 0

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """Token ids of every computed prompt."""
        return [unpacked(c.kept) for c in self.computed if isinstance(c.kept, bytes)]

    @property
    def written(self) -> list[tuple[int, ...]]:
        """What models wrote after each of them."""
        return [c.written for c in self.computed if isinstance(c.kept, bytes)]

    def bounds(self) -> dict[str, int] | None:
        """How many prompt tokens the prefix trees of all calls need, one tree for each model, by predictor: what
        several have in common counts at one of them. None if there were too many to keep."""
        if not self.complete_prompts:
            return None
        found = dict.fromkeys(self.by_node, 0)
        by_model: dict[int, list[Computed]] = {}
        for call in self.computed:
            if isinstance(call.kept, bytes):
                by_model.setdefault(id(call.model), []).append(call)
        for calls in by_model.values():
            prompts = [unpacked(call.kept) for call in calls if isinstance(call.kept, bytes)]
            nodes: dict[tuple[int, ...], str] = {}
            for prompt, call in zip(prompts, calls, strict=True):
                nodes.setdefault(prompt, call.node)
            for prompt, share in prefix_shares(prompts, [call.written for call in calls]).items():
                found[nodes[prompt]] = found.get(nodes[prompt], 0) + share
        return found

    def bound(self) -> int | None:
        """The same of all."""
        found = self.bounds()
        return None if found is None else sum(found.values())

    def known(self, name: str, view: ModelView) -> Answer | None:
        """The answer of a call that was asked before, by its name."""
        if view.cached and self.cache is not None:
            found = self.cache.get(name, _is_code(view.model))  # what code it is no other process knows
            if found is not None:
                return found
        record = self._store.get("call", name)
        return Answer.from_record(record) if record is not None else None

    def keep(self, model: Model, call: ModelCall, answer: Answer) -> None:
        """Keep an answer for those who ask again, and for a run that goes on where this one is stopped."""
        if answer.error or not call.cached:
            return
        if call.kept and self.cache is not None:
            self.cache.put(call.name, answer, _is_code(model))
        if self.cache is None or self._store.path is not None:
            self._store.put("call", call.name, answer.record())

    def worked(self, model: Model, call: ModelCall, answer: Answer) -> None:
        """A model worked on a call."""
        prompt: tuple[int, ...] | str = call.ids
        if not prompt and self._bus.detailed:
            prompt = "".join(f"{role}\n{content}\n\n" for role, content in call.messages)
        self._room -= len(call.ids) + len(answer.ids) + (len(prompt) // 4 if isinstance(prompt, str) else 0)
        if self._room >= 0 and prompt:
            counts = answer.prompt_tokens, answer.computed_tokens, answer.cached_tokens
            kept = packed(prompt) if isinstance(prompt, tuple) else prompt
            self.computed.append(Computed(kept, answer.ids, call.node, call.row, model, *counts))

    def spent(self, model: Model, call: ModelCall, answer: Answer) -> Usage:
        """Tell of the end of a call; what it cost, so far booked for its model alone. For who holds the desk's lock."""
        self._bus.emit(
            "request.done",
            node=call.node,
            finish=answer.finish,
            generated=answer.generated_tokens,
            prompt=answer.prompt_tokens,
            computed=answer.computed_tokens,
            cached=answer.cached_tokens,
            model=model.target.info.name,
            request=call.number,
        )
        used = Usage(
            1,
            0,
            answer.prompt_tokens,
            answer.computed_tokens,
            answer.cached_tokens,
            answer.generated_tokens,
            forced_tokens=answer.forced_tokens,
            cost=_cost(call, answer),
        )
        which = model.target.info.name, model.target.local
        self.by_model[which] = self.by_model.get(which, Usage()) + used
        return used

    def book(self, node: str, usage: Usage) -> None:
        """Add what a predictor spent. For who holds the desk's lock."""
        self.usage += usage
        self.by_node[node] = self.by_node.get(node, Usage()) + usage


def _cost(call: ModelCall, answer: Answer) -> float:
    counts = answer.prompt_tokens, answer.generated_tokens, answer.cached_tokens
    return 0.0 if call.price is None else call.price.cost(*counts)


def _is_code(model: Model) -> bool:
    """Whether it is Python code of this process, whose answers another one must not find."""
    return hasattr(model, "make") or isinstance(model, AwaitedModel)
