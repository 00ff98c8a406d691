"""Answers as programs see them: token counts under OpenAI's names, a text or what is beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.runtime.models import Answer


def counts(answer: Answer) -> dict[str, Any]:
    """Token counts under OpenAI's names."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.generated_tokens,
        "total_tokens": answer.prompt_tokens + answer.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
    }


def shown(answer: Answer) -> Any:
    """A text, or a dict where there is more than text."""
    if not (answer.tool_calls or answer.reasoning):
        return answer.text
    out: dict[str, Any] = {"text": answer.text}
    if answer.reasoning:
        out["reasoning_content"] = answer.reasoning
    if answer.tool_calls:
        out["tool_calls"] = list(answer.tool_calls)
    return out
