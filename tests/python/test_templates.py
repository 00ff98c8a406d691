"""Jinja2 templates as layouts: equal to what Jinja2 renders, and diagnostics for what is not translated."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lampc
from lampc.backend import FakeEngine
from lampc.frontend.python import trace
from lampc.ir import CompileError, Demo, DemoSet, Sampling, freeze
from lampc.ir.adapters import Bound, adapter, bind_prompt
from lampc.ir.content import Signature
from lampc.ir.prompt import Guide, Input, Instruction, Shots, Text
from lampc.ir.templates import Template, translate
from lampc.ir.templates.translate import described
from lampc.ir.text import parse_module
from lampc.runtime.session import Session
from lampc.runtime.types import Row

GOLDEN = Path(__file__).parent / "golden" / "templates"
SIGNATURE: Signature = lampc.Signature(
    "question: str, context: list[str], hint: Optional[str], n: int, people: list[dict[str, str]] -> answer: str",
    "Answer the question.",
).ir()

# -- what is translated ---------------------------------------------------------------------------------------

PIECES = [
    "Plain text, with {braces} and % signs.\n",
    "{{ question }}",
    "{{ question | trim | upper }}\n\n",
    "{{ question[:5] ~ '...' }} ",
    "{{ question | replace('a', \"b\") | truncate(9) }}",
    "{% for p in context %}\n[{{ loop.index }}] {{ p }}{% if not loop.last %},{% endif %}\n{% else %}no\n{% endfor %}",
    "{%- for p in context -%} {{ p | indent(2) }} {%- endfor -%}\n",
    "{{ context | join(', ') }}",
    "{{ context | length }} passages{{ 's' if context | length > 1 }}",
    "{% if hint %}Hint: {{ hint }}\n{% endif %}",
    "{% if hint is none %}no hint{% elif hint|length > 3 %}long{% else %}{{ hint }}{% endif %}",
    "{{ hint | default('none', true) }}",
    "{{ n }} {{ n + 1 }} {{ -n }} {{ n % 3 == 0 }}",
    "{{ n | tojson }} {{ people | tojson }}",
    "{% for p in people %}{{ p.name }} ({{ p['job'] | default('?') }}){% endfor %}",
    "{% for p in people if p.name %}{{ p.name | title }} {% endfor %}",
    "{{ people | map(attribute='name') | join('; ') }}",
    "{{ people | selectattr('job') | list | length }}",
    "{% raw %}{{ question }} {% if %}{% endraw %}",
    "{# a comment {{ question }} #}",
    "  {%- if n > 2 %} many {%+ endif -%}  \n",
    "{{ instruction }}\n",
    "{{ instruction | indent(4, first=true) }}",
    "{% for d in demos %}Q: {{ d.question }} A: {{ d.answer }}\n{% endfor %}",
    "{% if demos %}{{ demos | length }} examples, first {{ demos[0].answer }}\n{% endif %}",
    "{% for f in outputs %}{{ f.name }}: {{ f.type }}{% endfor %}",
    "{{ inputs | map(attribute='name') | join(', ') }}\r\n",
    "{{ 'constant' | upper }}",
    "\n",
]
WORDS = st.text("ab <>&«\n{}%'\"é", max_size=12)
ROWS = st.fixed_dictionaries(
    {
        "question": WORDS,
        "context": st.lists(WORDS, max_size=3),
        "hint": st.none() | WORDS,
        "n": st.integers(-9, 9),
        "people": st.lists(st.dictionaries(st.sampled_from(["name", "job"]), WORDS), max_size=2),
    }
)
DEMOS = st.lists(st.fixed_dictionaries({"question": WORDS, "answer": WORDS}), max_size=2)


def bound(template: Template, demos: list[dict[str, Any]], instruction: str) -> Bound:
    made = DemoSet(tuple(Demo(freeze(d)) for d in demos))
    return Bound("p", SIGNATURE, instruction, made, template.layout(), "main")


def rendered(template: Template, row: dict[str, Any], demos: list[dict[str, Any]], instruction: str) -> list[Any]:
    at = bound(template, demos, instruction)
    return bind_prompt(adapter(at.layout).render(SIGNATURE, "p"), at, [row[f.name] for f in SIGNATURE.inputs])


TEXTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8)
CASES = st.tuples(TEXTS, ROWS, DEMOS, WORDS, st.booleans(), st.booleans())


@settings(max_examples=200, deadline=None)
@given(CASES)
def test_texts_are_those_that_jinja_renders(case: Any) -> None:
    same_as_jinja(*case)


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None)
@given(CASES)
def test_ten_thousand_texts_are_those_that_jinja_renders(case: Any) -> None:
    same_as_jinja(*case)


def same_as_jinja(pieces: list[str], row: Any, demos: Any, instruction: str, trim: bool, lstrip: bool) -> None:
    text = "".join(pieces)
    template = Template(text, trim_blocks=trim, lstrip_blocks=lstrip)
    values = {**row, "demos": demos, "instruction": instruction, **described(SIGNATURE)}
    wanted = jinja2.Environment(trim_blocks=trim, lstrip_blocks=lstrip).from_string(text).render(values)
    assert rendered(template, row, demos, instruction) == [("user", wanted)]


def test_every_piece_becomes_the_segment_that_it_should() -> None:
    kinds = {
        "{{ question }}": Input,
        "{% if hint %}x{% endif %}": Input,
        "{{ instruction }}": Instruction,
        "{{ demos | length }}": Shots,
        "{{ outputs | length }}": Guide,
        "{{ 'a' ~ 'b' }}": Text,
    }
    for piece, kind in kinds.items():
        template = Template(f"before {piece} after")
        (_, source) = template.texts()[0]
        segments = translate(template, source, SIGNATURE, "p")
        assert [type(s) for s in segments] == ([Text] if kind is Text else [Text, kind, Text])
    # constants join the text beside them, so that they are tokenised with it
    assert translate(template, source, SIGNATURE, "p") == (Text("before ab after"),)


def test_turns_and_demos_as_turns() -> None:
    template = Template(
        system="{{ instruction }}",
        turns=(("user", "Hello"), ("assistant", "Yes?")),
        demo=("Q: {{ question }}{% if hint %} ({{ hint }}, {{ n }}){% endif %}", "A: {{ answer }}\n"),
        user="Q: {{ question }}",
    )
    row = {"question": "why", "context": [], "hint": None, "n": 0, "people": []}
    assert rendered(template, row, [{"question": "who", "answer": "me", "hint": "h", "n": 3}], "Be brief.") == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Yes?"),
        ("user", "Q: who (h, 3)"),
        ("assistant", "A: me"),
        ("user", "Q: why"),
    ]
    assert Template.of([{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]) == Template("b", "a")
    with pytest.raises(ValueError, match="last message of a template is the user's"):
        Template.of([{"role": "assistant", "content": "a"}])
    with pytest.raises(ValueError, match="role is one of system, user, assistant, not 'tool'"):
        Template("x", turns=(("tool", "y"),))


def test_conversations_stand_before_the_last_turn() -> None:
    signature = lampc.Signature("question, history: lampc.History -> answer", custom_types={"lampc": lampc}).ir()
    at = Bound("p", signature, "", DemoSet(), Template("Now: {{ question }}").layout(), "main")
    past = {"messages": [{"question": "who?", "answer": "me"}]}
    turns = bind_prompt(adapter(at.layout).render(signature, "p"), at, ["why?", past])
    assert [role for role, _ in turns] == ["user", "assistant", "user"]
    assert "who?" in turns[0][1]
    assert turns[-1] == ("user", "Now: why?")
    with pytest.raises(CompileError, match="`history` is a conversation, not text"):
        Template("{{ history }} {{ question }}").check(signature)


def test_a_predictor_with_a_template_runs_and_is_saved_as_text(tmp_path: Path) -> None:
    text = (
        "{{ instruction }}\n{% for d in demos %}W: {{ d.word }} -> {{ d.back }}\n{% endfor %}W: {{ word | upper }} ->"
    )
    (tmp_path / "prompt.jinja").write_text(text)
    seen: list[str] = []

    def reply(prompt: str) -> str:
        seen.append(prompt)
        return "  " + re.findall(r"W: (\w+)", prompt)[-1][::-1] + "\n"

    for template in (text, Template.from_file(tmp_path / "prompt.jinja")):
        predictor = lampc.Predict(lampc.Signature("word -> back", "Turn it."), template=template)
        predictor.demos = [lampc.Example(word="no", back="on")]
        unit = trace(predictor)
        read = parse_module(str(unit.module))
        assert read == unit.module
        with Session(model=FakeEngine(reply=reply)) as session:
            for module in (unit.module, read):
                (outcome,) = session.run(module, [Row("0", {"word": "lamp"})], entry=unit.entry)
                assert outcome.value == {"back": "PMAL"}, outcome.error
            assert "Turn it.\nW: no -> on\nW: LAMP ->" in seen[-1]
            eager = session.complete([(predictor.bound(), {"word": "lamp"}, Sampling(), _draw())])
            assert eager[0].text.strip() == "PMAL"


def _draw() -> Any:
    from lampc.ir import Draw, Key

    return Draw(0, Key(("p",)))


def test_answers_of_several_fields_are_read_by_a_layout() -> None:
    two = lampc.Signature("word -> back, size: int").ir()
    text = "[[ ## back ## ]]\nx\n\n[[ ## size ## ]]\n3\n\n[[ ## completed ## ]]\n"
    assert adapter(Template("{{ word }}").layout()).parse(two, text) == {"back": "x", "size": 3}
    assert adapter(Template("{{ word }}", reads="compact").layout()).parse(two, "back: x\nsize: 3") == {
        "back": "x",
        "size": 3,
    }


def test_values_that_a_filter_cannot_take_are_named() -> None:
    template = Template("{{ n | join(', ') }}")
    row = {"question": "", "context": [], "hint": None, "n": 3, "people": []}
    with pytest.raises(ValueError, match=r"`{{ n \| join\(', '\) }}` of the template cannot be rendered: TypeError"):
        rendered(template, row, [], "")
    with pytest.raises(ValueError, match="this one is not"):
        adapter("template:{")


# -- what is not ----------------------------------------------------------------------------------------------

REFUSED = {
    "unclosed_if": "Q: {{ question }}\n{% if hint %}\n  {{ hint }}\n",
    "unclosed_expression": "Q: {{ question }\nA:",
    "unknown_tag": "{{ question }}\n{% trans %}Answer{% endtrans %}\n",
    "include": "System\n  {% include 'rules.jinja' %}\n{{ question }}",
    "extends": "{% extends 'base.jinja' %}\n{% block body %}{{ question }}{% endblock %}",
    "import": "{% import 'macros.jinja' as m %}\n{{ m.ask(question) }}",
    "macro": "{% macro show(p) %}- {{ p }}{% endmacro %}\n{% for p in context %}{{ show(p) }}{% endfor %}",
    "set": "{% set q = question | trim %}\nQ: {{ q }}\n",
    "set_inside": "{% for p in context %}\n  {% set short = p[:9] %}{{ short }}\n{% endfor %}",
    "filter_block": "{% filter upper %}{{ question }}{% endfilter %}",
    "with": "Q\n{% with q = question %}{{ q }}{% endwith %}",
    "call": "{{ question }}\n{% for i in range(n) %}*{% endfor %}",
    "method": "Q: {{ question.upper() }}, {{ question.strip() }}",
    "arithmetic": "{{ n }} times: {{ '-' * n }}",
    "unknown_name": "Q: {{ question }}\nC: {{ contxt | join }}\n{{ loop.index }}",
    "output": "Q: {{ question }}\nA: {{ answer }}",
    "unknown_field": "{% for d in demos %}{{ d.question }}: {{ d.answr }}\n{% endfor %}{{ outputs[0].nme }}",
    "private": "{{ question.__class__ }} {{ people[0]['__init__'] }}",
    "unknown_filter": "{{ question | uper }} {{ context | map('lowr') | join }}",
    "random": "{{ context | random }}\n{{ question | xmlattr }}",
    "unknown_test": "{% if question is emty %}nothing{% endif %}",
    "two_slots": "{% if hint %}\nHint for {{ question }}: {{ hint }}\n{% endif %}\n{{ n ~ question }}",
    "recursive": "{% for p in people recursive %}{{ p.name }}{% endfor %}",
    "huge": "{{ question | center(1000000000) }}",
    "everything_at_once": "{{ qestion }}\n{% set a = 1 %}\n{{ f(n) }}\n{% if hint and question %}x{% endif %}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_diagnostics(name: str, golden: Callable[[Path, str], None]) -> None:
    with pytest.raises(CompileError) as caught:
        lampc.Predict(
            "question: str, context: list[str], hint: Optional[str], n: int, people: list[dict[str, str]] -> answer",
            template=Template(REFUSED[name], path=f"{name}.jinja"),
        )
    for found in caught.value.diagnostics:
        assert found.primary is not None
        assert found.primary.span.line >= 1
        assert found.primary.span.end_column > found.primary.span.column >= 1
    golden(GOLDEN / f"{name}.txt", str(caught.value) + "\n")


def test_diagnostics_of_demos_and_turns() -> None:
    with pytest.raises(CompileError, match=r"<template> \(demo, user\):1:4"):
        lampc.Predict("q -> a", template=Template("{{ q }}", demo=("{{ x }}", "{{ a }}")))
    with pytest.raises(CompileError, match=r"<template> \(system\):1:4"):
        lampc.Predict("q -> a", template=Template("{{ q }}", "{{ x }}"))
    with pytest.raises(CompileError, match=r"<template> \(demo, assistant\):1:"):
        lampc.Predict("q -> a", template=Template("{{ q }}", demo=("{{ q }}", "{{ a")))


@given(st.text("{}%#- ifor\n'|.ab", max_size=30))
def test_any_text_is_rendered_as_jinja_does_or_refused(text: str) -> None:
    template = Template(text)
    row = {"question": "q", "context": ["c"], "hint": None, "n": 1, "people": []}
    try:
        found = rendered(template, row, [], "i")
    except CompileError as e:
        refused = e.diagnostics
    else:
        assert found == [("user", jinja2.Environment().from_string(text).render(row))]
        return
    assert all(d.primary is not None for d in refused)


def test_rendering_on_the_command_line_shows_the_pieces(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from lampc.runtime.cli.app import app

    (tmp_path / "p.py").write_text(
        "import lampc\n"
        "ask = lampc.Predict('context: list[str], question -> answer', "
        "template='{% for p in context %}- {{ p }}\\n{% endfor %}Q: {{ question }}')\n"
        "@lampc.program\ndef main(context: list[str], question: str):\n"
        "    return {'answer': ask(context=context, question=question).answer}\n"
    )
    shown = CliRunner().invoke(app, ["render", str(tmp_path / "p.py"), "ask"])
    assert "{% for p in context %}- {{ p }}\n{% endfor %}Q: {{ question }}" in shown.output
    given_ = CliRunner().invoke(app, ["render", str(tmp_path / "p.py"), "ask", "--input", 'context=["a", "b"]'])
    assert "- a\n- b\nQ: {{ question }}" in given_.output
    explained = CliRunner().invoke(app, ["explain", "L0956"])
    assert "a block depends on several slots" in explained.output
