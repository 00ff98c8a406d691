"""A model as one `LM` sees it: with defaults of its own, further options, and somebody who watches its calls."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lampc.ir import Sampling, Signature, Target
from lampc.ir.adapters.arranged import base_of
from lampc.ir.adapters.constrained import closed_outputs, constrained
from lampc.ir.adapters.registry import STRICT
from lampc.ir.adapters.schema import outputs_schema
from lampc.ir.content import SPREAD
from lampc.runtime.models import Answer, Model, ModelError
from lampc.runtime.providers.prices import Price, price_of
from lampc.runtime.types import Usage

if TYPE_CHECKING:
    from lampc.runtime.lm import BaseLM

_UNSAID = Sampling()
Watch = Callable[[Answer, Usage, tuple[int, ...], tuple[tuple[str, str], ...]], None]


def with_defaults(wanted: Sampling, defaults: Mapping[str, Any]) -> Sampling:
    """A call's sampling with defaults where the call says nothing."""
    changes = {
        name: value
        for name, value in defaults.items()
        if name not in wanted.firm and getattr(wanted, name) == getattr(_UNSAID, name)
    }
    if SPREAD in wanted.firm and defaults.get("temperature", 0.0) > 0.15:
        changes["temperature"] = defaults["temperature"]
    return replace(wanted, **changes) if changes else wanted


def at_temperature(sampling: Sampling, temperature: float | None) -> Sampling:
    """The sampling of a call in a run at a temperature, which goes before the call's and its model's own."""
    if temperature is None:
        return sampling
    firm = tuple(n for n in sampling.firm if n not in ("temperature", SPREAD))
    return replace(sampling, temperature=temperature, firm=(*firm, "temperature"))


class ModelView:
    """`defaults` take the place of sampling options that a call does not say; `extra` (a JSON object as text) goes to
    the endpoint with every call, `grammar` to an engine of ours. `price` is what its tokens cost, at the
    model's rate (`listed` without that). With `cached` False
    calls are neither looked up nor kept."""

    __slots__ = (
        "_forms",
        "_made",
        "_told",
        "cached",
        "closed",
        "defaults",
        "extra",
        "grammar",
        "listed",
        "lm",
        "model",
        "price",
        "scored",
        "structured",
        "watched",
    )

    def __init__(
        self,
        model: Model,
        defaults: Mapping[str, Any] | None = None,
        extra: str = "",
        cached: bool = True,
        lm: BaseLM | None = None,
        grammar: str = "",
        price: Price | None = None,
        closed: bool = False,
    ) -> None:
        self.model, self.defaults, self.extra, self.grammar = model, dict(defaults or {}), extra, grammar
        self.cached, self.lm, self.closed = cached, lm, closed
        self.scored = False
        self.listed = price if lm is None else price_of(lm.kwargs.get("price"))
        self.price = None if self.listed is None else self.listed.times(getattr(model, "rate", 1.0))
        said = lm.kwargs.get("structured_outputs") if lm is not None else None
        self.structured = bool(getattr(model, "structured", False) if said is None else said)
        self.watched = lm is not None and lm.watches
        self._made: dict[Sampling, Sampling] = {}
        self._told: dict[str, ModelView] = {}
        self._forms: dict[tuple[int, str, bool | None], tuple[Signature, ModelView]] = {}

    @property
    def target(self) -> Target:
        return self.model.target

    @property
    def mode(self) -> str:
        return self.model.mode

    def sampling(self, wanted: Sampling) -> Sampling:
        """A call's sampling with the defaults of this model where the call says nothing."""
        if not self.defaults:
            return wanted
        found = self._made.get(wanted)
        if found is None:
            found = self._made[wanted] = with_defaults(wanted, self.defaults)
        return found

    def cost(self, answer: Answer) -> float | None:
        """What an answer cost: None without a price, 0 for an answer from a cache."""
        if self.price is None or answer.stored:
            return None if self.price is None else 0.0
        return self.price.cost(answer.prompt_tokens, answer.generated_tokens, answer.cached_tokens)

    def open(self, wanted: Sampling) -> bool:
        """Whether the temperature is left to the endpoint, because neither the call nor its LM says one."""
        return (
            self.lm is not None
            and wanted.temperature == 0.0
            and "temperature" not in self.defaults
            and "temperature" not in wanted.firm
            and not self.model.target.local
        )

    def scoring(self) -> ModelView:
        """The same view, for calls that want the probability of what is written. Raises ModelError if the model does
        not tell."""
        if not hasattr(self.model, "engine") and not hasattr(self.model, "slack"):
            raise ModelError(
                f"{self.model.target.info.name} does not tell how likely its answers are, which the proxy of a cascade "
                "has to: take a model of this machine"
            )
        found = copy.copy(self)
        found.scored = True
        return found

    def asking(self, layout: str, signature: Signature, closed: bool | None = None) -> ModelView:
        """The view for calls whose answers are in a layout: with the grammar of their outputs for an engine of ours,
        with their schema for an endpoint whose answers are JSON, if the model is to be told. `closed` says whether
        values of closed sets are found in one step each; None, wherever there are some."""
        if not self.structured:
            return self
        found = self._forms.get((id(signature), layout, closed))
        if found is None:
            if len(self._forms) >= 1024:  # of signatures made anew for each call
                self._forms.clear()
            found = signature, self._telling_form(layout, signature, closed)
            self._forms[id(signature), layout, closed] = found
        return found[1]

    def _telling_form(self, layout: str, signature: Signature, closed: bool | None) -> ModelView:
        if hasattr(self.model, "structured"):
            grammar = constrained(signature, layout)
            if grammar is None:
                return self
            if closed is None:
                closed = bool(closed_outputs(signature, layout))
            return ModelView(self.model, self.defaults, self.extra, self.cached, self.lm, grammar, self.listed, closed)
        if base_of(layout).removesuffix(STRICT) != "json":
            return self
        form = {"type": "json_schema", "json_schema": {"name": "outputs", "schema": outputs_schema(signature)}}
        extra = {"response_format": form, **json.loads(self.extra or "{}")}
        return ModelView(
            self.model, self.defaults, json.dumps(extra, sort_keys=True), self.cached, self.lm, price=self.listed
        )

    def telling(self, extra: str) -> ModelView:
        """The view for calls with further options of their own. Raises ModelError if the model takes none."""
        found = self._told.get(extra)
        if found is None:
            more = json.loads(extra)
            if self.model.target.local:
                raise ModelError(f"this model runs on this machine and has no option {next(iter(more))!r}")
            both = json.dumps({**json.loads(self.extra or "{}"), **more}, sort_keys=True)
            found = self._told[extra] = ModelView(
                self.model, self.defaults, both, self.cached, self.lm, price=self.listed
            )
        return found

    def begin(self, sampling: Sampling, ids: Any, messages: Any) -> Watch:
        """Tell the LM that a call begins; the result is to be told its end."""
        assert self.lm is not None
        return self.lm.watch(self, sampling, ids, messages, time.time())

    def retain(self, ids: tuple[int, ...]) -> Any:
        return self.model.retain(ids)

    def release(self, ref: Any) -> None:
        self.model.release(ref)


def view_of(model: Model | ModelView) -> ModelView:
    """The view itself, or a plain one of a model."""
    if isinstance(model, ModelView):
        return model
    return ModelView(model)
