"""Diagnostics of templates, placed at line and column of the template."""

from __future__ import annotations

from dataclasses import dataclass, field

from lampc.ir.diag import CompileError, Diagnostic, Label, Source, explain
from lampc.ir.loc import Span

explain(
    {
        "L0951": "a template does not parse\nJinja2 cannot read the template. The message is Jinja2's own.",
        "L0952": "a tag has no translation\nA template becomes text, slots, and conditions and loops over one slot. "
        "Tags that load other templates, define things or call code would have to be run as a program at each call, "
        "which hides from the compiler what the prompt is made of.",
        "L0953": "an expression has no translation\nExpressions are names, attributes, constants, comparisons, "
        "conditions, `~`, `+`, `-`, filters and tests. Calls and private attributes are not among them.",
        "L0954": "a template names something unknown\nA template sees the inputs of its signature, `instruction`, "
        "`demos`, and `inputs` and `outputs`, which describe the fields (name, type, desc).",
        "L0955": "a filter or test has no translation\nFilters and tests are Jinja2's own that depend on their value "
        "alone, so that the same row always gives the same prompt.",
        "L0956": "a block depends on several slots\nWhat stands between two tags, or in one `{{ }}`, becomes one slot, "
        "and a slot holds one input (or the demos, or the instruction). Split the block, so that each part uses one.",
    }
)


@dataclass(slots=True)
class Findings:
    """What is wrong with one template text, in the order of the text."""

    source: Source
    found: list[Diagnostic] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Names that a tag without a translation would have defined: that tag is the finding, not their uses."""

    def add(self, code: str, message: str, at: int, length: int = 1, help: str = "") -> None:
        """A finding at an offset of the text."""
        line = self.source.text.count("\n", 0, at) + 1
        column = at - (self.source.text.rfind("\n", 0, at) + 1) + 1
        span = Span(self.source.path, line, column, line, column + max(1, length))
        self.found.append(Diagnostic(code, message, Label(span), help=help))

    def check(self) -> None:
        """Raises CompileError if there is any finding."""
        if self.found:
            ordered = sorted(
                self.found, key=lambda d: (d.primary.span.line, d.primary.span.column) if d.primary else (0, 0)
            )
            raise CompileError(ordered, [self.source])
