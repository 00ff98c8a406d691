"""What is known of a provider, read from `rules.toml`: its prompt cache, its headers, its batches."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from lampc.ir.errors import LMConfigurationError

CACHES = ("automatic", "breakpoints", "none")
CHARACTERS = 4
"""Characters a token, where a provider's tokenizer is not known."""


@dataclass(frozen=True, slots=True)
class Rules:
    """One provider's rules; `rules.toml` says what each means. Sizes are in tokens, times in seconds, prices parts of
    the price of a prompt token. `read` is when they were held against `source`."""

    name: str = "none"
    read: str = ""
    source: str = ""
    cache: str = "none"
    minimum: int = 0
    step: int = 0
    lifetime: float = 300.0
    key: str = ""
    breakpoints: int = 0
    read_price: float = 1.0
    write_price: float = 1.0
    batch_price: float = 1.0
    batch_hours: int = 24
    batch_requests: int = 50_000
    batch_bytes: int = 200_000_000

    @property
    def caches(self) -> bool:
        return self.cache != "none"

    @property
    def grain(self) -> int:
        """Tokens by which a shared beginning is cut down; where no step is told, such as lets it be found quickly."""
        return self.step or 128

    def reused(self, shared: int) -> int:
        """Tokens that the cache gives of a beginning of `shared` tokens."""
        if not self.caches or shared < self.minimum:
            return 0
        return shared if not self.step else self.minimum + (shared - self.minimum) // self.step * self.step

    def pays(self, uses: int) -> bool:
        """Whether a beginning that is used so often costs less if it is kept."""
        return uses > 1 and self.write_price + (uses - 1) * self.read_price < uses

    def about(self) -> str:
        """The prompt cache in one line."""
        if not self.caches:
            return f"{self.name}: it is not known to have a prompt cache"
        how = f"from {self.minimum:,} tokens" + (f" in steps of {self.step}" if self.step else "")
        marks = f", up to {self.breakpoints} breakpoints" if self.breakpoints else ""
        price = f"a cached token costs {self.read_price:g} of another"
        surcharge = f", one that is kept {self.write_price:g}" if self.write_price != 1.0 else ""
        return f"{self.name}: {self.cache} prompt cache {how}{marks}; {price}{surcharge} (rules as of {self.read})"


@dataclass(frozen=True, slots=True)
class LimitHeaders:
    """Names of headers that tell of a limit, with `{}` for its unit."""

    limit: str
    remaining: str
    reset: str


@functools.cache
def _table() -> Mapping[str, Any]:
    found = files("lampc.runtime.providers").joinpath("rules.toml").read_text(encoding="utf-8")
    return tomllib.loads(found)


def providers() -> tuple[str, ...]:
    """Names of the providers that there are rules of."""
    return tuple(_table()["providers"])


@functools.cache
def limit_headers() -> tuple[LimitHeaders, ...]:
    """The ways in which endpoints tell of their limits."""
    return tuple(LimitHeaders(**entry) for entry in _table()["limits"])


def rules_for(url: str, model: str = "", said: Any = None) -> Rules:
    """The rules of an endpoint: by what its user `said`, else by its host, or by the model's name if litellm asks it.

    `said` is the name of a provider, False for no cache, or a mapping of `Rules`' fields, over those of `like` (a name)
    or of the host. Raises LMConfigurationError.
    """
    if said is None or said is True:
        return _named(_found(url, model), model)
    if said is False:
        return _named("none", model)
    if isinstance(said, str):
        return _named(said, model)
    if not isinstance(said, Mapping):
        raise LMConfigurationError(
            f"prompt_cache is {said!r}; give the name of a provider ({', '.join(providers())}), False, or fields of one"
        )
    return _changed(_named(str(said.get("like") or _found(url, model)), model), said)


def _found(url: str, model: str) -> str:
    host = urlsplit(url).hostname or ""
    through = url.startswith("litellm")
    for name, entry in _table()["providers"].items():
        if host and not through and host in entry.get("hosts", ()):
            return str(name)
        if through and model.startswith(tuple(entry.get("prefixes", ()))):
            return str(name)
    return "none"


def _named(name: str, model: str) -> Rules:
    entry = _table()["providers"].get(name)
    if entry is None:
        near = get_close_matches(name, providers(), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(providers())}"
        raise LMConfigurationError(f"prompt_cache: there are no rules of a provider {name!r}; {hint}")
    price, batch = entry.get("price", {}), entry.get("batch", {})
    own = {k: v for k, v in entry.items() if k in {f.name for f in fields(Rules)}}
    found = Rules(
        name=name,
        read_price=float(price.get("read", 1.0)),
        write_price=float(price.get("write", 1.0)),
        batch_price=float(batch.get("price", 1.0)),
        **{f"batch_{k}": batch[k] for k in ("hours", "requests", "bytes") if k in batch},
        **own,
    )
    other = next((m for m in entry.get("models", ()) if m["name"] in model), None)
    return found if other is None else replace(found, minimum=int(other["minimum"]))


def _changed(rules: Rules, said: Mapping[str, Any]) -> Rules:
    known = {f.name: f.type for f in fields(Rules)}
    changes = {k: v for k, v in said.items() if k != "like"}
    for name, value in changes.items():
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise LMConfigurationError(f"prompt_cache has no field {name!r}; {hint}")
        text = known[name] == "str"
        fits = isinstance(value, str) if text else isinstance(value, int | float) and value >= 0
        if isinstance(value, bool) or not fits:
            raise LMConfigurationError(f"prompt_cache: {name} is {value!r}; give a {known[name]}, 0 or more")
    made = replace(rules, **changes)
    if made.cache not in CACHES:
        raise LMConfigurationError(f"prompt_cache: cache is {made.cache!r}; it is one of {', '.join(CACHES)}")
    return made


__all__ = ["CHARACTERS", "LimitHeaders", "Rules", "limit_headers", "providers", "rules_for"]
