"""Programs in DSPy's public style (`tests/dspy_programs`), exported: run without lampc, they answer the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lampc.frontend.python import trace
from lampc.runtime.export import NotExportable, export
from lampc.runtime.scripted import written
from lampc.runtime.types import Row
from tests.python.test_modules_programs import NAMES, _runner, load, plain, script
from tests.python.twins import ours
from tests.runtime.loopback import Loopback

pytestmark = pytest.mark.filterwarnings("ignore:The 'prefix' argument:DeprecationWarning")

RUN = """
import json, os, runpy, sys, traceback
for name in ("lampc", "torch", "dspy"):
    sys.modules[name] = None
for program in json.loads(sys.argv[1]):
    names = runpy.run_path(program["path"])
    for row in program["rows"]:
        try:
            print(json.dumps([program["name"], names[program["entry"]](**row)]))
        except Exception:
            print(json.dumps([program["name"], traceback.format_exc()]))
"""


class Many(Loopback):
    """Answers by the script of the program whose name is the model's."""

    def __init__(self, scripts: dict[str, Any]) -> None:
        super().__init__(lambda messages: "")
        self.scripts = scripts

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        found = self.scripts[body["model"]](body["messages"])
        text = found if isinstance(found, str) else written("chat", found)
        self._answer = lambda messages: text
        return super()._complete(body)


def test_static_programs_answer_the_same_without_lampc(tmp_path: Path) -> None:
    import lampc

    scripts: dict[str, Any] = {}
    programs: list[dict[str, Any]] = []
    wanted: list[list[Any]] = []
    refused: dict[str, str] = {}
    for name in NAMES:
        module = load(name, lampc)
        if module.MODE != "static":
            continue
        with ours(script(module)):
            unit = trace(module.build())
            rows = [{k: plain(v) for k, v in row.items()} for row in module.INPUTS]
            session = _runner().session
            outcomes = [session.run(unit, [Row(str(i), row)])[0] for i, row in enumerate(rows)]
        try:
            exported = export(unit, model=name, name=name)
        except NotExportable as e:
            refused[name] = str(e)
            continue
        path, _ = exported.write(tmp_path / name)
        entry = exported.program.partition("json.dumps(program_")[2].partition("(")[0]
        programs.append({"name": name, "path": str(path), "entry": f"program_{entry}", "rows": rows})
        scripts[name] = script(load(name, lampc))
        wanted += [[name, plain(o.value)] for o in outcomes]
    with Many(scripts) as server:
        done = subprocess.run(
            [sys.executable, "-c", RUN, json.dumps(programs)],
            env={"PATH": os.environ["PATH"], "OPENAI_BASE_URL": server.url},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == wanted
    assert refused == {}
    assert len(programs) >= 18
