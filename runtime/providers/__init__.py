"""Models behind an HTTP endpoint that speaks OpenAI's chat completions: hosted services, or servers of one's own."""

from lampc.runtime.providers.answer import ChatAnswer
from lampc.runtime.providers.openai import OpenAIClient
from lampc.runtime.providers.prices import Price

__all__ = ["ChatAnswer", "OpenAIClient", "Price"]
