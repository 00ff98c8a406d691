"""The manager: pipelines as text, what is shown, timings and counters, and a reproducer when a pass is wrong."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.ir import CODES, CompileError, Diagnostic, Module, parse_module
from lampc.passes import LABELS, PASSES, PassContext, Pipeline, RunOptions, load
from lampc.passes.lower import LowerPrompts
from lampc.passes.manager import PassFailed, diff
from lampc.passes.options import options, write_pass
from lampc.passes.simplify import Cse, Dce, Inline
from lampc.runtime.compile import lower
from tests.fakes import TEMPLATES, FakeTarget

PROGRAM = """module @m {
  prog.func @main() {returns = !str} do (%q: str) {
    %0 = prog.apply(%q) {fn = "upper"} : (str)
    %1 = prog.apply(%q) {fn = "upper"} : (str)
    %2 = prog.apply(%0, %1) {fn = "concat"} : (str)
    prog.return(%2) : ()
  } : ()
}
"""


@dataclass(frozen=True)
class Probe:
    """A pass with options of every kind that does what its test says."""

    act: Callable[[Module], None] = lambda module: None
    name: ClassVar[str] = "probe"
    label: ClassVar[str] = "E"

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        self.act(module)
        return {"seen": len(list(module.walk()))}


@dataclass(frozen=True)
class Options:
    name: ClassVar[str] = "options"
    label: ClassVar[str] = "G"
    flag: bool = False
    count: int = 3
    share: float = 0.5
    word: str = ""
    words: tuple[str, ...] = ()
    pairs: tuple[tuple[str, int], ...] = ()
    perhaps: int | None = None

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        return {}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PASSES, "options", f"{__name__}:Options")


def test_a_pipeline_reads_options_and_writes_those_that_differ() -> None:
    text = 'inline{entry=main}, cse,\n dce{definitions = true},lower-prompts{layouts=[[qa,chat],[b.c,"x y"]]}'
    pipeline = Pipeline.parse(text)
    assert pipeline.passes == (
        Inline("main"), Cse(), Dce(True), LowerPrompts((("qa", "chat"), ("b.c", "x y"))),
    )  # fmt: skip
    assert (
        str(pipeline) == 'inline{entry=main},cse,dce{definitions=true},lower-prompts{layouts=[[qa,chat],[b.c,"x y"]]}'
    )
    assert Pipeline.parse("") == Pipeline()


@pytest.mark.usefixtures("known")
def test_every_pipeline_reads_its_own_text() -> None:
    words = st.one_of(st.text(max_size=5), st.sampled_from(["true", "none", "1", "a b", "a,b", "{}"]))

    @settings(max_examples=60, deadline=None)
    @given(
        st.builds(
            Options,
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            words,
            st.lists(words, max_size=2).map(tuple),
            st.lists(st.tuples(words, st.integers()), max_size=2).map(tuple),
            st.one_of(st.none(), st.integers()),
        )
    )
    def law(item: Options) -> None:
        pipeline = Pipeline((item, Cse(), item))
        assert Pipeline.parse(str(pipeline)) == pipeline

    law()


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("text", "code", "message", "help"),
    [
        ("folds", "L0922", "there is no pass `folds`; did you mean `fold`?", ""),
        ("zzzzzz", "L0922", "there is no pass `zzzzzz`; known: inline, fold", ""),
        ("inline{entri=main}", "L0922", "`inline` has no option `entri`", "did you mean `entry`?"),
        ("cse{x=1}", "L0922", "`cse` has no option `x`", "it takes none"),
        ("options{count=1,count=2}", "L0922", "option `count` is given twice", ""),
        ("options{count=one}", "L0922", "option `count` is a whole number, got `one`", ""),
        ("options{count=1.5}", "L0922", "option `count` is a whole number, got `1.5`", ""),
        ("options{flag=1}", "L0922", "option `flag` is true or false, got `1`", ""),
        ("options{pairs=[a]}", "L0922", "option `pairs` is a list of [a string, a whole number], got `[a]`", ""),
        ("options{perhaps=x}", "L0922", "option `perhaps` is a whole number or none, got `x`", ""),
        ("options{words=[a b]}", "L0921", "expected `,` between two items", ""),
        ("options{words=}", "L0921", "expected a value", ""),
        ("inline{entry", "L0921", "expected `=` after option `entry`", ""),
        ("inline{", "L0921", "expected the name of an option or `}`", ""),
        ("inline cse", "L0921", "expected `,` between two passes", ""),
        ("inline,,cse", "L0921", "expected the name of a pass", ""),
    ],
)
def test_a_wrong_pipeline_says_what_and_where(text: str, code: str, message: str, help: str) -> None:
    with pytest.raises(CompileError) as caught:
        Pipeline.parse(text)
    (found,) = caught.value.diagnostics
    assert (found.code, found.help if help else "") == (code, help)
    assert message in found.message
    assert text in str(caught.value), "the text is shown with a caret"
    assert "^" in str(caught.value)


def test_every_option_has_a_default_and_every_code_an_explanation() -> None:
    for name in PASSES:
        assert write_pass(load(name)()) == name
        assert all(default is not None for _, _, default in options(load(name)))
    for code in ("L0921", "L0922", "L0923", "L0931", "L0932", "L0941"):
        assert len(CODES[code].splitlines()) == 2
    assert set(LABELS) == set("ESDG")


def test_a_report_counts_and_times_each_pass() -> None:
    module = parse_module(PROGRAM)
    shown: list[str] = []
    report = Pipeline.parse("cse,cse").run(module, None, RunOptions(time=True, show=shown.append))
    first, second = report.rows
    assert (first.name, first.label, first.changed, second.changed) == ("cse", "E", True, False)
    assert first.counters["merged"] == 1
    assert report.counters() == {"cse.merged": 1, "cse.calls": 0}
    assert first.seconds >= 0
    (table,) = shown
    assert table == report.table()
    assert [line.split()[:2] for line in table.splitlines()] == [["pass", "label"], ["cse", "E"], ["cse", "E"]]


def test_modules_are_shown_before_and_after_passes() -> None:
    shown: list[str] = []
    options = RunOptions(print_before=("dce",), print_after=("cse",), show=shown.append)
    Pipeline.parse("cse,dce").run(parse_module(PROGRAM), None, options)
    assert [s.splitlines()[0] for s in shown] == ["; after cse", "; before dce"]
    assert all(parse_module(s) for s in shown), "what is shown can be read back"
    shown.clear()
    Pipeline.parse("cse,dce").run(
        parse_module(PROGRAM), None, RunOptions(print_after=("all",), diff=True, show=shown.append)
    )
    assert '-    %1 = prog.apply(%q) {fn = "upper"} : (str)' in shown[0]
    assert shown[1] == "; after dce\n"
    assert diff("a", "a") == ""


def _break_types(module: Module) -> None:
    func: Any = module.lookup("main")
    func.body.terminator.set_operands([])


def _raise(module: Module) -> None:
    raise KeyError("lost")


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (_raise, "KeyError: 'lost'"),
        (_break_types, "the module does not verify: prog.return: 1 operands declared, 0 found"),
    ],
)
def test_a_wrong_pass_leaves_a_reproducer(act: Callable[[Module], None], why: str, tmp_path: Path) -> None:
    folder = tmp_path / "a crash"
    for number in (1, 2):
        with pytest.raises(PassFailed) as caught:
            Pipeline((Cse(), Probe(act), Dce())).run(parse_module(PROGRAM), None, RunOptions(crash_dir=folder))
        error = caught.value
        assert error.reproducer == folder / f"{number:04d}-probe.lir"
        text = error.reproducer.read_text()
        before = parse_module(PROGRAM)
        Pipeline((Cse(),)).run(before)
        assert parse_module(text) == before, "the module as it was before the pass"
        (found,) = error.diagnostics
        assert found.code == "L0923"
        assert found.message.startswith(f"pass `probe` failed: {why}")
        note = next(n for n in found.notes if n.startswith("reproduce with: "))
        words = shlex.split(note.removeprefix("reproduce with: "))
        assert words[:4] == ["lampc", "opt", str(error.reproducer), "-p"]
        assert note.removeprefix("reproduce with: ") in text


def test_nothing_is_written_if_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PassFailed) as caught:
        Pipeline((Probe(_raise),)).run(parse_module(PROGRAM), None, RunOptions(crash_dir=None))
    assert caught.value.reproducer is None
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_the_program_is_no_failure_of_the_pass(tmp_path: Path) -> None:
    def refuse(module: Module) -> None:
        raise CompileError([Diagnostic("L0941", "in a circle")])

    with pytest.raises(CompileError) as caught:
        Pipeline((Probe(refuse),)).run(parse_module(PROGRAM), None, RunOptions(crash_dir=tmp_path))
    assert not isinstance(caught.value, PassFailed)
    assert list(tmp_path.iterdir()) == []


def _name_badly(module: Module) -> None:
    module.attrs["not a word"] = 1


def test_a_text_that_changes_when_read_back_is_a_failure_of_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pipeline, "checked", False)
    with pytest.raises(PassFailed, match="does not parse"):
        Pipeline((Probe(_name_badly),)).run(parse_module(PROGRAM), None, RunOptions(round_trip=True, crash_dir=None))
    Pipeline((Probe(_name_badly),)).run(parse_module(PROGRAM), None, RunOptions(crash_dir=None))


@pytest.mark.parametrize(("act", "why"), [(_name_badly, "does not parse"), (_break_types, "does not verify")])
def test_in_tests_every_pass_is_checked_whatever_the_options_say(act: Callable[[Module], None], why: str) -> None:
    with pytest.raises(PassFailed, match=why):
        Pipeline((Probe(act),)).run(parse_module(PROGRAM), None, RunOptions(verify_each=False, crash_dir=None))


def test_recursion_is_a_diagnostic_at_the_call_that_closes_the_circle() -> None:
    call = (
        '%0 = prog.call(%q) {{callee = @{0}, key = #key<path = ["k"]>, returns = !str}} : (str)'
        ' loc(["x.lmp", {1}, 1, 0, 0, ""])'
    )
    func = "prog.func @{0}() {{returns = !str}} do (%q: str) {{ {1} prog.return(%0) : () }} : ()"
    body = " ".join(
        func.format(a, call.format(b, i + 1)) for i, (a, b) in enumerate([("a", "b"), ("b", "c"), ("c", "a")])
    )
    with pytest.raises(CompileError) as caught:
        Pipeline.parse("inline").run(parse_module(f"module @m {{ {body} }}"))
    (found,) = caught.value.diagnostics
    assert found.line() == "x.lmp:3:1: error[L0941]: `a` calls itself through `b`, `c`"


def test_a_quick_run_checks_the_end_and_leaves_the_rest_to_a_slow_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "checked", False)
    quick, slow = parse_module(PROGRAM), parse_module(PROGRAM)
    report = Pipeline.parse("cse,dce").run(quick, PassContext(), RunOptions(quick=True))
    assert [(r.name, r.changed) for r in report.rows] == [("cse", None), ("dce", None)]
    Pipeline.parse("cse,dce").run(slow)
    assert str(quick) == str(slow)

    def broken(self: Dce, module: Module, ctx: PassContext) -> dict[str, int]:
        module.body.ops[0].regions[0].ops.pop()
        return {}

    monkeypatch.setattr(Dce, "run", broken)
    with pytest.raises(PassFailed, match="one of the passes cse,dce failed: the module does not verify"):
        Pipeline.parse("cse,dce").run(parse_module(PROGRAM), PassContext(), RunOptions(quick=True))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PassFailed, match="pass `dce` failed"):
        lower(parse_module(PROGRAM), lambda _: FakeTarget(TEMPLATES["firefly"]), None, "cse,dce")
    assert list((tmp_path / "crash").glob("0001-dce.lir"))
