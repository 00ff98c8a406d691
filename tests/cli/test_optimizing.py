"""`lampc optimize` in all its options, `lampc report` and `lampc diff`, on a scripted endpoint."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lampc.passes.optimize import OPTIMIZERS
from lampc.runtime.cells import Budget
from lampc.runtime.cli.failure import CommandError
from lampc.runtime.cli.steps import budget_of, described, steps_of
from lampc.runtime.reports import SCHEMA
from tests.cli.conftest import Result
from tests.runtime.loopback import Loopback

Lampc = Callable[..., Result]


# -- the command line's words ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "given", "trials", "made"),
    [
        ([], [], None, [("bootstrap", {"max_rounds": 2}), ("instructions", {"pool": "p.txt"})]),
        (["labeled"], ["k=4"], None, [("labeled", {"k": 4})]),
        (["labeled", "random"], ["labeled.k=4", "random.k=5", "sample=false"], None,
         [("labeled", {"k": 4, "sample": False}), ("random", {"k": 5})]),
        (["bootstrap"], ["metric_threshold=null", "teacher_model=7"], None,
         [("bootstrap", {"metric_threshold": None, "teacher_model": "7"})]),
        (["bootstrap"], ['teacher_model="big one"'], None, [("bootstrap", {"teacher_model": "big one"})]),
        (["bootstrap"], ['teacher_model="'], None, [("bootstrap", {"teacher_model": '"'})]),
        (["instructions"], ['pool=["a", "b"]'], None, [("instructions", {"pool": ["a", "b"]})]),
        ([], ["max_rounds=3"], None, [("bootstrap", {"max_rounds": 3}), ("instructions", {"pool": "p.txt"})]),
        (["random_search"], [], 6, [("random_search", {"num_candidate_programs": 6})]),
        (["gepa"], [], 3, [("gepa", {"max_full_evals": 3})]),
        (["mipro"], [], 6, [("mipro", {"num_trials": 6, "auto": None, "num_candidates": 3})]),
    ],
)  # fmt: skip
def test_steps_from_the_command_line(names: list[str], given: list[str], trials: int | None, made: Any) -> None:
    declared: list[tuple[str, dict[str, Any]]] = [("bootstrap", {"max_rounds": 2}), ("instructions", {"pool": "p.txt"})]
    assert steps_of(declared, names, given, trials) == made


def test_files_stand_for_their_lines(tmp_path: Path) -> None:
    (tmp_path / "pool.txt").write_text("Say it.\nSay it well.\n", encoding="utf-8")
    (tmp_path / "pool.json").write_text('{"classify": ["Say it."]}', encoding="utf-8")
    for name, value in (("pool.txt", ["Say it.", "Say it well."]), ("pool.json", {"classify": ["Say it."]})):
        assert steps_of([], ["instructions"], [f"pool=@{tmp_path / name}"], None)[0][1] == {"pool": value}
    with pytest.raises(CommandError, match=r"none\.txt cannot be read: No such file or directory$"):
        steps_of([], ["instructions"], [f"pool=@{tmp_path / 'none.txt'}"], None)


@pytest.mark.parametrize(
    ("names", "given", "trials", "says"),
    [
        (["bootstrp"], [], None, "there is no such optimizer; did you mean `bootstrap`?"),
        (["labeled"], ["k"], None, "write name=value"),
        (["labeled"], ["sed=1"], None, "labeled has no option `sed`; did you mean `seed`?"),
        (["bootstrap"], ["max_demos=3"], None, "no option `max_demos`; did you mean `max_labeled_demos`?"),
        (["gepa"], ["max_demos=3"], None, "gepa has no option `max_demos`; there are "),
        (["labeled", "random"], ["k=1"], None, "several steps have `k`: say which, as labeled.k=..."),
        (["labeled"], ["random.k=1"], None, "no step is `random`; steps: labeled"),
        (["labeled"], [], 5, "labeled has no number of trials"),
        (["mipro"], [], 0, "at least one"),
        (["mipro"], ["auto=light"], 6, "--trials 6: `auto` of mipro says how many there are"),
    ],
)
def test_words_that_mean_nothing(names: list[str], given: list[str], trials: int | None, says: str) -> None:
    with pytest.raises(CommandError) as found:
        steps_of([], names, given, trials)
    assert says in str(found.value)


def test_budgets_have_units() -> None:
    made = budget_of(Budget(calls=5, tokens=7), ["calls=10k,tokens=1.5M", "time=15m"])
    assert (made.calls, made.tokens, made.seconds) == (10_000, 1_500_000, 900)
    assert budget_of(Budget(calls=5), []) == Budget(calls=5)
    for wrong, says in [
        ("calls", "write calls=10k"), ("calls=x", "a number is needed"), ("time=1d", "with a unit"),
        ("calls=0", "above 0"), ("cals=4", "there is no budget `cals`"),
    ]:  # fmt: skip
        with pytest.raises(CommandError) as found:
            budget_of(Budget(), [wrong])
        assert says in str(found.value)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_explain_teaches_an_optimizer(name: str) -> None:
    text = described(name)
    assert text.startswith(f"{name}  [an optimizer]\n\n")
    assert f"--optimizer {name}" in text
    assert len(text.splitlines()) > 6


def test_all_are_listed(lampc: Lampc) -> None:
    listed = lampc("optimize", "any.lmp", "--optimizer", "?").out.splitlines()
    assert [line.split()[0] for line in listed] == sorted(OPTIMIZERS)
    assert lampc("explain", "bootstrap").out.startswith("bootstrap  [an optimizer]")


# -- a run, its report, and differences ------------------------------------------------------------------


def test_optimize_writes_a_report_and_diff_reads_it(lampc: Lampc, folder: Path, server: Loopback) -> None:
    pool = folder / "pool.txt"
    pool.write_text("Say good or bad.\nGuess.\n", encoding="utf-8")
    common = ("optimize", "classify.lmp", "--model", server.url)
    chosen = ("--optimizer", "instructions", "-o", f"pool=@{pool}")
    first = lampc(*common, *chosen, "--resume", "one", "--save", "one.lampc")
    assert first.code == 0, first.err
    assert "report: one/report.html (as JSON: one/optimization.json)" in first.out
    assert "[-" in first.out, "what changed, word by word"
    data = json.loads((folder / "one" / "optimization.json").read_text(encoding="utf-8"))
    assert data["schema"] == SCHEMA
    assert data["steps"] == ["instructions"]
    assert data["after"] > data["before"]
    assert data["gain"]["mean"] == pytest.approx(data["after"] - data["before"])
    roles = {t["role"]: t for t in data["trials"]}
    assert set(roles) == {"start", "result", ""}
    assert "Say good or bad." in roles["result"]["note"]
    assert set("".join(t["states"] for t in data["trials"])) == {"c", "r"}
    assert sum(t["states"].count("c") for t in data["trials"]) == data["cost"]["runs"]
    assert data["changes"]["predictors"][0]["name"] == "ask"
    page = (folder / "one" / "report.html").read_text(encoding="utf-8")
    assert "gain on the rows it was chosen by" in page
    assert "Say good or bad." in re.sub(r"</?(ins|del)>", "", page)

    told = lampc("report", "one.lampc", "-o", "again.html", "--json", "again.json")
    assert told.code == 0, told.err
    assert "report: again.html\nas JSON: again.json" in told.out
    assert json.loads((folder / "again.json").read_text(encoding="utf-8")) == data, "by way of the tuned program"
    assert lampc("report", "one/run.json", "-o", "third.html").code == 0
    assert (folder / "third.html").read_bytes() == (folder / "again.html").read_bytes()

    for option, path in (("-o", "classify.lmp"), ("-o", "one/journal.store"), ("--json", "one/run.json")):
        before = (folder / path).read_bytes()
        refused = lampc("report", "one", "-o", "third.html", option, path)
        assert (refused.code, (folder / path).read_bytes()) == (1, before)
        assert f"{path} is another file, which would be lost: give another name" in refused.err
    refused = lampc(*common, *chosen, "--resume", "one", "--report", "classify.lmp")
    assert "--report classify.lmp is another file" in refused.err

    chosen = ("--optimizer", "labeled", "-o", "k=2")
    second = lampc(*common, *chosen, "--resume", "two", "--save", "two.lampc", "--no-report")
    assert second.code == 0, second.err
    assert not (folder / "two" / "report.html").exists()
    for a, b in (("one.lampc", "two.lampc"), ("one", "two")):
        said = lampc("diff", a, b).out
        assert said.startswith(f"--- {a}\n+++ {b}\n")
        assert "ask.demos: 0 -> 2" in said
        assert re.search(r"score: [\d.]+ -> [\d.]+, [+-][\d.]+ on the same \d+ rows \(95 %: ", said)
    source = lampc("diff", "classify.lmp", "one.lampc", "--prompts")
    assert "ask: what it sends" in source.out
    assert "score: ? -> " in source.out
    assert "not known to be on the same rows" in source.out
    assert "the predictors and their parameters are the same" in lampc("diff", "classify.lmp", "classify.lmp").out


def test_what_cannot_be_reported_says_what_was_looked_for(lampc: Lampc, folder: Path) -> None:
    (folder / "empty").mkdir()
    (folder / "bad.json").write_text("{", encoding="utf-8")
    (folder / "other.json").write_text("{}", encoding="utf-8")
    for name, says in [
        ("empty", "empty/run.json: no such file; `lampc optimize` writes it"),
        ("bad.json", "bad.json: cannot be read as JSON"),
        ("other.json", "other.json: this is not the record of an optimisation"),
    ]:
        for command in (["report", name], ["diff", name, "classify.lmp"]):
            result = lampc(*command)
            assert result.code == 1
            assert says in result.err


def test_a_run_that_has_hardly_begun_has_a_report(lampc: Lampc, folder: Path) -> None:
    (folder / "run").mkdir()
    record = {"run": "x", "state": "unfinished", "program": "Classify", "steps": ["mipro: Mipro()"], "seed": 3}
    (folder / "run" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    told = lampc("report", "run")
    assert told.code == 0, told.err
    assert told.out.startswith("Classify: 0 trials\nreport: run/report.html")
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "Not finished: the same command goes on." in page
    assert "No trial was scored." in page


def test_programs_without_anything_in_common(lampc: Lampc, folder: Path) -> None:
    text = (folder / "classify.lmp").read_text(encoding="utf-8")
    (folder / "other.lmp").write_text(text.replace("ask", "choose"), encoding="utf-8")
    (folder / "longer.lmp").write_text(
        text.replace("return (tone:", "assert r.tone != text;\n  return (tone:"), encoding="utf-8"
    )
    assert "no predictor in common" in lampc("diff", "classify.lmp", "other.lmp").err
    said = lampc("diff", "classify.lmp", "longer.lmp").out
    assert "the programs around them differ: --ir shows how" in said
    assert "+    prog.assert" in lampc("diff", "classify.lmp", "longer.lmp", "--ir").out


def test_a_budget_of_the_command_line_stops_and_the_report_says_so(
    lampc: Lampc, folder: Path, server: Loopback
) -> None:
    args = ["optimize", "classify.lmp", "--model", server.url, "--resume", "run"]
    few = lampc(*args, "--budget", "calls=20")
    assert few.code == 0, few.err
    assert "stopped early: the budget of calls is spent" in few.out
    page = (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "Stopped early: the budget of calls was spent." in page
    data = json.loads((folder / "run" / "optimization.json").read_text(encoding="utf-8"))
    assert (data["state"], data["stopped"]) == ("stopped", "calls")
    assert "x" in "".join(t["states"] for t in data["trials"]), "rows that were cut are in the matrix"
    more = lampc(*args)
    assert "stopped" not in more.out
    assert json.loads((folder / "run" / "optimization.json").read_text(encoding="utf-8"))["state"] == "finished"


def test_a_run_of_a_dspy_optimizer_has_a_report_too(lampc: Lampc, folder: Path) -> None:
    """`log_dir` is a run's folder, whatever language the program is in."""
    import lampc as dspy
    from lampc.passes.optimize.random_search import RandomSearch
    from lampc.runtime.optimizers.base import improve
    from lampc.utils.dummies import DummyLM

    def right(gold: Any, pred: Any, trace: Any = None) -> bool:
        return bool(gold.tone == pred.tone)

    rows = [dspy.Example(text=str(i), tone="good" if i % 2 else "bad").with_inputs("text") for i in range(8)]
    search = RandomSearch(max_bootstrapped_demos=1, max_labeled_demos=1, num_candidate_programs=2)
    with dspy.context(lm=DummyLM([{"tone": "good"}] * 400)):
        improve(dspy.Predict("text -> tone"), search, trainset=rows, valset=rows, metric=right, log_dir="log")
    told = lampc("report", "log", "--json", "log.json")
    assert told.code == 0, told.err
    data = json.loads((folder / "log.json").read_text(encoding="utf-8"))
    assert data["trials"][0]["states"] == "c" * 8
    assert data["changes"] is not None
    assert (folder / "log" / "report.html").is_file()


def test_a_refused_start_leaves_a_finished_run_as_it_was(lampc: Lampc, folder: Path, server: Loopback) -> None:
    args = ["optimize", "classify.lmp", "--model", server.url, "--optimizer", "bootstrap", "--resume", "run"]
    assert lampc(*args).code == 0
    files = {n: (folder / "run" / n).read_bytes() for n in ("run.json", "found.lampc", "record.json")}
    refused = lampc(*args, "-o", "max_bootstrapped_demos=-1")
    assert refused.code == 1
    assert "`max_bootstrapped_demos` is -1" in refused.err
    assert {n: (folder / "run" / n).read_bytes() for n in files} == files


def test_money_is_counted_by_the_price_that_is_said(lampc: Lampc, folder: Path, server: Loopback) -> None:
    args = ["optimize", "classify.lmp", "--model", server.url, "--optimizer", "labeled", "--resume", "run"]
    refused = lampc(*args, "--budget", "money=1")
    assert refused.code == 1
    assert "needs prices" in refused.err
    paid = lampc(*args, "--price", "1000,2000", "--budget", "money=100")
    assert paid.code == 0, paid.err
    data = json.loads((folder / "run" / "optimization.json").read_text(encoding="utf-8"))
    cost = data["cost"]
    assert cost["money"] == pytest.approx((cost["prompt"] * 1000 + cost["generated"] * 2000) / 1e6)
    assert "of money" in (folder / "run" / "report.html").read_text(encoding="utf-8")
    assert "--price x" in lampc(*args, "--price", "x").err


def test_a_dry_run_of_another_optimizer(lampc: Lampc, folder: Path) -> None:
    said = lampc("optimize", "classify.lmp", "--optimizer", "random", "-o", "k=1", "--dry-run")
    assert said.code == 0, said.err
    assert "with random;" in said.err
    assert "random: " in said.out
    wrong = lampc("optimize", "classify.lmp", "--optimizer", "random", "-o", "k=four", "--dry-run")
    assert wrong.code == 1
    assert "random: `k` is a whole number, got 'four'" in wrong.err
