"""Chat templates cut into turns: only where that gives the very text and ids of the whole."""

from __future__ import annotations

from typing import Any

import pytest

from lampc.backend import ByteTokenizer
from lampc.backend.chat import ChatTemplate
from lampc.ir import ModelInfo
from lampc.runtime.target import LocalTarget

CHATML = (
    "{% for m in messages %}<|user|>{{ m['role'] }}\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|user|>assistant\n{% endif %}"
)
TRIMMED = (
    "<|system|>{% for m in messages %}<|{{ m['role'] }}|>\n\n{{ m['content'] | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n\n{% endif %}"
)
DEFAULT_SYSTEM = "{% if messages[0]['role'] != 'system' %}<|system|>Be kind.<|end|>{% endif %}" + CHATML
NUMBERED = CHATML.replace("{{ m['role'] }}", "{{ m['role'] }} {{ loop.index }}")
NO_SPECIAL = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


class Templated(ByteTokenizer):
    def __init__(self, template: str) -> None:
        super().__init__()
        self.source = template
        self._template = ChatTemplate(template, {})

    @property
    def chat_template(self) -> str | None:
        return self.source


def target(tokenizer: Any) -> LocalTarget:
    return LocalTarget(ModelInfo("m", "d", 4096), tokenizer)


@pytest.mark.parametrize("template", [CHATML, TRIMMED, None])
@pytest.mark.parametrize("roles", [["user"], ["system", "user"], ["system", "user", "assistant", "user"]])
def test_glued_turns_are_the_rendered_conversation(template: str | None, roles: list[str]) -> None:
    tokenizer = ByteTokenizer() if template is None else Templated(template)
    made = target(tokenizer)
    glue = made.glue
    assert glue is not None
    turns = [(r, f" {r}\n {i} ") for i, r in enumerate(roles)]
    pieces = [*(glue.wrap(r, c) for r, c in turns), glue.generation]
    pieces[0] = glue.begin + pieces[0]
    whole = made.render_chat(turns)
    assert "".join(pieces) == whole
    assert [i for p in pieces for i in tokenizer.encode(p)] == tokenizer.encode(whole)


@pytest.mark.parametrize("template", [NUMBERED, NO_SPECIAL])
def test_templates_that_cannot_be_cut_are_left_whole(template: str) -> None:
    assert target(Templated(template)).glue is None


def test_a_template_that_adds_a_system_turn_of_its_own_is_left_whole() -> None:
    made = target(Templated(DEFAULT_SYSTEM))
    assert made.glue is None
    assert "Be kind." in made.render_chat([("user", "hello")])
    assert "Be kind." not in made.render_chat([("system", "Be brief."), ("user", "hello")])


def test_a_checkpoint_without_template_gets_plain_paragraphs() -> None:
    class Bare(ByteTokenizer):
        @property
        def chat_template(self) -> str | None:
            return None

    made = target(Bare())
    assert made.glue is None
    assert made.render_chat([("system", "Be kind."), ("user", "Hi")]) == "System: Be kind.\n\nUser: Hi\n\nAssistant:"
