"""Running passes: verified, timed and counted, with a reproducer when one breaks.

A pass is a frozen dataclass in its own file; its fields are its options. It mutates the module it is given and
returns counters. A pipeline is a tuple of passes, and text: `Pipeline.parse(str(p)) == p`.
"""

from __future__ import annotations

import difflib
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

from lampc.ir.core import Module
from lampc.ir.diag import CompileError, Diagnostic, explain
from lampc.ir.protocols import Target
from lampc.ir.text import parse_module, print_module
from lampc.ir.verify import verify
from lampc.passes.gate import GateRecord, accepted
from lampc.passes.options import read_pipeline, write_pass

explain(
    {
        "L0923": "a pass failed\nA pass raised an error or left a module that does not verify. That is a bug of the "
        "compiler, not of the program. The module as it was before the pass has been written to a file, and the "
        "command in the message repeats the failure from there.",
        "L0924": "a gated pass has no accepted record\nA pass labelled G may change what a program means. It runs "
        "only where both forms of the program were scored on the same held-out rows and the loss of the metric is "
        "bounded: by default the one-sided 95 % lower bound of the mean difference is at least -0.01. The record of "
        "that test stands with the tuned program. `lampc opt --on-trial` shows what the pass would do.",
    }
)


@dataclass(frozen=True)
class PassContext:
    """What passes may know besides the module: `targets` by the symbol of a model, and one for all others.

    `gates` are the records of the program's gated changes, the latest last.
    """

    target: Target | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    gates: tuple[GateRecord, ...] = ()

    def target_of(self, model: str) -> Target | None:
        """The target that `@model` is lowered for, or None if there is none."""
        return self.targets.get(model, self.target)


class Pass(Protocol):
    """A frozen dataclass whose fields are options. `label` says what it promises (`lampc.passes.table.LABELS`)."""

    name: ClassVar[str]
    label: ClassVar[str]

    def run(self, module: Module, ctx: PassContext) -> dict[str, int]:
        """Change `module`; gives counters. Raises CompileError for what is wrong with the program."""
        ...


@dataclass(frozen=True)
class RunOptions:
    """How a pipeline is run.

    `verify_each` verifies after each pass; `round_trip` also parses the printed module and compares. The module is
    shown before and after the passes named in `print_before` and `print_after` (`all` for every pass), as a diff if
    `diff`; `time` shows the table of times and counters at the end. What is shown goes line by line to `show`.
    `crash_dir` is where a reproducer is written, None for nowhere. `on_trial` applies passes labelled G without a
    record: to look at what they do, and to score it for their gate. With `quick` nothing is printed between passes,
    those that only count (`only_counts`) are left out, and the module is verified once, at the end: for programs that
    are about to run. There is no reproducer then, so whoever runs passes quickly and gets PassFailed runs them again on
    what the module was before.
    """

    verify_each: bool = True
    round_trip: bool = False
    print_before: tuple[str, ...] = ()
    print_after: tuple[str, ...] = ()
    diff: bool = False
    time: bool = False
    crash_dir: Path | None = Path("crash")
    on_trial: bool = False
    quick: bool = False
    show: Callable[[str], None] = print


@dataclass(frozen=True)
class PassRow:
    """What one pass did: seconds of its own, counters, whether the module's text changed (None: nobody looked)."""

    name: str
    label: str
    seconds: float
    changed: bool | None
    counters: Mapping[str, int]


@dataclass(frozen=True)
class Report:
    """What a pipeline did, pass by pass."""

    rows: tuple[PassRow, ...] = ()

    def counters(self) -> dict[str, int]:
        """Counters of all passes as `pass.counter`; those of a pass that ran twice are added up."""
        out: dict[str, int] = {}
        for row in self.rows:
            for name, n in row.counters.items():
                out[f"{row.name}.{name}"] = out.get(f"{row.name}.{name}", 0) + n
        return out

    def table(self) -> str:
        """The report as lines of text."""
        width = max((len(r.name) for r in self.rows), default=4)
        lines = [f"{'pass':<{width}}  label        ms  counters"]
        for r in self.rows:
            shown = ", ".join(f"{k} {v}" for k, v in r.counters.items() if v) or ("changed" if r.changed else "-")
            lines.append(f"{r.name:<{width}}  {r.label:<5}  {r.seconds * 1000:>8.2f}  {shown}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Pipeline:
    """Passes in the order in which they run."""

    checked: ClassVar[bool] = False
    """Set by tests: the module is verified and round-tripped after every pass, whatever the options say."""

    passes: tuple[Pass, ...] = ()

    @staticmethod
    def parse(text: str) -> Pipeline:
        """Read a pipeline's text form. Raises CompileError that points into `text`."""
        return Pipeline(read_pipeline(text))

    def __str__(self) -> str:
        return ",".join(map(write_pass, self.passes))

    def run(self, module: Module, ctx: PassContext | None = None, options: RunOptions | None = None) -> Report:
        """Run all passes on `module`, changing it.

        Raises CompileError for what is wrong with the program, or if a pass labelled G has no accepted record in `ctx`
        (L0924), and PassFailed (L0923) if a pass is wrong.
        """
        ctx, options = ctx or PassContext(), options or RunOptions()
        if not options.on_trial and (closed := [d for p in self.passes if (d := _closed(p, ctx.gates))]):
            raise CompileError(closed)
        if self.checked:
            options = replace(options, verify_each=True, round_trip=True, quick=False)
        if options.quick:
            return self._quickly(module, ctx, options)
        rows = []
        text = print_module(module)
        for index, item in enumerate(self.passes):
            if _wanted(item.name, options.print_before):
                options.show(f"; before {item.name}\n{text}")
            start = time.perf_counter()
            try:
                counters = item.run(module, ctx)
            except CompileError:
                raise
            except Exception as e:
                raise self._failed(index, text, f"{type(e).__name__}: {e}", options) from e
            seconds = time.perf_counter() - start
            after = print_module(module)
            if wrong := _wrong(module, after, options):
                raise self._failed(index, text, wrong, options)
            rows.append(PassRow(item.name, item.label, seconds, after != text, dict(counters)))
            if _wanted(item.name, options.print_after):
                options.show(f"; after {item.name}\n{diff(text, after) if options.diff else after}")
            text = after
        report = Report(tuple(rows))
        if options.time:
            options.show(report.table())
        return report

    def _quickly(self, module: Module, ctx: PassContext, options: RunOptions) -> Report:
        rows, wrong = [], ""
        for item in self.passes:
            if getattr(item, "only_counts", False):
                continue
            start = time.perf_counter()
            try:
                counters = item.run(module, ctx)
            except CompileError:
                raise
            except Exception as e:
                wrong = f"{type(e).__name__}: {e}"
                break
            rows.append(PassRow(item.name, item.label, time.perf_counter() - start, None, dict(counters)))
        if wrong or (wrong := _wrong(module, "", replace(options, verify_each=True, round_trip=False))):
            raise PassFailed(Diagnostic("L0923", f"one of the passes {self} failed: {wrong}"), None)
        return Report(tuple(rows))

    def _failed(self, index: int, before: str, why: str, options: RunOptions) -> PassFailed:
        item = self.passes[index]
        rest = str(Pipeline(self.passes[index:]))
        notes, path = [], None
        if options.crash_dir is not None:
            path = _free_path(options.crash_dir, item.name)
            command = f"lampc opt {shlex.quote(str(path))} -p {shlex.quote(write_pass(item))}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"; {item.name} failed here: {_first_line(why)}\n; {command}\n{before}", encoding="utf-8")
            notes.append(f"reproduce with: {command}")
        if len(self.passes) > index + 1:
            notes.append(f"passes still to run: {rest}")
        return PassFailed(Diagnostic("L0923", f"pass `{item.name}` failed: {why}", notes=tuple(notes)), path)


class PassFailed(CompileError):
    """A pass is wrong, not the program. `reproducer` is the module as it was before the pass."""

    def __init__(self, diagnostic: Diagnostic, reproducer: Path | None) -> None:
        super().__init__([diagnostic])
        self.reproducer = reproducer


def diff(before: str, after: str) -> str:
    """Unified diff of two texts, three lines of context; empty if they are equal."""
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "before", "after", lineterm="")
    return "\n".join(lines)


def _closed(item: Pass, gates: tuple[GateRecord, ...]) -> Diagnostic | None:
    """Why a pass must not be applied; None if it may."""
    change = write_pass(item)
    if item.label != "G" or accepted(gates, change) is not None:
        return None
    last = next((r for r in reversed(gates) if r.change == change), None)
    why = f"its gate refused it ({last}: {last.why})" if last else "it has not been tested on held-out rows"
    return Diagnostic("L0924", f"`{change}` may change what the program means, and {why}")


def _wanted(name: str, names: tuple[str, ...]) -> bool:
    return name in names or "all" in names


def _wrong(module: Module, text: str, options: RunOptions) -> str:
    """What is wrong with the module after a pass; empty if nothing is."""
    if options.verify_each and (findings := verify(module)):
        shown = [f.diagnostic().message for f in findings]
        more = f" (and {len(shown) - 5} more)" if len(shown) > 5 else ""
        return "the module does not verify: " + "; ".join(shown[:5]) + more
    if options.round_trip:
        try:
            again = print_module(parse_module(text))
        except CompileError as e:
            return f"the module's text does not parse: {e}"
        if again != text:
            return f"the module's text changes when read back:\n{diff(text, again)}"
    return ""


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""


def _free_path(folder: Path, name: str) -> Path:
    taken = [int(p.name[:4]) for p in folder.glob("[0-9][0-9][0-9][0-9]-*.lir")] if folder.is_dir() else []
    return folder / f"{max(taken, default=0) + 1:04d}-{name}.lir"
