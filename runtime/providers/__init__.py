"""Models behind an HTTP endpoint that speaks OpenAI's chat completions: hosted services, or servers of one's own."""

from lampc.runtime.providers.answer import ChatAnswer
from lampc.runtime.providers.errors import (
    AccessError,
    BadAnswer,
    ContextError,
    ProviderError,
    RefusedError,
    UnreachableError,
)
from lampc.runtime.providers.openai import OpenAIClient

__all__ = [
    "AccessError",
    "BadAnswer",
    "ChatAnswer",
    "ContextError",
    "OpenAIClient",
    "ProviderError",
    "RefusedError",
    "UnreachableError",
]
