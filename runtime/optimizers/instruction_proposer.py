"""`InstructionProposer`: what GEPA's reflection model is told beside the calls and the remarks on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir.settings import settings
from lampc.passes.optimize.jobs import CallJob

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

    def proposer(self, model: str, max_tokens: int = 1024) -> Reflect:
        """The proposer that asks `model` so, at that model's own temperature."""
        from lampc.passes.optimize.proposers.reflect import Reflect

        return Reflect(
            prompt_model=model,
            temperature=0.0,
            max_tokens=max_tokens,
            layout=self.layout,
            guidance=(self.additional_instructions or "").strip(),
            instead=(self.base_instructions or "").strip(),
            reference="\n\n".join(self.skills),
            max_chars=self.max_chars or 0,
        )

    def __call__(
        self,
        candidate: Mapping[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: Sequence[str],
    ) -> dict[str, str]:
        """New instructions by the configured LM: for code that proposes by means of this one. What comes to nothing is
        left out."""
        from lampc.ir import Module
        from lampc.passes.optimize.proposers.reflect import Reflected
        from lampc.runtime.budget import Spending
        from lampc.runtime.configure import session_of
        from lampc.runtime.optimizers.mipro import proposal_tokens
        from lampc.runtime.outside import Outside

        names = [n for n in components_to_update if n in candidate and n in reflective_dataset]
        asks = self.proposer("", proposal_tokens(settings.get("lm")))
        outside = Outside(session_of("a proposer"), Module(), Spending(), {})
        shown = [[_shown(record) for record in reflective_dataset[n]] for n in names]
        drafts = Reflected(
            asks, [asks.write(candidate[n], calls, i) for i, (n, calls) in enumerate(zip(names, shown, strict=True))]
        )
        while not drafts.done:
            jobs = [job for job in drafts.ask(len(names)) if isinstance(job, CallJob)]
            for job, answer in zip(jobs, outside.calls(jobs), strict=True):
                drafts.tell(job, answer)
        return {n: text for n, text in zip(names, drafts.texts, strict=True) if text}


def _shown(record: Mapping[str, Any]) -> str:
    """A record of DSPy's form as text."""

    def said(value: Any) -> str:
        return "\n".join(f"  {k}: {v}" for k, v in value.items()) if isinstance(value, Mapping) else str(value)

    parts = (("given", "Inputs"), ("answered", "Generated Outputs"), ("remark", "Feedback"))
    return "\n".join(f"{title}:\n{said(record[key])}" for title, key in parts if key in record)


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
