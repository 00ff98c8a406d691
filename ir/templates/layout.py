"""The layout that a template makes: its turns as a prompt, and the reader of its answers."""

from __future__ import annotations

from typing import Any

from lampc.ir.adapters.schema import is_history
from lampc.ir.attrs import thaw
from lampc.ir.content import Demo, Field, Signature
from lampc.ir.diag import Source
from lampc.ir.prompt import Demos, Input, Output, Prompt, Turn
from lampc.ir.templates.codes import Findings
from lampc.ir.templates.scan import environment, normalized
from lampc.ir.templates.slots import piece_text
from lampc.ir.templates.template import Template
from lampc.ir.templates.translate import translate
from lampc.ir.types import STR


class TemplateLayout:
    """See the module's text."""

    strict = False

    def __init__(self, template: Template) -> None:
        self.template = template
        self.name = template.layout()

    def render(self, signature: Signature, predictor: str) -> Prompt:
        """Raises CompileError if the template cannot be translated for this signature."""
        *before, (role, source) = self.template.texts()
        turns = [Turn(r, translate(self.template, s, signature, predictor)) for r, s in before]
        demo = self.template.demo_texts()
        if demo is not None:
            for text in demo:
                self._check_demo(text, signature)
            turns.append(Turn("demos", (Demos(predictor, self.name),)))
        conversations = [(i, f) for i, f in enumerate(signature.inputs) if is_history(f)]
        turns += [Turn("history", (Input(i, f, self.template.reads or "chat"),)) for i, f in conversations]
        turns.append(Turn(role, translate(self.template, source, signature, predictor)))
        turns.append(Turn("assistant", (Output(tuple(f.name for f in signature.outputs)),)))
        return Prompt(tuple(turns))

    def _check_demo(self, source: Source, signature: Signature) -> None:
        """A demo's text sees the fields of the demo, inputs and outputs alike; its parts may depend on several."""
        from jinja2 import TemplateSyntaxError

        from lampc.ir.templates.check import Check
        from lampc.ir.templates.scan import parts

        text = normalized(source.text)
        findings = Findings(Source(source.path, text))
        names = {f.name: f.type for f in (*signature.inputs, *signature.outputs)}
        env = environment(self.template.trim_blocks, self.template.lstrip_blocks)
        try:
            env.parse(text)
        except TemplateSyntaxError:
            translate(self.template, source, signature, "demo")  # says what and where
        for part in parts(text, self.template.trim_blocks, self.template.lstrip_blocks, findings):
            if part.tokens:
                check = Check(part, names, (), findings)
                for node in env.parse(part.text).body:
                    check.walk(node, {})
        findings.check()

    def instruction(self, text: str) -> str:
        return text

    def value(self, value: Any, field: Field) -> str:
        return str(value)

    def history(self, signature: Signature, value: Any) -> list[tuple[str, str]]:
        return []

    def order(self, signature: Signature, demos: tuple[Demo, ...]) -> tuple[Demo, ...]:
        return demos

    def demo(self, signature: Signature, demo: Demo) -> list[tuple[str, str]]:
        if self.template.demo is None:
            return []
        t, values = self.template, thaw(demo.values)
        texts = (piece_text(normalized(text), t.trim_blocks, t.lstrip_blocks, values) for text in self.template.demo)
        return list(zip(("user", "assistant"), texts, strict=True))

    def parse(self, signature: Signature, text: str) -> dict[str, Any]:
        """Outputs by name. Raises ParseFailure."""
        from lampc.ir.adapters.registry import adapter

        reader = self.reads_as(signature)
        return adapter(reader).parse(signature, text) if reader else {signature.outputs[0].name: text.strip()}

    def reads_as(self, signature: Signature) -> str:
        """The layout of the answers; "" where the whole answer is the one output."""
        whole = len(signature.outputs) == 1 and signature.outputs[0].type == STR
        return self.template.reads or ("" if whole else "chat")
