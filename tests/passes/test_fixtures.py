"""Golden fixtures: each case is a title that states a law, a pipeline, a module before and after.

    let $sig = #signature<...>          a shorthand, for all cases of the file

    ## equal calls are one
    cse
    module @m { ... }
    ->
    module @m { ... }

`pytest --update` (`make golden`) rewrites what stands after `->`. Every case is verified and read back after each
pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from lampc.ir import check, parse_module
from lampc.passes import PASSES, PassContext, Pipeline, RunOptions
from tests.fakes import TEMPLATES, FakeTarget

FOLDER = Path(__file__).parent / "fixtures"


@dataclass(frozen=True)
class Case:
    """One law. `before` and `after` are as the file has them, shorthands and all."""

    path: Path
    title: str
    pipeline: str
    before: str
    after: str

    def run(self, lets: dict[str, str]) -> str:
        module = parse_module(expand(self.before, lets), str(self.path))
        check(module)
        Pipeline.parse(self.pipeline).run(
            module,
            PassContext(FakeTarget(TEMPLATES["firefly"]), {"far": FakeTarget(None, local=False)}),
            RunOptions(round_trip=True, crash_dir=None, on_trial=True),
        )
        return contract(str(module), lets)


def read(path: Path) -> tuple[dict[str, str], list[Case]]:
    """Shorthands and cases of a file."""
    head, *parts = re.split(r"^## ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lets: dict[str, str] = {}
    for name, value in re.findall(r"^let (\$\w+) = (.*)$", head, re.MULTILINE):
        lets[name] = expand(value, lets)  # a shorthand may use those above it
    cases = []
    for part in parts:
        title, pipeline, rest = part.split("\n", 2)
        before, _, after = rest.partition("->\n")
        cases.append(Case(path, title, pipeline, before, after.rstrip("\n") + "\n"))
    return lets, cases


def expand(text: str, lets: dict[str, str]) -> str:
    for name in sorted(lets, key=len, reverse=True):
        text = text.replace(name, lets[name])
    return text


def contract(text: str, lets: dict[str, str]) -> str:
    for name, value in sorted(lets.items(), key=lambda kv: -len(kv[1])):
        text = text.replace(value, name)
    return text


FILES = sorted(FOLDER.glob("*.lir.txt"))
CASES = [(path, case.title) for path in FILES for case in read(path)[1]]


@pytest.mark.parametrize(("path", "title"), CASES, ids=lambda x: x.name.split(".")[0] if isinstance(x, Path) else x)
def test_law(path: Path, title: str, update: bool) -> None:
    lets, cases = read(path)
    (case,) = [c for c in cases if c.title == title]
    got = case.run(lets)
    if update:
        rewrite(case, got)
    else:
        assert got == case.after


def rewrite(case: Case, got: str) -> None:
    text = case.path.read_text(encoding="utf-8")
    start = text.index(f"## {case.title}\n")
    end = text.find("\n## ", start)
    body = f"## {case.title}\n{case.pipeline}\n{case.before}->\n{got}"
    rest = text[end:] if end >= 0 else ""
    case.path.write_text(text[:start] + body + rest, encoding="utf-8")


def test_every_pass_has_its_laws() -> None:
    assert {p.name.removesuffix(".lir.txt") for p in FILES} >= set(PASSES)
