"""Chat templates: Jinja2 in a sandbox, with the helpers that templates of checkpoints rely on."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from lampc.backend.errors import CheckpointError

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""The template of the bundled model and of `ByteTokenizer`: every marker is a token of its own."""


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    # Jinja2's own filter escapes for HTML, which would change prompts.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


class ChatTemplate:
    """A compiled chat template. Raises CheckpointError if the source is no valid template."""

    def __init__(self, source: str, special: dict[str, str]) -> None:
        env = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        env.filters["tojson"] = _tojson
        env.globals["raise_exception"] = _raise
        self._special = special
        try:
            self._template = env.from_string(source)
        except TemplateError as error:
            raise CheckpointError(f"the chat template does not compile: {error}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """The conversation as one text; `tools` are functions in OpenAI's form, for templates that tell them to the
        model. Raises ValueError with the template's own complaint."""
        given = {} if tools is None else {"tools": tools}
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=add_generation_prompt, **given, **self._special
            )
        except TemplateError as error:
            raise ValueError(f"the chat template refuses these messages: {error}") from error
