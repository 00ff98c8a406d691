"""Every command does what its help says, and fails in clear text."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lampc.ir import parse_module
from lampc.runtime.cli.app import COMMANDS
from lampc.runtime.store import Store
from tests.cli.conftest import Result
from tests.runtime.loopback import Loopback, Messages, failure

Lampc = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[2]


# -- the whole ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_teaches_by_example(lampc: Lampc, command: str) -> None:
    result = lampc(command, "--help")
    assert result.code == 0
    assert f"lampc {command}" in result.out.split("Options:")[0], "an example of the command stands in its help"


def test_version_and_usage(lampc: Lampc) -> None:
    assert lampc("--version").out.startswith("lampc")
    unknown = lampc("frobnicate")
    assert unknown.code == 2
    assert "frobnicate" in unknown.err
    assert lampc("run").code == 2


def test_errors_are_text_without_traceback(lampc: Lampc, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = lampc("check", "nothing.lmp")
    assert result.code == 1
    assert "nothing.lmp" in result.err
    assert "Traceback" not in result.err
    assert lampc("graph", "out/n", "-o", "n.html").err == "error: out/n: no such file or folder\n"
    (folder / "classify.txt").write_text("")
    assert lampc("run", "classify.txt").err.startswith("error: classify.txt: programs end in .lmp")
    monkeypatch.setenv("LAMPC_DEBUG", "1")
    assert "Traceback" in lampc("run", "classify.txt").err


# -- check, fmt, print, opt ---------------------------------------------------------------------------


def test_check(lampc: Lampc, folder: Path) -> None:
    fine = lampc("check", "classify.lmp")
    assert fine.code == 0
    assert fine.out == (
        "classify.lmp: ok: program Classify, 1 predictor, 1 dataset, 1 metric, 1 optimisation, 2 tests\n"
    )
    text = (folder / "classify.lmp").read_text().replace("r.tone", "r.tune")
    (folder / "wrong.lmp").write_text(text)
    wrong = lampc("check", "wrong.lmp")
    assert wrong.code == 1
    assert "wrong.lmp:11" in wrong.err or "wrong.lmp:10" in wrong.err
    assert "^" in wrong.err
    (found, *_) = json.loads(lampc("check", "--json", "wrong.lmp", "classify.lmp").out)
    assert found["severity"] == "error"
    assert found["path"] == "wrong.lmp"
    assert found["line"] in (10, 11)


@pytest.mark.parametrize("text", ["", "# later\n", 'signature S(a: str) -> (b: str) { """Do it.""" }\n'])
def test_check_of_a_file_without_a_program_says_so(lampc: Lampc, folder: Path, text: str) -> None:
    (folder / "none.lmp").write_text(text)
    result = lampc("check", "none.lmp")
    assert result.code == 0
    assert result.out == "none.lmp: ok: no program\n"
    assert ("L0109" in result.err) == ("signature" not in text)


def test_fmt(lampc: Lampc, folder: Path) -> None:
    lampc("fmt", "classify.lmp")
    assert lampc("fmt", "--check", "classify.lmp").code == 0
    file = folder / "classify.lmp"
    tidy = file.read_text()
    file.write_text(tidy.replace("  use ask", "      use   ask"))
    assert lampc("fmt", "--check", "classify.lmp").code == 1
    assert lampc("fmt", "classify.lmp").code == 0
    assert file.read_text() == tidy
    assert lampc("fmt", "notes.csv").code == 1


DYNAMIC = {
    "main(n + 1) if n else n": ("L0716", "`main` calls itself"),
    "ask(n=n).m + main(n)": ("L0716", "`main` calls itself"),
}


@pytest.mark.parametrize("value", DYNAMIC)
def test_what_has_no_ir_is_not_printed_as_lmp_but_explained(lampc: Lampc, folder: Path, value: str) -> None:
    code, reason = DYNAMIC[value]
    head = 'import lampc\n\nask = lampc.Predict("n: int -> m: int")\n\n\n@lampc.program\n'
    (folder / "dyn.py").write_text(f"{head}def main(n: int):\n    return {value}\n")
    assert reason in lampc("check", "dyn.py").err
    result = lampc("print", "dyn.py", "--as", "lmp")
    assert (result.code, result.out) == (1, "")
    assert f"error[{code}]: {reason}" in result.err
    assert "dyn.py:8:" in result.err
    for args in (("print", "dyn.py"), ("opt", "dyn.py", "-p", "dce"), ("graph", "dyn.py", "--to", "mermaid")):
        shown = lampc(*args)
        assert shown.code == 0
        assert reason in shown.err


def test_print_forms(lampc: Lampc, folder: Path) -> None:
    text = lampc("print", "classify.lmp").out
    assert str(parse_module(text)) == text
    (folder / "again.lir").write_text(text)
    assert lampc("print", "again.lir").out == text
    tree = lampc("print", "classify.lmp", "--as", "tree").out
    assert "ask  [text]  text -> tone" in tree
    source = lampc("print", "classify.lmp", "--as", "lmp").out
    (folder / "emitted.lmp").write_text(source)
    assert lampc("print", "emitted.lmp").out == text


def test_passes(lampc: Lampc, folder: Path) -> None:
    after = lampc("print", "classify.lmp", "--after", "lower-prompts")
    assert "prompt.request" in after.out
    same = lampc("opt", "classify.lmp", "-p", "inline,fold,cse,dce,lower-prompts", "--time", "--print-after", "cse")
    assert same.out == after.out
    assert "; after cse" in same.err
    assert "lower-prompts" in same.err
    assert "share-prefix" in lampc("opt", "--list").out
    unknown = lampc("opt", "classify.lmp", "-p", "inline,cze")
    assert unknown.code == 1
    assert "did you mean `" in unknown.err


# -- graph, explain, render ---------------------------------------------------------------------------


def test_graph(lampc: Lampc, folder: Path) -> None:
    for name in ("g.svg", "g.html", "g.dot", "g.mmd", "g.json", "g.graphml"):
        assert lampc("graph", "classify.lmp", "-o", name).code == 0
        assert "Classify" in (folder / name).read_text()
    assert "test1" not in (folder / "g.json").read_text(), "tests of the file are left out"
    assert "test1" in lampc("graph", "classify.lmp", "--to", "dot", "--all").out
    (folder / "counts.json").write_text('{"nodes": {"ask": {"calls": 7}}}')
    assert "calls 7" in lampc("graph", "classify.lmp", "--to", "mermaid", "--counts", "counts.json").out
    assert lampc("graph", "classify.lmp", "-o", "g.png").code == 1


def test_explain(lampc: Lampc, folder: Path, server: Loopback) -> None:
    assert lampc("explain", "L0901").out.startswith("L0901: IR text does not parse")
    assert "codes near it" in lampc("explain", "L0999").err
    assert "[E: exact" in lampc("explain", "cse").out
    plan = lampc("explain", "classify.lmp", "--model", server.url)
    assert plan.code == 0, plan.err
    assert "6 rows of notes.dev" in plan.out
    assert not server.requests, "a plan asks no model"
    actual = lampc("explain", "classify.lmp", "--analyze", "--model", server.url)
    assert actual.code == 0, actual.err
    assert len(server.requests) == 6


def test_explain_every_code_and_pass(lampc: Lampc) -> None:
    from lampc.ir import CODES
    from lampc.passes.table import PASSES

    lampc("explain", "L0901")
    for code in sorted(CODES):
        assert len(lampc("explain", code).out.splitlines()) >= 3, code
    for name in PASSES:
        assert lampc("explain", name).code == 0


def test_explain_foresees_and_compares(lampc: Lampc, folder: Path, costs: Path) -> None:
    planned = lampc("explain", "classify.lmp", "--model", "firefly")
    assert planned.code == 0, planned.err
    assert "expected: " in planned.out
    assert " MB)" in planned.out
    result = lampc("explain", "classify.lmp", "--analyze", "--model", "firefly")
    assert result.code == 0, result.err
    assert "prefix tree needs" in result.out
    assert "est/act" in result.out
    ask = next(line.split() for line in result.out.splitlines() if line.startswith("ask "))
    head = next(line.split() for line in result.out.splitlines() if line.startswith("node "))
    columns = ("calls", "rows", "prompt", "computed", "reused", "decode")
    assert [h for h in head if h != "tok"][1:13] == [h for c in columns for h in (c, "act")]
    assert ask[1:11:2] == ask[2:12:2], "each estimate stands before the actual figure of the same column"
    assert ask[3] == "6"
    assert head[-3:] == ["bound", "act", "label"]
    total = next(line.split() for line in result.out.splitlines() if line.startswith("total "))
    assert ask[-3:-1] == total[-3:-1]
    assert f"the prefix tree needs {total[-2]} " in result.out
    assert "act: what it was in the run" in result.out
    assert (costs / "costs" / "answers.json").is_file()


def test_explain_says_what_an_endpoint_would_charge(lampc: Lampc, folder: Path, server: Loopback) -> None:
    result = lampc("explain", "classify.lmp", "--model", server.url, "--price", "10,30,1")
    assert "price expected: 0.00" in result.out
    assert "if all shared prefixes are cached" in result.out
    assert not server.requests
    assert "a price is (prompt, completion)" in lampc("explain", "classify.lmp", "--price", "much").err


def test_render(lampc: Lampc, folder: Path, server: Loopback) -> None:
    shown = lampc("render", "classify.lmp", "ask", "-i", "text=Fine work.", "--model", server.url)
    assert shown.code == 0, shown.err
    assert "--- system\nDo it." in shown.out
    assert "text: Fine work." in shown.out
    assert "--- user\ntext: {text}" in lampc("render", "classify.lmp", "ask", "--model", server.url).out
    row = lampc("render", "classify.lmp", "ask", "--row", "1", "--model", server.url)
    assert "text: We liked it." in row.out
    assert "rows 1 to 18" in lampc("render", "classify.lmp", "ask", "--row", "99", "--model", server.url).err
    assert "predictors here: ask" in lampc("render", "classify.lmp", "other").err


def test_one_of_several_programs_of_a_python_file(lampc: Lampc, folder: Path, server: Loopback) -> None:
    program = '@lampc.program\ndef {0}(q: str) -> {{"a": str}}:\n    return {{"a": q + "{0}"}}\n'
    (folder / "two.py").write_text("import lampc\n\n" + program.format("R") + program.format("S"))
    for name in "RS":
        made = lampc("run", "two.py", "--program", name, "-i", "q=a", "--model", server.url)
        assert json.loads(made.out) == {"a": f"a{name}"}, made.err
    for wrong in ((), ("--program", "T")):
        refused = lampc("run", "two.py", *wrong, "-i", "q=a", "--model", server.url)
        assert "several programs (R, S): choose one by --program" in refused.err


def test_calls_that_failed_are_made_again_and_no_others(lampc: Lampc, folder: Path, server: Loopback) -> None:
    (folder / "few.csv").write_text("text\nWe liked it.\nWe hated it.\n")
    run = ("run", "classify.lmp", "--data", "few.csv", "--out", "out.jsonl", "--model", server.url)
    server.script.extend([None, failure(400, "not today")])
    first = lampc(*run)
    assert first.code == 1
    assert "out.jsonl.journal keeps the finished calls: the same command makes only those that failed" in first.err
    asked = len(server.requests)
    again = lampc(*run)
    assert again.code == 0, again.err
    assert len(server.requests) == asked + 1
    assert not (folder / "out.jsonl.journal").exists()


def test_render_counts_tokens(lampc: Lampc, folder: Path) -> None:
    shown = lampc("render", "classify.lmp", "ask", "--row", "2", "--tokens")
    assert shown.code == 0, shown.err
    assert "prompt tokens for" in shown.err
    assert "the nearest shares the first" in shown.err


# -- run, test, optimize ------------------------------------------------------------------------------


def test_run_one_input(lampc: Lampc, folder: Path, server: Loopback) -> None:
    result = lampc("run", "classify.lmp", "--input", "text=We liked it.", "--model", server.url)
    assert result.code == 0, result.err
    assert json.loads(result.out) == {"tone": "good"}
    assert "input `text` is missing" in lampc("run", "classify.lmp").err
    assert "its inputs: text: str" in lampc("run", "classify.lmp", "-i", "txt=x").err


def test_run_a_table(lampc: Lampc, folder: Path, server: Loopback) -> None:
    result = lampc("run", "classify.lmp", "--data", "notes.csv", "--out", "made/out.jsonl", "--model", server.url)
    assert result.code == 0, result.err
    rows = [json.loads(line) for line in (folder / "made/out.jsonl").read_text().splitlines()]
    assert [r["row"] for r in rows] == [str(i) for i in range(1, 19)]
    assert "18 rows, 0 failed" in result.err
    assert not (folder / "made/out.jsonl.journal").exists()
    (folder / "other.csv").write_text("txt\nhello\n")
    wrong = lampc("run", "classify.lmp", "--data", "other.csv", "--model", server.url)
    assert wrong.code == 1
    assert "other.csv" in wrong.err


@pytest.mark.parametrize("command", ["run", "optimize"])
@pytest.mark.parametrize("place", ["a_folder.lampc", "notes.csv/out.lampc", "locked/out.lampc"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    lampc: Lampc, folder: Path, server: Loopback, command: str, place: str
) -> None:
    (folder / "a_folder.lampc").mkdir()
    (folder / "locked").symlink_to("/proc/1")  # nobody writes there, root included
    option = "--out" if command == "run" else "--save"
    result = lampc(command, "classify.lmp", "--data", "notes.csv", option, place, "--model", server.url)
    assert result.code == 1
    assert place in result.err
    assert "Traceback" not in result.err
    assert not server.requests
    assert not (folder / "out").exists()


def test_failing_rows_are_told_and_the_rest_kept(lampc: Lampc, folder: Path) -> None:
    def answer(messages: Messages) -> str:
        return "tone: good" if "liked" in messages[-1]["content"] else "no idea at all"

    with Loopback(answer) as server:
        result = lampc("run", "classify.lmp", "--data", "notes.csv", "--model", server.url)
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert result.code == 1
    assert sum("tone" in r for r in rows) == 2
    assert rows[1]["where"].startswith("classify.lmp:")
    assert "classify.lmp:" in result.err


def test_declared_tests(lampc: Lampc, folder: Path) -> None:
    both = lampc("test", "classify.lmp")
    assert both.code == 1
    assert "ok   classify.lmp: a kind note is good" in both.out
    assert 'expected: tone == "good" and stats.calls == 1' in both.out
    assert "1 passed, 1 failed" in both.out
    assert lampc("test", "classify.lmp", "-k", "kind").code == 0
    none = lampc("test", "classify.lmp", "-k", "nomatch")
    assert none.code == 2
    assert "error: -k nomatch: no test has this in its name; there are `a kind note is good`, `" in none.err


def test_optimize_resume_and_use(lampc: Lampc, folder: Path, server: Loopback) -> None:
    dry = lampc("optimize", "classify.lmp", "--dry-run")
    assert "start: 6 runs" in dry.out
    first = lampc("optimize", "classify.lmp", "--model", server.url)
    assert first.code == 0, first.err
    assert "-> 100.0" in first.out
    made = len(server.requests)
    again = lampc("optimize", "classify.lmp", "--model", server.url)
    assert "this run finished before" in again.out
    assert len(server.requests) == made, "nothing is asked twice"
    tuned = folder / "out/classify/tuned.lampc"
    run = lampc("run", tuned, "-i", "text=The soup was cold.", "--model", server.url)
    assert json.loads(run.out) == {"tone": "bad"}, run.err
    assert lampc("graph", tuned, "--to", "svg").code == 0
    fresh = lampc("optimize", "classify.lmp", "--model", server.url, "--fresh")
    assert "finished before" not in fresh.out
    assert len(server.requests) > made


def test_text_that_is_no_utf8_is_written_escaped(lampc: Lampc, folder: Path) -> None:
    """A Python program may cut a character in two; its output is JSON all the same."""
    program = 'import lampc\n\n\n@lampc.program\ndef main(text: str) -> {"y": str}:\n    return {"y": HALF}\n'
    (folder / "half.py").write_text(program.replace("HALF", '"\\ud83d"'))
    result = lampc("run", "half.py", "-i", "text=a", "--model", "http://127.0.0.1:9/v1")
    assert json.loads(result.out) == {"y": "\ud83d"}, result.err
    lampc("run", "half.py", "-i", "text=a", "--out", "o.jsonl", "--model", "http://127.0.0.1:9/v1")
    assert json.loads((folder / "o.jsonl").read_text()) == {"y": "\ud83d"}


def test_fresh_leaves_a_run_alone_that_is_at_work(lampc: Lampc, folder: Path) -> None:
    with Store(folder / "out" / "classify" / "journal.store") as store:
        store.put("call", "paid", {"text": "good"})
        refused = lampc("optimize", "classify.lmp", "--fresh", "--model", "http://127.0.0.1:9/v1")
        assert refused.code == 1
        assert "journal.store: in use by this process itself" in refused.err
        assert (folder / "out/classify/journal.store").is_file()
    with Store(folder / "out" / "classify" / "journal.store") as again:
        assert again.get("call", "paid") == {"text": "good"}


def test_optimize_says_how_a_table_gets_the_split_it_lacks(lampc: Lampc, folder: Path) -> None:
    (folder / "mine.csv").write_text("text,tone,split\nfine,good,train\nawful,bad,validation\n")
    named = lampc("optimize", "classify.lmp", "--data", "mine.csv", "--dry-run").err
    assert "no row is of the split `dev`; splits: train (1), validation (1)" in named
    assert "in column `split` write `dev` for some rows" in named
    (folder / "mine.csv").write_text("text,tone\nfine,good\nawful,bad\n")
    few = lampc("optimize", "classify.lmp", "--data", "mine.csv", "--dry-run").err
    assert "2 rows are too few to be divided, none is left for `dev`" in few
    assert "give more rows" in few


def test_optimize_never_sends_a_row_of_test(lampc: Lampc, folder: Path, server: Loopback) -> None:
    rows = [
        f"{split} row {i},{'good' if i % 2 else 'bad'},{split}" for i in range(6) for split in ("train", "dev", "test")
    ]
    (folder / "mine.csv").write_text("text,tone,split\n" + "\n".join(rows) + "\n")
    result = lampc("optimize", "classify.lmp", "--data", "mine.csv", "--model", server.url)
    assert result.code == 0, result.err
    sent = [json.dumps(r) for r in server.requests]
    assert any("train row 3" in s for s in sent)
    assert any("dev row 3" in s for s in sent)
    assert [s for s in sent if "test row" in s] == []


def test_rows_of_test_are_scored_when_asked_for(lampc: Lampc, folder: Path, server: Loopback) -> None:
    kinds = (("lovely", "good"), ("cold", "bad"))
    rows = [
        f"the {split} was {word} {i},{tone},{split}"
        for split in ("train", "dev", "test")
        for i in range(2)
        for word, tone in kinds
    ]
    (folder / "mine.csv").write_text("text,tone,split\n" + "\n".join([*rows, "the test was cold 2,good,test"]) + "\n")
    command = ("optimize", "classify.lmp", "--data", "mine.csv", "--model", server.url)
    assert "--test: 10 runs more, of both programs on 5 rows of test" in lampc(*command, "--test", "--dry-run").out
    first = lampc(*command)
    assert re.search(r"best of \d+ on the rows it was chosen by.*; --test scores both on the 5 rows", first.out), (
        first.out
    )
    made = len(server.requests)
    tested = lampc(*command, "--test")
    assert "unseen rows: 60.0 -> 80.0, +20.0 on the same 5 rows (95 %: " in tested.out
    assert "best of" not in tested.out
    asked = [json.dumps(r) for r in server.requests[made:]]
    assert len(asked) == 10
    assert all("the test was" in s for s in asked)
    again = lampc(*command, "--test")
    assert again.out == tested.out
    assert len(server.requests) == made + 10, "nothing is asked twice"
    assert "unseen rows: " in lampc("report", "out/classify").out
    assert "gain on 5 unseen rows" in (folder / "out/classify/report.html").read_text()
    other = lampc(*command, "--metric", "f1")  # another run in the same folder
    assert "unseen rows: " not in other.out
    assert lampc(*command, "--test").out == tested.out
    assert json.loads((folder / "out/classify/run.json").read_text())["metric"] == "same()", "it reports on its own run"
    assert "unseen rows: " in lampc("report", "out/classify").out
    spent = lampc(*command, "--test", "--fresh", "--budget", "calls=1")
    assert "stopped early" in spent.out
    assert "unseen rows: " in spent.out
    (folder / "few.csv").write_text("text,tone,split\n" + "\n".join(rows[:8]) + "\n")
    none = lampc("optimize", "classify.lmp", "--data", "few.csv", "--model", server.url, "--test")
    assert none.code == 1
    assert "--test: classify.lmp has no rows of a split `test`" in none.err


def test_rows_that_a_program_was_chosen_on_are_not_unseen(lampc: Lampc, folder: Path, server: Loopback) -> None:
    file = folder / "classify.lmp"
    text = file.read_text()
    for line, other in (("select notes.dev", "select notes.test"), ("on notes.train", "on notes.test")):
        file.write_text(text.replace(line, other))
        found = lampc("optimize", "classify.lmp", "--model", server.url, "--test", "--dry-run")
        assert found.code == 1
        assert "has no rows of a split `test` that were not trained or chosen on" in found.err


JUDGE = """
import lampc

judge = lampc.Predict("claim -> verdict")


def fair(gold, pred):
    return float(judge(claim=f"{gold} is {pred}").verdict == "yes")
"""


def test_a_metric_that_asks_a_model_scores_the_rows_of_test(lampc: Lampc, folder: Path) -> None:
    def answer(messages: Messages) -> str:
        text = messages[-1]["content"]
        return ("verdict: yes" if "good is good" in text else "verdict: no") if "claim" in text else "tone: good"

    (folder / "judge.py").write_text(JUDGE)
    with Loopback(answer) as server:
        command = (
            "optimize",
            "classify.lmp",
            "--model",
            server.url,
            "--metric",
            "judge:fair",
            "--optimizer",
            "labeled",
        )
        tested = lampc(*command, "--test")
    assert tested.code == 0, tested.err
    (said,) = (line for line in tested.out.splitlines() if line.startswith("unseen rows: "))
    assert "failed" not in said
    assert not said.startswith("unseen rows: 0.0")


def test_dry_run_counts_the_calls_that_are_made(lampc: Lampc, folder: Path, server: Loopback) -> None:
    """Equal greedy calls are one call, in the forecast as in the run."""
    text = (folder / "classify.lmp").read_text().split("test ")[0]
    once = "let r = ask(text: text);"
    assert once in text
    (folder / "twice.lmp").write_text(
        text.replace(once, f"{once}\n  let s = ask(text: text);\n  assert s.tone != text;")
    )
    plan = lampc("optimize", "twice.lmp", "--dry-run", "--model", server.url).out
    assert server.requests == []
    said = next(line for line in plan.splitlines() if line.startswith("demanded: "))
    _, most = map(int, said.rpartition(": ")[2].removesuffix(" calls").split(" to "))
    assert "runs of 1 LM calls each" in said
    assert re.search(r"about [\d,]+ tokens in prompts \(at least [\d,]+ of them to be computed\), [\d,]+ in ans", plan)
    lampc("optimize", "twice.lmp", "--model", server.url)
    assert 0 < len(server.requests) <= most
    planned = lampc("explain", "twice.lmp", "--analyze", "--model", server.url)
    total = next(line.split() for line in planned.out.splitlines() if line.startswith("total"))
    assert total[1] == total[2], planned.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(lampc: Lampc, folder: Path, server: Loopback) -> None:
    (folder / "out.jsonl").symlink_to("/dev/full")
    result = lampc("run", "classify.lmp", "--data", "notes.csv", "--out", "out.jsonl", "--model", server.url)
    assert result.code == 1
    assert result.err.endswith("error: cannot write: No space left on device; what was finished before is kept\n")
    assert (folder / "out.jsonl.journal").is_file()


def test_optimize_own_table(lampc: Lampc, folder: Path, server: Loopback) -> None:
    """A program without declarations on a user's table."""
    text = (folder / "classify.lmp").read_text().split("dataset notes")[0]
    (folder / "mine.lmp").write_text(text)
    rows = (folder / "notes.csv").read_text().splitlines()
    (folder / "mine.csv").write_text("\n".join(rows) + "\n")
    result = lampc("optimize", "mine.lmp", "--data", "mine.csv", "--model", server.url)
    assert result.code == 0, result.err
    assert (folder / "out/mine/tuned.lampc").is_file()
    assert "declares no data" in lampc("optimize", "mine.lmp", "--model", server.url).err


@pytest.mark.parametrize("command", ["run", "optimize"])
def test_ctrl_c_says_what_is_kept(folder: Path, command: str) -> None:
    """Stopped half way, a command says how to go on, with exit code 130; going on asks nothing twice."""
    with Loopback(lambda m: "tone: good", seconds=0.15, limit=2) as server:
        args = ["--data", "notes.csv", "--out", "out.jsonl"] if command == "run" else ["--resume", "kept"]
        line = [sys.executable, "-m", "lampc", command, "classify.lmp", *args, "--model", server.url]
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignore"
        job = subprocess.Popen(line, cwd=folder, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        signal.signal(signal.SIGINT, usual)
        deadline = time.monotonic() + 60
        while len(server.requests) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=60)
        assert job.returncode == 130, err
        assert "same command goes on" in err
        assert "Traceback" not in err
        server.seconds = 0.0
        done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        asked = [json.dumps(r["messages"]) for r in server.requests]
        # two are served at a time: when a fifth was begun, the first ones had been answered
        assert [asked.count(a) for a in asked[:2]] == [1, 1], "only what was under way is asked again"
