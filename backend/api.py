"""What an engine is: the protocol that paged, naive and fake engines share."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lampc.backend.metrics import EngineMetrics
from lampc.backend.request import Handle, PrefixRef, Request
from lampc.backend.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Facts that planners need.

    `kv_bytes_per_token` in bytes over all layers; `block_size` in tokens; `kv_tokens` is how many tokens the KV cache
    holds, 0 for an engine without one; `adapters` are those that requests may name. `digest` names weights, tokenizer
    and numerics: two engines with equal digests give equal tokens for equal requests.
    """

    name: str
    vocab_size: int
    context_length: int
    kv_bytes_per_token: int
    block_size: int
    exact: bool
    digest: str
    kv_tokens: int = 0
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters since the engine was made. Token counts are exact.

    `prompt_tokens` counts prompts when first admitted; `computed_tokens` prompt tokens run through the model
    (repeats after a preemption included); `cached_tokens` prompt tokens taken from the cache or from a
    neighbour in the same step; `generated_tokens` tokens sampled; `forward_tokens` all rows that went through
    the model. `swapped_out_tokens` were copied to host memory when they were evicted, `swapped_in_tokens` copied back
    instead of computed; both are among the tokens that other counters count. `drains` counts steps that could not be
    scheduled before the tokens of the one before were here, where steps are launched ahead. `drafted_tokens` were
    guessed by speculation and computed, `accepted_tokens` of them were what was drawn.
    """

    prompt_tokens: int = 0
    computed_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    forward_tokens: int = 0
    steps: int = 0
    preemptions: int = 0
    evicted_tokens: int = 0
    requests: int = 0
    finished: int = 0
    used_blocks: int = 0
    peak_blocks: int = 0
    total_blocks: int = 0
    swapped_out_tokens: int = 0
    swapped_in_tokens: int = 0
    host_used_blocks: int = 0
    host_total_blocks: int = 0
    drains: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@runtime_checkable
class TokenEngine(Protocol):
    """Token ids in, token ids out."""

    @property
    def info(self) -> EngineInfo:
        """Facts about the model and the numerics."""
        ...

    @property
    def tokenizer(self) -> TextTokenizer:
        """The model's tokenizer."""
        ...

    @property
    def idle(self) -> bool:
        """Whether `step` would find nothing to do and nothing to tell: no step is needed until the next `submit`."""
        ...

    def submit(self, request: Request) -> Handle:
        """Queues a request. Raises QueueFull, EngineClosed, ContextTooLong, Unsupported or ValueError, or what a
        hook raises to refuse it; the engine stays usable."""
        ...

    def step(self) -> list[Handle]:
        """One batch through the model; returns the requests that finished since the last step."""
        ...

    def run(self) -> list[Handle]:
        """Steps until nothing is left to do; returns all that finished."""
        ...

    def abort(self, handle: Handle) -> None:
        """Ends a request at once with finish "abort"; does nothing if it is done."""
        ...

    def retain(
        self,
        ids: tuple[int, ...],
        ttl: float | None = None,
        next_use: float | None = None,
        yields: bool = False,
        adapter: str | None = None,
    ) -> PrefixRef:
        """Keeps whatever of this prefix is or becomes cached, until released or for `ttl` seconds.

        `next_use` says when it is needed next after that, see `Request`. One that `yields` is let go before a request
        would be preempted, or could not run, for want of its blocks: those needed last first. It is the prefix of
        requests with an `adapter`, or of those without one.
        """
        ...

    def release(self, ref: PrefixRef, next_use: float | None = None, spent: int | None = None) -> None:
        """Lets a retained prefix go; it stays cached while there is room. `next_use` and `spent`: see `Request`. Raises
        ValueError if it is not held; one that yields may be released when the engine has let it go already."""
        ...

    def stats(self) -> EngineStats:
        """Counters so far."""
        ...

    def metrics(self) -> EngineMetrics:
        """Rates, shares and distributions as of now."""
        ...

    def check(self) -> None:
        """Raises AssertionError if blocks leaked or reference counts are wrong."""
        ...

    def reset_cache(self) -> None:
        """Drops everything cached that no request or retained prefix holds."""
        ...

    def close(self) -> None:
        """Aborts what runs and gives all memory back. The engine cannot be used afterwards. Twice is fine."""
        ...
