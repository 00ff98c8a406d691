"""What an LM remembers of its calls, kept small and shown when somebody looks."""

from __future__ import annotations

import json
import sys
import uuid
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from lampc.ir import Sampling
from lampc.ir.penalties import told_penalties

if TYPE_CHECKING:
    from lampc.runtime.lm import BaseLM
    from lampc.runtime.models import Answer
    from lampc.runtime.modelview import ModelView


@dataclass(slots=True)
class CallEntry:
    """One call: what was sent (ids for a model on this machine, messages for an endpoint) and what came back."""

    lm: BaseLM
    view: ModelView
    sampling: Sampling
    ids: tuple[int, ...]
    turns: tuple[tuple[str, str], ...]
    answer: Answer
    stored: bool
    time: float
    uuid: str = field(default="")

    def as_dict(self) -> dict[str, Any]:
        """The entry under DSPy's names."""
        from lampc.runtime.answers import counts, shown
        from lampc.runtime.replaced import completion

        if not self.uuid:
            self.uuid = str(uuid.uuid4())
        prompted = len(self.turns) == 1 and self.turns[0][0] == "prompt"
        return {
            "prompt": self.turns[0][1] if prompted else None,
            "messages": None if prompted else self._messages(),
            "kwargs": {**self.lm._said, **said(self.sampling)},
            "response": completion([self.answer], self.lm.model),
            "outputs": [shown(self.answer)],
            "usage": {} if self.stored else counts(self.answer),
            "cost": 0.0 if self.stored else self.view.cost(self.answer),
            "timestamp": datetime.fromtimestamp(self.time, UTC).isoformat(),
            "uuid": self.uuid,
            "model": self.lm.model,
            "response_model": self.lm.model,
            "model_type": self.lm.model_type,
            "error": self.answer.error or None,
        }

    def _messages(self) -> list[dict[str, Any]]:
        from lampc.runtime.remote import message

        if self.turns:
            return [message(*turn) for turn in self.turns]
        tokens = self.view.target.tokens
        text = tokens.decode(list(self.ids)) if tokens is not None else ""
        return [{"role": "prompt", "content": text}]


class History(list[dict[str, Any]]):
    """Entries as a list; what is appended to it is kept where they come from."""

    def __init__(self, entries: Iterable[dict[str, Any]], kept: deque[Any]) -> None:
        super().__init__(entries)
        self._kept = kept

    def append(self, entry: dict[str, Any]) -> None:
        super().append(entry)
        self._kept.append(dict(entry))


def said(sampling: Sampling) -> dict[str, Any]:
    """The options that a call itself says."""
    unsaid = Sampling()
    names = [f.name for f in fields(Sampling) if f.name not in ("firm", "extra")]
    own = {n: v for n in names if (v := getattr(sampling, n)) != getattr(unsaid, n) or n in sampling.firm}
    own.pop("logit_bias", None)
    return {**own, **told_penalties(sampling), **json.loads(sampling.extra or "{}")}


def print_entries(entries: Sequence[Mapping[str, Any]], file: TextIO | None = None) -> None:
    """Print entries: every message by role, then what the model wrote."""
    out = file or sys.stdout
    for entry in entries:
        print(f"\n[{entry.get('timestamp', '')}] {entry.get('model', '')}\n", file=out)
        for message in entry.get("messages") or [{"role": "user", "content": entry.get("prompt")}]:
            print(f"{message['role'].capitalize()} message:\n\n{_text(message.get('content'))}\n", file=out)
        for output in entry.get("outputs", ()):
            text = output["text"] if isinstance(output, dict) else output
            print(f"Response:\n\n{text.strip()}\n", file=out)
            for call in output.get("tool_calls", ()) if isinstance(output, dict) else ():
                print(f"Tool call: {call['function']['name']}({call['function']['arguments']})\n", file=out)
        if entry.get("error"):
            print(f"Error:\n\n{entry['error']}\n", file=out)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(p["text"] if p.get("type") == "text" else f"<{p.get('type')}>" for p in content).strip()
    return str(content or "").strip()
