"""Reading what a command is given: programs by their ending, inputs, data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lampc.ir import Assignment, Module, Source, Unit, parse_module
from lampc.ir.adapters.values import RepeatedKey, read_json
from lampc.ir.prog import Func
from lampc.ir.types import Scalar, Type, mismatch, spelled
from lampc.ir.unit import StepFinding
from lampc.runtime.cli.failure import CommandError

if TYPE_CHECKING:
    from lampc.passes.gate import GateRecord
    from lampc.runtime.types import Row

ENDINGS = (".lmp", ".py", ".lir", ".lampc")


@dataclass(frozen=True)
class Loaded:
    """A program, the candidate that its file chose and what was kept with it (nothing but for tuned programs)."""

    unit: Unit
    assignment: Assignment
    path: Path
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def module(self) -> Module:
        return self.unit.module

    @property
    def gates(self) -> tuple[GateRecord, ...]:
        """Records of the program's gated changes. Raises CompileError."""
        from lampc.runtime.saved import read_gates

        return read_gates(self.info)

    @property
    def base(self) -> Path:
        """Where relative paths in the program start."""
        return self.path.parent

    def sources(self) -> list[Source]:
        try:
            return [Source(str(self.path), self.path.read_text(encoding="utf-8"))]
        except (OSError, UnicodeDecodeError):
            return []


def read_text(path: Path) -> str:
    """Text of a file, or of standard input for `-`. Raises OSError or CommandError."""
    if str(path) == "-":
        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise CommandError(f"{path}: not UTF-8 text (byte {e.start})") from None


def load(file: Path, program: str | None = None) -> Loaded:
    """The program in a file; of several in a Python file the one that is named. Raises CompileError, OSError,
    CommandError."""
    none = Assignment()
    match file.suffix:
        case ".lmp":
            from lampc.frontend.lmp import compile_lmp

            return Loaded(compile_lmp(read_text(file), str(file), _steps), none, file)
        case ".py":
            from lampc.frontend.python import load_python

            if not file.is_file():
                raise CommandError(f"{file}: no such file")
            return Loaded(load_python(str(file), program), none, file)
        case ".lir":
            module = parse_module(read_text(file), str(file))
            return Loaded(Unit(module, last_function(module), str(file)), none, file)
        case ".lampc":
            from lampc.runtime.saved import load_saved

            saved = load_saved(file)
            unit = Unit(saved.module, saved.entry or last_function(saved.module), str(file))
            return Loaded(unit, saved.assignment, file, saved.info)
    if not file.exists():
        raise CommandError(f"{file}: no such file or folder")
    raise CommandError(f"{file}: programs end in {', '.join(ENDINGS)}")


def _steps(name: str, options: Mapping[str, Any]) -> Sequence[StepFinding]:
    """What is wrong with a step of an optimisation; optimizers are loaded when a file has one."""
    from lampc.passes.optimize import findings

    return findings(name, options)


def functions(module: Module) -> list[Func]:
    return [op for op in module.body.ops if isinstance(op, Func)]


def last_function(module: Module) -> str:
    """The function run by default."""
    found = functions(module)
    return found[-1].symbol if found else ""


def entry(loaded: Loaded, name: str | None) -> Func | None:
    """The function to run, None for a program that could not be traced. Raises CommandError."""
    if loaded.unit.dynamic is not None:
        return None
    found = functions(loaded.module)
    wanted = name or loaded.unit.entry
    for func in found:
        if func.symbol == wanted:
            return func
    known = ", ".join(f.symbol for f in found) or "none"
    raise CommandError(f"{loaded.path}: there is no program `{wanted or 'main'}`; programs here: {known}")


def note_dynamic(loaded: Loaded) -> None:
    """Say on standard error, for commands that show a program's IR, why a dynamic one has no function to show."""
    if loaded.unit.dynamic is not None:
        typer.echo(f"{loaded.unit.dynamic.line()}: a dynamic program, of which only definitions can be shown", err=True)


def named_texts(texts: list[str]) -> dict[str, str]:
    """`name=value` texts by name. Raises CommandError."""
    out: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"--input {text}: write name=value")
        if name in out:
            raise CommandError(f"--input {name}: given twice; which value is meant?")
        out[name] = value
    return out


def parse_inputs(texts: list[str], func: Func | None) -> dict[str, Any]:
    """Values of `name=value` texts: JSON where the parameter is no string. Raises CommandError."""
    types = {a.hint: a.type for a in func.body.args} if func is not None else {}
    out: dict[str, Any] = {}
    for name, value in named_texts(texts).items():
        if func is not None and name not in types:
            known = ", ".join(f"{n}: {spelled(t)}" for n, t in types.items()) or "none"
            raise CommandError(f"--input {name}: the program has no such input; its inputs: {known}")
        out[name] = parse_value(name, value, types.get(name))
    optional = func.defaults if func is not None else {}
    missing = [n for n, t in types.items() if n not in out and n not in optional and mismatch(None, t)]
    if missing:
        raise CommandError(
            f"input `{missing[0]}` is missing: add --input {missing[0]}=... ({spelled(types[missing[0]])})"
        )
    return out


def parse_value(name: str, text: str, type: Type | None) -> Any:
    """A value of `type` written on the command line; `@file` stands for the text of a file."""
    if text.startswith("@") and len(text) > 1:
        text = read_text(Path(text[1:]))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CommandError(f"--input {name}: not UTF-8 text") from None
    if type is None:
        try:
            return read_json(text)
        except RepeatedKey as e:
            raise CommandError(f"--input {name}: {e}") from None
        except ValueError:
            return text
    if mismatch(text, type) is None and type != Scalar("any"):
        return text
    try:
        value = read_json(text)
    except RepeatedKey as e:
        raise CommandError(f"--input {name}: {e}") from None
    except ValueError:
        value = text
    why = mismatch(value, type)
    if why:
        raise CommandError(f"--input {name}: {why}; a {spelled(type)} is wanted, lists and records as JSON")
    return value


def one_row(inputs: dict[str, Any]) -> Row:
    from lampc.runtime.types import Row

    return Row("0", inputs)
