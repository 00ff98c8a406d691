"""How long the answer of a call may be whose outputs are bounded one by one: `@max(8)`, `OutputField(max_tokens=8)`.

What bounds an output are the tokens of its value. Names, markers, quotes and braces that the layout writes around
values are counted apart, by the tokenizer of the model that is asked. Endpoints count tokens in ways of their own:
there room is left for as many as such texts have anywhere.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from lampc.ir.adapters.base import ReadsAs
from lampc.ir.adapters.dialogue import Dialogue
from lampc.ir.adapters.registry import STRICT, adapter
from lampc.ir.adapters.two_step import TwoStep
from lampc.ir.content import Sampling, Signature
from lampc.ir.protocols import Target, Tokens

AT_LEAST = 16
"""Tokens that an endpoint has for what stands around a value, whatever it is."""
WORD = "a"
"""What stands for a value: with none, white space before it and behind it would be one token."""
CHARACTERS = 2
"""Characters of such text for a token, at the least."""


def call_sampling(signature: Signature, layout: str, sampling: Sampling, target: Target | None = None) -> Sampling:
    """The sampling of one call: the bounds of its outputs, if any has one, make up `max_tokens`.

    An output without a bound may take all of the call's `max_tokens`. The answer is cut where all outputs together
    have spent what they may, so one of several may be longer than its own bound. `target` is what the call asks.
    """
    bounds = [f.max_tokens for f in signature.outputs]
    if not any(bounds):
        return sampling
    if not all(bounds) and not sampling.max_tokens:
        return sampling  # as much as the model may write
    around = _around(layout, signature, target.tokens if target is not None else None)
    return replace(sampling, max_tokens=sum(b or sampling.max_tokens for b in bounds) + around)


def _around(layout: str, signature: Signature, tokens: Tokens | None) -> int:
    """Tokens of an answer besides those of its values, in whichever form a round of the call asks for it."""
    texts = [frame(name, signature) for name in _asked_in(layout)]
    if tokens is not None:
        values = len(signature.outputs) * len(tokens.encode(WORD))
        return max(len(tokens.encode(text)) for text in texts) - values
    return max(AT_LEAST * len(signature.outputs), max(map(len, texts)) // CHARACTERS)


def _asked_in(layout: str) -> list[str]:
    """The layouts of a call and of the calls that follow where its answer cannot be read."""
    how = adapter(layout)
    strict = STRICT if how.strict else ""
    found = [layout, "chat" + strict] if isinstance(how, TwoStep) else [layout]
    return [*found, "json" + STRICT] if strict and isinstance(how, Dialogue) and not how.once else found


@functools.lru_cache(maxsize=1024)
def frame(layout: str, signature: Signature) -> str:
    """An answer in a layout, all of whose values are `WORD`."""
    how = adapter(layout)
    if isinstance(how, ReadsAs):
        reader = how.reads_as(signature)
        return frame(reader, signature) if reader else WORD
    values = {f.name: WORD for f in signature.outputs}
    turns = how.history(signature, {"messages": [values]})
    return "".join(text for role, text in turns if role == "assistant") or WORD
