"""`InstructionProposer`: what GEPA's reflection model is told beside the calls and the remarks on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lampc.passes.optimize.proposers.reflect import Reflect

_ENDINGS = (".md", ".markdown", ".txt")


class InstructionProposer:
    """Arguments are DSPy's: `skills` is reference material (files, folders with a `SKILL.md`, or texts of more than one
    line), `additional_instructions` are added to what the model is told, `base_instructions` take its place; a text of
    more than `max_chars` characters is sent back once to be shortened, and dropped if it stays too long. `adapter` is
    how the model is asked, JSON by default.
    """

    def __init__(
        self,
        skills: str | Path | Sequence[str | Path] | None = None,
        additional_instructions: str | None = None,
        base_instructions: str | None = None,
        max_chars: int | None = None,
        truncate_history_outputs: bool = False,
        adapter: Any | None = None,
    ) -> None:
        if max_chars is not None and (isinstance(max_chars, bool) or not isinstance(max_chars, int) or max_chars <= 0):
            raise ValueError(f"max_chars is a number above 0, or None, not {max_chars!r}")
        if truncate_history_outputs:
            raise ValueError("truncate_history_outputs is not supported: conversations are shown whole")
        self.layout = (
            "json" if adapter is None else adapter if isinstance(adapter, str) else getattr(adapter, "name", "")
        )
        if not self.layout:
            raise TypeError(f"adapter is an adapter or the name of one, not {type(adapter).__name__}")
        self.skills = tuple(_skill(s) for s in ([skills] if isinstance(skills, str | Path) else skills or ()))
        self.additional_instructions = additional_instructions
        self.base_instructions = base_instructions
        self.max_chars = max_chars

    def proposer(self, model: str) -> Reflect:
        """The proposer that asks `model` so, at that model's own temperature."""
        from lampc.passes.optimize.proposers.reflect import Reflect

        return Reflect(
            prompt_model=model,
            temperature=0.0,
            layout=self.layout,
            guidance=(self.additional_instructions or "").strip(),
            instead=(self.base_instructions or "").strip(),
            reference="\n\n".join(self.skills),
            max_chars=self.max_chars or 0,
        )


def _skill(source: str | Path) -> str:
    """A skill's text. Raises FileNotFoundError for a path that leads nowhere, ValueError for an empty text."""
    path = Path(source).expanduser() if isinstance(source, Path) or _is_path(source) else None
    if path is None:
        text = str(source)
    else:
        file = path / "SKILL.md" if path.is_dir() else path
        if not file.is_file():
            raise FileNotFoundError(f"skill {str(source)!r}: there is no file {file}; a text has more than one line")
        text = file.read_text(encoding="utf-8")
    if not text.strip():
        raise ValueError(f"skill {str(source)!r} is empty")
    return text.strip()


def _is_path(text: str) -> bool:
    stripped = text.strip()
    if "\n" in stripped or not stripped:
        return False
    looks = " " not in stripped and ("/" in stripped or stripped.lower().endswith(_ENDINGS))
    return looks or stripped.startswith(("./", "../", "~/", "/")) or (len(stripped) < 200 and Path(stripped).exists())
