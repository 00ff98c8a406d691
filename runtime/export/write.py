"""`export`: a program, with the instructions and demos it was tuned to, as one Python file and its prompts as JSON.

The file needs an OpenAI client and nothing else; any endpoint that speaks OpenAI's chat completions answers it.
Programs that could not be traced, retrievers, and values that only lampc knows are NotExportable.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lampc.ir import Assignment, Module, Op, Unit, prog
from lampc.ir.adapters import bind_predictors
from lampc.ir.sources import source_of
from lampc.runtime.export import kit
from lampc.runtime.export.code import Writer, function_name
from lampc.runtime.export.errors import NotExportable
from lampc.runtime.export.prompts import prompt_of
from lampc.runtime.export.sources import Sources
from lampc.runtime.hosts import HostError, resolve
from lampc.runtime.interp import entry_function

if TYPE_CHECKING:
    from lampc.runtime.lm import BaseLM

_LINE = "# " + "-" * 105 + "\n"


@dataclass(frozen=True, slots=True)
class Exported:
    """Texts of the files: `program` (called `name`), and `prompts`."""

    name: str
    program: str
    prompts: str

    def write(self, folder: Path) -> list[Path]:
        """Write both files; gives their paths. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.py", folder / "prompts.json"]
        for path, text in zip(paths, (self.program, self.prompts), strict=True):
            path.write_text(text, encoding="utf-8")
        return paths


def export(
    unit: Unit,
    assignment: Assignment | None = None,
    *,
    entry: str | None = None,
    model: str = "",
    base: Path = Path("."),
    name: str = "",
    lm: BaseLM | None = None,
) -> Exported:
    """The texts of an exported program. Calls say of their sampling what an `lm` would send, if there is one.

    Raises NotExportable, ValueError for an entry that is not there.
    """
    if unit.dynamic is not None:
        raise NotExportable(f"the program is run as plain Python ({unit.dynamic.message})", unit.dynamic.line())
    module = unit.module
    func = entry_function(module, entry or unit.entry or None)
    bound = bind_predictors(module, assignment)
    sources = Sources()

    def host(target: str, op: Op) -> str:
        where = str(op.loc.origin() or "")
        try:
            return sources.add(resolve(target, base), where)
        except HostError as e:
            raise NotExportable(str(e), where) from None

    writer = Writer(module, bound, host, lm)
    needed = _reached(module, func)
    for op in (o for f in needed for o in f.walk() if isinstance(o, prog.Tool | prog.Py)):
        writer.hosted(op)
    writer.outer = sources.names
    functions = [writer.function(f, function_name(f.symbol)) for f in needed]
    used = {op.predictor.name for f in needed for op in f.walk() if isinstance(op, prog.Predict)}
    prompts = {"model": model, "predictors": {n: prompt_of(b) for n, b in bound.items() if n in used}}
    stem = re.sub(r"\W+", "_", name or func.symbol).strip("_").lower() or "program"
    inputs = [a.hint for a in func.body.args]
    text = _file(stem, functions, sources, function_name(func.symbol), inputs)
    return Exported(stem, text, json.dumps(prompts, indent=2, ensure_ascii=False) + "\n")


def _reached(module: Module, entry: prog.Func) -> list[prog.Func]:
    """The functions that the entry calls, callees first."""
    out: list[prog.Func] = []

    def visit(func: prog.Func) -> None:
        for op in func.walk():
            callee = module.lookup(op.callee.name) if isinstance(op, prog.Call) else None
            if isinstance(callee, prog.Func) and callee not in out:
                visit(callee)
        out.append(func)

    visit(entry)
    return out


def _file(name: str, functions: list[list[str]], sources: Sources, entry: str, inputs: list[str]) -> str:
    support = source_of(kit).split(_LINE, 1)[1].strip("\n")
    own = "\n\n\n".join(sources.texts)
    code = "\n\n\n".join("\n".join(lines) for lines in functions)
    imports = "".join(f"{line}\n" for line in sorted(sources.imports) if line not in _IMPORTS)
    given = json.dumps(dict.fromkeys(inputs, "..."))
    head = (
        f'"""An exported program; its prompts are in prompts.json beside this file.\n\n'
        f"It needs the `openai` package alone. OPENAI_BASE_URL and OPENAI_API_KEY say which endpoint answers, MODEL\n"
        f"which of its models:\n\n"
        f"    python {name}.py '{given}'\n"
        f'"""\n\nfrom __future__ import annotations\n\n'
    )
    parts = [
        head + _IMPORTS + imports,
        f"# -- the program {'-' * 95}",
        *([own] if own else []),
        code,
        _MAIN.format(entry=entry),
        f"# -- what it is made of: prompts written, answers read {'-' * 55}",
        support,
        'if __name__ == "__main__":\n    main()',
    ]
    return "\n\n\n".join(p.strip("\n") for p in parts) + "\n"


_IMPORTS = """import ast
import functools
import json
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any
"""
_MAIN = '''def main() -> None:
    """Inputs as a JSON object, from the command line or standard input; outputs as JSON."""
    given = json.loads(sys.argv[1] if len(sys.argv) > 1 else sys.stdin.read())
    print(json.dumps({entry}(**given), ensure_ascii=False))
'''
