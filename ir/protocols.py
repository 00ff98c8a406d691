"""What passes may know about models without importing an engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Tokens(Protocol):
    """A tokenizer as passes see it."""

    def encode(self, text: str) -> Sequence[int]:
        """Token ids of `text`, nothing added at its ends."""
        ...

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        """Text of ids, special tokens left out."""
        ...


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Sizes that plans need. `kv_bytes_per_token` is 0 and `context_length` a bound for endpoints."""

    name: str
    digest: str
    context_length: int
    kv_bytes_per_token: int = 0
    vocab_size: int = 0


@dataclass(frozen=True, slots=True)
class Glue:
    """How a chat template wraps turns, when it treats each turn alone.

    The text of a conversation is `begin`, then `before[role] + content + after[role]` for each turn, then
    `generation`. `hard` says that each turn begins at a special token, so that turns are tokenised apart;
    `trim` that the template strips white space off both ends of each content.
    """

    begin: str
    before: tuple[tuple[str, str], ...]
    after: tuple[tuple[str, str], ...]
    generation: str
    hard: bool = True
    trim: bool = False

    def knows(self, role: str) -> bool:
        """Whether the template has turns of this role."""
        return any(r == role for r, _ in self.before) and any(r == role for r, _ in self.after)

    def wrap(self, role: str, content: str) -> str:
        """Text of one turn. Raises KeyError for a role that the template does not have."""
        return dict(self.before)[role] + (content.strip() if self.trim else content) + dict(self.after)[role]


class Target(Protocol):
    """What a program is lowered for. `glue` is None if the chat template cannot be cut into turns."""

    @property
    def info(self) -> ModelInfo: ...
    @property
    def tokens(self) -> Tokens | None: ...
    @property
    def glue(self) -> Glue | None: ...
    @property
    def local(self) -> bool:
        """Whether it takes token ids (our engine) or only messages (an endpoint)."""
        ...

    def quote(self, text: str) -> str:
        """`text` that comes from data, with nothing in it that the model would read as a marker of its own."""
        ...

    def render_chat(self, turns: Sequence[tuple[str, str]]) -> str:
        """Text of a whole conversation with the generation prompt, as the chat template renders it."""
        ...
