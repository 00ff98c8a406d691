"""Runs: the stretches of a prompt that are tokenised alone, and their text.

A prompt is cut only where the chat template puts a special token, so tokenising its runs one by one gives the ids of
the whole. `run_text` is the one place that turns a run into text; executor, plans and tests get it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lampc.ir.adapters import Bound, segment_text
from lampc.ir.adapters.bind import bind_turns, shown_turns
from lampc.ir.adapters.schema import is_history
from lampc.ir.prompt import MANY, Demos, Input, Output, Prompt, Run, Segment, Text
from lampc.ir.protocols import Glue, Target


def cut(prompt: Prompt, glue: Glue | None, behind: bool = False) -> tuple[Run, ...]:
    """The runs of a prompt under a chat template.

    One run for each turn, the demos together in one, and the history; the first also holds what opens the conversation,
    the last what asks for the answer. A template that cannot be cut into turns gives a single run of the whole prompt.
    With `behind` they stand behind an answer, whose turn the first of them ends.
    """
    turns = [t for t in prompt.turns if not any(isinstance(s, Output) for s in t.segments)]
    if glue is None or not cuts(prompt, glue):
        return (Run(turns=prompt.turns),)
    opening = dict(glue.after)["assistant"] if behind else glue.begin
    parts = [_Part(opening)] if turns and turns[0].role in MANY else []
    for turn in turns:
        begin = opening if not parts else ""
        if turn.role in MANY:
            parts.append(_Part("", turn.segments, many=True))
        else:
            before, after = dict(glue.before)[turn.role], dict(glue.after)[turn.role]
            parts.append(_Part(begin + before, turn.segments, after, glue.hard))
    if not parts or parts[-1].many:
        parts.append(_Part(""))
    parts[-1] = replace(parts[-1], tail=parts[-1].tail + glue.generation)
    if not glue.hard:
        return (Run(_merged([s for p in parts for s in p.segments(False)])),)
    return tuple(Run(made) for p in parts if (made := p.segments(glue.trim)))


@dataclass(slots=True)
class _Part:
    """What becomes one run: glue, the content of a turn, glue."""

    head: str
    content: tuple[Segment, ...] = ()
    tail: str = ""
    hard: bool = False
    many: bool = False

    def segments(self, trim: bool) -> tuple[Segment, ...]:
        """The run's segments; where contents are stripped, glue stays apart from content, even if empty."""
        head, tail = Text(self.head, self.hard), Text(self.tail)
        if trim and self.content and not self.many:
            return (head, *_merged(self.content), tail)
        return _merged((head, *self.content, tail))


def run_text(run: Run, bound: Bound, inputs: Sequence[Any], target: Target) -> str:
    """Text of a run under one predictor's parameters; `inputs` are the values of its slots, by index.

    Raises ValueError if the run was cut for another chat template than the target's.
    """
    if run.turns:
        return target.render_chat(bind_turns(run.turns, bound, inputs, target.quote))
    glue = target.glue
    if glue is None:
        raise ValueError("this run was cut for a chat template that wraps each turn alone; the target's does not")
    texts = [_text(s, bound, inputs, target, glue) for s in run.segments]
    if glue.trim and len(texts) > 2:  # glue, content, glue: see `_Part.segments`
        texts[1:-1] = ["".join(texts[1:-1]).strip()]
    return "".join(texts)


UNKNOWN: Any = object()
"""Stands for the value of an input that is not there yet."""


def begun_text(run: Run, bound: Bound, inputs: Sequence[Any], target: Target) -> str:
    """What the text of a run begins with, whatever those of its `inputs` are that are `UNKNOWN`."""
    glue = target.glue
    if run.turns or glue is None:
        return ""
    texts: list[str] = []
    for s in run.segments:
        if isinstance(s, Input) and inputs[s.index] is UNKNOWN:
            break
        texts.append(_text(s, bound, inputs, target, glue))
    if glue.trim and len(run.segments) > 2:
        texts[1:] = ["".join(texts[1:]).strip()]
    return "".join(texts)


def _text(segment: Segment, bound: Bound, inputs: Sequence[Any], target: Target, glue: Glue) -> str:
    if isinstance(segment, Demos) or (isinstance(segment, Input) and is_history(segment.field)):
        return "".join(glue.wrap(role, text) for role, text in shown_turns(segment, bound, inputs, target.quote))
    return segment_text(segment, bound, inputs, target.quote)


def cuts(prompt: Prompt, glue: Glue) -> bool:
    """Whether the template's turns can be told apart for this prompt."""
    turns = [t for t in prompt.turns if not any(isinstance(s, Output) for s in t.segments)]
    roles = {r for t in turns for r in (("user", "assistant") if t.role in MANY else (t.role,))}
    return all(map(glue.knows, roles)) and (glue.hard or not glue.trim)


def _merged(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Neighbouring texts joined, empty ones left out."""
    out: list[Segment] = []
    for s in segments:
        if isinstance(s, Text) and not s.text:
            continue
        if isinstance(s, Text) and out and isinstance(out[-1], Text):
            out[-1] = Text(out[-1].text + s.text, out[-1].hard)
        else:
            out.append(s)
    return tuple(out)
