"""What a program is lowered for: a local model's tokenizer and chat template, or an endpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lampc.ir import Glue, ModelInfo
from lampc.ir.media import TextOnly, text_only
from lampc.runtime.failures import RowFailure

if TYPE_CHECKING:
    from lampc.backend import TextTokenizer

_ROLES = ("system", "user", "assistant")


class LocalTarget:
    """A model of ours. A checkpoint without a chat template gets plain `Role: text` paragraphs."""

    local = True

    def __init__(self, info: ModelInfo, tokenizer: TextTokenizer) -> None:
        self.info = info
        self.tokens = tokenizer

    @functools.cached_property
    def _quote(self) -> Callable[[str], str]:
        from lampc.backend.quoting import Quoter

        return Quoter(self.tokens.special_tokens)

    def quote(self, text: str) -> str:
        """Text with every special token of the tokenizer broken up, see `lampc.backend.quoting`. Raises RowFailure for
        media, which models here do not read."""
        try:
            return self._quote(text_only(text, self.info.name))
        except TextOnly as e:
            raise RowFailure(str(e), kind="media") from None

    def render_chat(self, turns: Sequence[tuple[str, str]]) -> str:
        """Text of a conversation with the generation prompt at its end."""
        return self._render(turns, True)

    def continuation(self, turns: Sequence[tuple[str, str]], answer: str) -> str:
        """What an answer to a conversation is as text behind `render_chat`, with what the template ends it by. A
        template that writes what was answered in another way leaves the answer alone."""
        whole, prompt = self._render([*turns, ("assistant", answer)], False), self.render_chat(turns)
        return whole[len(prompt) :] if whole.startswith(prompt) else answer

    def _render(self, turns: Sequence[tuple[str, str]], generation: bool) -> str:
        if self.tokens.chat_template is None:
            text = "".join(f"{role.capitalize()}: {content}\n\n" for role, content in turns)
            return text + ("Assistant:" if generation else "")
        return self.tokens.render_chat([{"role": r, "content": c} for r, c in turns], generation)

    @functools.cached_property
    def glue(self) -> Glue | None:
        """How the template wraps single turns, or None if it does not treat each turn alone.

        Found by rendering marked contents and held against several conversations; turns must begin at
        special tokens, so that tokenising them apart gives the same ids (`compositional` is checked too).
        """
        try:
            found = self._derive()
        except Exception:
            return None  # a template may refuse the probes (roles it does not know); then prompts stay whole
        specials = tuple(self.tokens.special_tokens)
        starts = [text for _, text in found.before] + [found.generation]
        if not specials or not all(s.startswith(specials) for s in starts) or not self.tokens.compositional():
            return None
        for glue in (found, replace(found, trim=True)):
            if all(self._agrees(glue, roles) for roles in _PROBES):
                return glue
        return None

    def _derive(self) -> Glue:
        user_tail = self._tail([("user", _mark(0))])
        answered = [("user", _mark(0)), ("assistant", _mark(1))]
        assistant_tail = self._tail(answered)
        between = self._between(answered, 0)
        assistant_head = _strip(between, user_tail)
        again = [*answered, ("user", _mark(2))]
        user_head = _strip(self._between(again, 1), assistant_tail)
        head = self._render([("user", _mark(0))], False).split(_mark(0))[0]
        begin = head[: len(head) - len(user_head)]
        if begin + user_head != head:
            raise ValueError("the first turn begins differently")
        with_system = [("system", _mark(0)), ("user", _mark(1))]
        system_head = _strip(self._render(with_system, False).split(_mark(0))[0], begin)
        inner = self._between(with_system, 0)
        system_tail = inner[: len(inner) - len(user_head)]
        generation = _strip(self._render([("user", _mark(0))], True).split(_mark(0))[1], user_tail)
        return Glue(
            begin,
            (("system", system_head), ("user", user_head), ("assistant", assistant_head)),
            (("system", system_tail), ("user", user_tail), ("assistant", assistant_tail)),
            generation,
        )

    def _tail(self, turns: list[tuple[str, str]]) -> str:
        return self._render(turns, False).split(turns[-1][1])[1]

    def _between(self, turns: list[tuple[str, str]], i: int) -> str:
        return self._render(turns, False).split(turns[i][1])[1].split(turns[i + 1][1])[0]

    def _agrees(self, glue: Glue, roles: Sequence[str]) -> bool:
        # spaces and breaks at the ends of contents expose templates that trim
        turns = [(role, f" \n{_mark(i)}\n ") for i, role in enumerate(roles)]
        glued = glue.begin + "".join(glue.wrap(r, c) for r, c in turns) + glue.generation
        return glued == self.render_chat(turns)


_PROBES = (
    ("user",),
    ("system", "user"),
    ("system", "user", "assistant", "user"),
    ("user", "assistant", "user", "assistant", "user"),
)


def _mark(i: int) -> str:
    return f"\x02{i}\x03"


def _strip(text: str, prefix: str) -> str:
    if not text.startswith(prefix):
        raise ValueError("turns are not wrapped alone")
    return text[len(prefix) :]


class RemoteTarget:
    """An endpoint: takes messages, not tokens."""

    local = False
    tokens = None
    glue = None

    def __init__(self, info: ModelInfo) -> None:
        self.info = info

    def quote(self, text: str) -> str:
        """The text as it is: the endpoint gets messages and knows what is data."""
        return text

    def render_chat(self, turns: Sequence[tuple[str, str]]) -> str:
        """A readable form; the endpoint applies its own template."""
        return shown(turns)


def shown(turns: Sequence[tuple[str, str]]) -> str:
    """Text of a conversation with an endpoint, whose template nobody knows."""
    return "".join(f"[{role}]\n{content}\n\n" for role, content in turns)
