"""Exported programs: run without lampc, against an endpoint, they ask and answer as the program does."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lampc
from lampc.frontend.python.tracing import trace
from lampc.ir import Assignment
from lampc.runtime.cli.app import main
from lampc.runtime.cli.sources import load
from lampc.runtime.export import NotExportable, export, kit
from lampc.runtime.session import Session
from tests.runtime import export_programs as programs
from tests.runtime.loopback import Loopback, Messages

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import json, runpy, sys
for name in ("lampc", "torch", "dspy"):
    sys.modules[name] = None
names = runpy.run_path(sys.argv[1])
for line in json.loads(sys.argv[2]):
    print(json.dumps(names[sys.argv[3]](**line)))
"""

_FORMS = {
    "urgent": lambda n: "True" if n % 2 else "False",
    "done": lambda n: "True" if n % 3 == 0 else "False",
    "scores": lambda n: f"[{n % 3}, {n % 5}]",
    "team": lambda n: str(7 + n % 3),
    "note": lambda n: "None" if n % 2 else f"n{n}",
    "next_tool_args": lambda n: json.dumps({"text": "a b"} if n % 2 else {"n": 4}),
    "next_tool_name": lambda n: "count" if n % 2 else "root",
}


def scripted(layout: str) -> Callable[[Messages], str]:
    """Outputs that depend on all of the prompt, in the form that its layout asks for."""

    def answer(messages: Messages) -> str:
        system, last = messages[0]["content"], messages[-1]["content"]
        if layout == "compact":
            wanted = re.findall(r"(\w+)(?: \([^)]*\))?(?:, |$)", system.split(" -> ", 1)[1].split("\n")[0])
        elif layout == "json":
            wanted = re.findall(r"`(\w+)`", last[last.index("Respond with a JSON object") :])
        elif layout == "xml":
            wanted = re.findall(r"`<(\w+)>`", last[last.index("Respond with") :])
        else:
            wanted = [n for n in re.findall(r"`\[\[ ## (\w+) ## \]\]`", last) if n != "completed"]
        number = sum(ord(c) * (i % 7 + 1) for i, c in enumerate(str(messages))) % 97
        if "next_tool_name" in wanted and last.count("observation_") >= 2:
            out = {"next_thought": "t", "next_tool_name": "finish", "next_tool_args": "{}"}
        else:
            out = {n: _FORMS.get(n, str)(number) for n in wanted}
        if layout == "json":
            plain = {
                k: ast.literal_eval(v) if k in ("scores", "urgent", "note") and v[0] in "[TFN" else v
                for k, v in out.items()
            }
            return json.dumps(plain)
        if layout == "xml":
            return "\n".join(f"<{k}>\n{v}\n</{k}>" for k, v in out.items())
        if layout == "compact":
            return "\n".join(f"{k}: {v}" for k, v in out.items())
        return "".join(f"[[ ## {k} ## ]]\n{v}\n\n" for k, v in out.items()) + "[[ ## completed ## ]]\n"

    return answer


def outside(program: Path, function: str, rows: list[dict[str, Any]], server: Loopback) -> list[dict[str, Any]]:
    """What the exported file gives in a process where lampc cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(program), json.dumps(rows), function],
        env={"PATH": os.environ["PATH"], "OPENAI_BASE_URL": server.url, "MODEL": "loop", "OPENAI_API_KEY": "k"},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def same(unit: Any, rows: list[dict[str, Any]], layout: str, folder: Path, assignment: Any = None) -> str:
    """Run a program here and its export there: equal answers, equal prompts. Gives the exported text."""
    from lampc.runtime.types import Row

    with Loopback(scripted(layout)) as server:
        with Session(model=server.url) as session:
            made = [Row(str(i), r) for i, r in enumerate(rows)]
            outcomes = session.run(unit, made, assignment=assignment or Assignment())
        assert [o.error for o in outcomes] == [None] * len(rows)
        mine = [(r["messages"], r["temperature"], r["max_tokens"]) for r in server.requests]
        server.requests.clear()
        exported = export(unit, assignment, base=ROOT)
        program, _ = exported.write(folder)
        entry = re.findall(r"json\.dumps\((\w+)\(\*\*given\)", exported.program)[0]
        found = outside(program, entry, rows, server)
        theirs = [(r["messages"], r["temperature"], r["max_tokens"]) for r in server.requests]
    assert found == [o.value for o in outcomes]
    assert {json.dumps(m) for m in theirs} == {json.dumps(m) for m in mine}
    return exported.program


QUESTIONS = [{"question": q} for q in ("who?", "a longer question", "ünï\n«x»", "four words are here")]


@pytest.mark.parametrize(
    "layout", ["chat", *(pytest.param(n, marks=pytest.mark.slow) for n in ("json", "xml", "compact"))]
)
def test_a_program_with_everything(layout: str, tmp_path: Path) -> None:
    text = same(trace(programs.Everything(layout)), QUESTIONS, layout, tmp_path)
    assert "import lampc" not in text
    assert "def count(text" in text
    assert "FACTOR = 3" in text
    compile(text, "x.py", "exec")


def test_a_loop_that_ends_early(tmp_path: Path) -> None:
    text = same(trace(programs.Looping()), [{"start": s} for s in "abcd"], "chat", tmp_path)
    assert "for " in text
    assert "break" in text


def test_an_agent(tmp_path: Path) -> None:
    with lampc.context(layout="chat"):
        unit = trace(programs.agent())
    same(unit, QUESTIONS[:2], "chat", tmp_path)


@pytest.mark.parametrize("name", ["01_classify", "02_reason", "03_two_hop", "05_branch_loop"])
def test_the_examples_in_both_languages_give_the_same_file(name: str, tmp_path: Path) -> None:
    made = []
    for ending in ("lmp", "py"):
        loaded = load(ROOT / "examples" / f"{name}.{ending}")
        try:
            made.append(export(loaded.unit, loaded.assignment, base=loaded.base))
        except NotExportable as e:
            assert "retriever" in str(e)  # noqa: PT017
            return
    first, second = made
    assert json.loads(first.prompts) == json.loads(second.prompts)
    compile(first.program, "x.py", "exec")


def test_what_was_tuned_is_what_is_written(tmp_path: Path) -> None:
    lampc.configure(lm=lambda messages: "never asked")
    module = programs.Everything()
    made = lampc.LabeledFewShot(k=1).compile(
        module, trainset=[lampc.Example(question="q", notes=["n"], query="w", answer="a").with_inputs("question")]
    )
    made.answer.predict.signature = made.answer.predict.signature.with_instructions("Be brief.")
    unit = trace(made)
    assert "Be brief." in export(unit, base=ROOT).prompts
    chosen = Assignment().updated(**{"answer.instruction": "Be long."})
    same(unit, QUESTIONS[:1], "chat", tmp_path / "b", chosen)
    assert "Be long." in (tmp_path / "b" / "prompts.json").read_text()


def test_the_command_and_the_file_s_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(ROOT / "examples" / "01_classify.lmp"), "--to", str(tmp_path / "out")]) == 0
    program = next((tmp_path / "out").glob("*.py"))
    assert f"wrote {program}" in capsys.readouterr().out
    inputs = json.loads(re.findall(r"python \w+\.py '(.*)'", program.read_text())[0])
    with Loopback(scripted("compact")) as server:
        done = subprocess.run(
            [sys.executable, "-S", "-c", "import runpy,sys; sys.path+=eval(sys.argv.pop(1)); sys.modules['lampc']=None;"
             f"sys.argv=[{str(program)!r}]+sys.argv[1:]; runpy.run_path({str(program)!r}, run_name='__main__')",
             repr(sys.path), json.dumps(inputs)],
            env={"PATH": os.environ["PATH"], "OPENAI_BASE_URL": server.url, "MODEL": "loop"},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1 or json.loads(done.stdout)
    assert len(server.requests) == 1


def outer(n: int) -> Any:
    def inner(x: str) -> str:
        return x * n

    return inner


def test_what_cannot_be_exported_says_what_and_where() -> None:
    repeat = outer(2)

    class Closes(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = lampc.Predict("a -> b", layout="chat")

        def forward(self, a: str) -> Any:
            return lampc.Prediction(b=repeat(self.ask(a=a).b))

    with pytest.raises(NotExportable, match=r"test_export\.py:\d+.*`inner`, a closure over n"):
        export(trace(Closes()))

    class Dynamic(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = lampc.Predict("a -> b")

        def forward(self, a: str) -> Any:
            try:
                return self.ask(a=a)
            except RuntimeError as e:
                return lampc.Prediction(b=str(e))

    with pytest.raises(NotExportable, match="is run as plain Python"):
        export(trace(Dynamic()))
    with pytest.raises(NotExportable, match="layout `baml`; it can be chat, compact, json, xml"):
        export(trace(lampc.Predict("a -> b", layout="baml")))


@pytest.mark.parametrize(
    ("finish", "end"),
    [("length", " (it was cut after 7 tokens: raise `max_tokens` of the call `add` in this file)"), ("stop", "")],
)
def test_an_answer_that_was_cut_says_so(finish: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = SimpleNamespace(finish_reason=finish, message=SimpleNamespace(content="[[ ## thought ## ]]\nlet"))
    answer = SimpleNamespace(choices=[choice], usage=SimpleNamespace(completion_tokens=7))
    completions = SimpleNamespace(create=lambda **_: answer)
    outputs = [{"name": n, "type": {"kind": "str"}} for n in ("thought", "total")]
    asked = {"messages": [], "layout": "chat", "outputs": outputs}
    monkeypatch.setattr(kit, "client", lambda: SimpleNamespace(chat=SimpleNamespace(completions=completions)))
    monkeypatch.setattr(kit, "prompts", lambda: {"model": "loop", "predictors": {"add": asked}})
    with pytest.raises(ValueError, match="output `total` is missing") as e:
        kit.ask("add", {})
    assert str(e.value).partition("let'")[2] == end
