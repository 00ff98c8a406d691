"""A template as a value, and as the name of a layout, so that programs that use it print, save and load whole."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from lampc.ir.diag import Source

if TYPE_CHECKING:
    from lampc.ir.content import Signature
    from lampc.ir.templates.layout import TemplateLayout
    from lampc.ir.templates.slots import SlotLayout

PREFIX = "template:"
SLOT = "slot:"
ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Template:
    """A prompt as Jinja2 texts, one a turn.

    `user` is the last turn and what is before it in a single-turn prompt; `system` goes first. `turns` are further
    (role, text) pairs between the two. `demo` is a pair of texts, user and assistant, for turns that show one demo
    each, in which its fields are the names; without it, demos stand where a text loops over `demos`. `reads` names the
    layout that reads the answer; by default an only output of type str is the whole answer, and `chat` reads others.
    `trim_blocks` and `lstrip_blocks` are Jinja2's. `path` is what diagnostics call the template.
    """

    user: str
    system: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    demo: tuple[str, str] | None = None
    reads: str = ""
    trim_blocks: bool = False
    lstrip_blocks: bool = False
    path: str = "<template>"

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", tuple((role, text) for role, text in self.turns))
        if self.demo is not None:
            first, second = self.demo
            object.__setattr__(self, "demo", (first, second))
        odd = next((role for role, _ in self.turns if role not in ROLES), None)
        if odd is not None:
            raise ValueError(f"a turn's role is one of {', '.join(ROLES)}, not {odd!r}")

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> Self:
        """The `user` turn from a file. Raises OSError."""
        return cls(Path(path).read_text(encoding="utf-8"), path=str(path), **options)

    @classmethod
    def of(cls, template: Template | str | Sequence[Mapping[str, str]]) -> Template:
        """A text, or chat messages (`{"role": ..., "content": ...}`) whose last is the user's. Raises ValueError."""
        if isinstance(template, Template):
            return template
        if isinstance(template, str):
            return Template(template)
        turns = [(m["role"], m["content"]) for m in template]
        if not turns or turns[-1][0] != "user":
            raise ValueError("the last message of a template is the user's")
        first = turns[0][1] if turns[0][0] == "system" else ""
        return Template(turns[-1][1], first, tuple(turns[1 if first else 0 : -1]))

    def layout(self) -> str:
        """The name of the layout."""
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return PREFIX + json.dumps(changed, ensure_ascii=False)

    def slot(self, piece: str) -> str:
        """The name of the adapter of one of its pieces."""
        flags = ("t" if self.trim_blocks else "") + ("l" if self.lstrip_blocks else "")
        return f"{SLOT}{flags}:{piece}"

    def texts(self) -> list[tuple[str, Source]]:
        """(role, text) of its turns in order, each named for diagnostics."""
        out = [("system", Source(self._named("system"), self.system))] if self.system else []
        out += [(role, Source(self._named(f"turn {i}"), text)) for i, (role, text) in enumerate(self.turns, 1)]
        return [*out, ("user", Source(self.path, self.user))]

    def _named(self, part: str) -> str:
        return f"{self.path} ({part})"

    def demo_texts(self) -> tuple[Source, Source] | None:
        if self.demo is None:
            return None
        return Source(self._named("demo, user"), self.demo[0]), Source(self._named("demo, assistant"), self.demo[1])

    def check(self, signature: Signature) -> None:
        """Raises CompileError if it cannot be translated for a signature."""
        from lampc.ir.templates.layout import TemplateLayout

        TemplateLayout(self).render(signature, "check")


@functools.lru_cache(maxsize=512)
def template_layout(name: str) -> TemplateLayout | SlotLayout:
    """The adapter that a name of `Template.layout` or `Template.slot` stands for. Raises ValueError."""
    from lampc.ir.templates.layout import TemplateLayout
    from lampc.ir.templates.slots import SlotLayout

    if name.startswith(SLOT):
        flags, _, piece = name.removeprefix(SLOT).partition(":")
        return SlotLayout(piece, "t" in flags, "l" in flags, name)
    try:
        values = json.loads(name.removeprefix(PREFIX))
        return TemplateLayout(Template(**values))
    except (TypeError, ValueError) as e:
        raise ValueError(f"a template as a layout is written by Template(...).layout(); this one is not: {e}") from None
