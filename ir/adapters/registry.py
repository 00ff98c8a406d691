"""Adapters by name. Those that DSPy has exist twice: `chat_dspy` reads answers as DSPy does and no further. `chat` and
`xml` also exist as `chat_once` and so on, which do not ask again for an answer that cannot be read."""

from __future__ import annotations

import functools
from difflib import get_close_matches

from lampc.ir.adapters.arranged import arranged, base_of, like, parts_of
from lampc.ir.adapters.baml import Baml
from lampc.ir.adapters.base import Adapter
from lampc.ir.adapters.chat import Chat
from lampc.ir.adapters.compact import Compact
from lampc.ir.adapters.json_ import Json
from lampc.ir.adapters.raw import Raw
from lampc.ir.adapters.two_step import LAST, TwoStep
from lampc.ir.adapters.xml import Xml

STRICT = "_dspy"
"""Ends the names of layouts that read and repair as DSPy does."""
ONCE = "_once"
"""Ends the names of layouts that ask once."""

_KINDS = {"chat": Chat, "json": Json, "xml": Xml, "baml": Baml, "two_step": TwoStep}
ADAPTERS: dict[str, Adapter] = {
    "compact": Compact(),
    **{n: kind(n) for n, kind in _KINDS.items()},
    **{n + STRICT: kind(n + STRICT, True) for n, kind in _KINDS.items()},
    **{n + s + ONCE: _KINDS[n](n + s + ONCE, bool(s), True) for n in ("chat", "xml") for s in ("", STRICT)},
}
"""What a program may choose."""
_ALL = {**ADAPTERS, LAST: TwoStep(LAST, last=True), Raw.name: Raw()}


_TEMPLATES = ("template:", "slot:")
"""Begin the names of layouts that are templates of the user's own (see `lampc.ir.templates`)."""


def adapter(name: str) -> Adapter:
    """The adapter called `name`. Raises ValueError listing the known ones."""
    if name.startswith(_TEMPLATES):
        from lampc.ir.templates.template import template_layout

        return template_layout(name)
    if "[" in name:
        return _in_order(name)
    kind, _, model = name.partition(":")
    if model and kind in ("two_step", "two_step" + STRICT):
        return _extracting(name, kind.endswith(STRICT), model)
    try:
        return _ALL[name]
    except KeyError:
        near = get_close_matches(name, ADAPTERS, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(sorted(ADAPTERS))}"
        raise ValueError(f"there is no layout `{name}`; {hint}") from None


@functools.lru_cache(maxsize=64)
def _extracting(name: str, strict: bool, model: str) -> Adapter:
    """`two_step:small` asks the model `small` to pick the outputs out."""
    return TwoStep(name, strict, extractor=model)


@functools.lru_cache(maxsize=1024)
def _in_order(name: str) -> Adapter:
    """`compact[context,instruction,demos,question]`: another order of the blocks."""
    base, blocks = parts_of(name)
    how = adapter(base)
    if isinstance(how, TwoStep):
        raise ValueError(f"`{name}`: the layout `{base}` has one order only")
    return arranged(how, name, blocks)


def asked_once(name: str) -> str:
    """The layout whose texts `name` has, which does not ask again for what cannot be read. Raises ValueError for one
    that always asks twice."""
    if isinstance(adapter(name), TwoStep):
        raise ValueError(f"the layout `{name}` asks twice")
    once = base_of(name).removesuffix(ONCE) + ONCE
    return like(name, once) if once in ADAPTERS else name


def kind_of(name: str) -> str:
    """The layout whose texts `name` has. Raises ValueError."""
    return base_of(adapter(name).name).partition(":")[0].removesuffix(ONCE).removesuffix(STRICT)


_CLASSES = {"chat": "Chat", "json": "JSON", "xml": "XML", "baml": "BAML", "two_step": "TwoStep"}


def adapter_name(layout: str) -> str:
    """DSPy's name of the adapter that a layout is (`ChatAdapter`), else the layout's own. Raises ValueError."""
    kind = kind_of(layout)
    return f"{_CLASSES[kind]}Adapter" if kind in _CLASSES else kind


def layout_for(name: str, compat: str = "") -> str:
    """The layout that stands for `name` under a `compat` setting (`dspy-3.4` or none). Raises ValueError."""
    base = base_of(name)
    if not compat.startswith("dspy") or base.endswith(STRICT) or base + STRICT not in ADAPTERS:
        return adapter(name).name
    return like(name, base + STRICT)
