"""`lampc run --out` killed between calls of tools: what a tool returned is not asked for again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = """
import os, signal
from pathlib import Path
import lampc

@lampc.tool
def send(text: str) -> dict:
    kill, log = os.environ.get("KILL"), Path("sent.log")
    sent = log.read_text().split() if log.exists() else []
    if kill and len(sent) >= 4 and not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), getattr(signal, kill))
    with log.open("a") as file:  # other rows may do the same on their threads
        file.write(text + "\\n")
    if text == "odd":
        raise ValueError("no")
    return {"number": len(sent), "object": object() if text == "object" else None}

@lampc.program
def main(text: str):
    first = send(text)
    second = send(text + "!")
    return {"numbers": [first["number"], second["number"]]}
"""
SOURCE = """
tool send(text: str) -> any = python("tools:send");
module main(text: str) -> (numbers: list[any]) {
  let first = send(text);
  let second = send(text + "!");
  return (numbers: [first, second]);
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tools.py").write_text(TOOLS)
    (tmp_path / "main.lmp").write_text(SOURCE)
    return tmp_path


def run(folder: Path, file: str, texts: list[str], kill: str = "") -> tuple[int, str]:
    (folder / "rows.csv").write_text("\n".join(["text", *texts]) + "\n")
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "KILL": kill}
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignore"
    line = [sys.executable, "-m", "lampc", "run", file, "--data", "rows.csv", "--out", "out.jsonl"]
    done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False)
    signal.signal(signal.SIGINT, usual)
    return done.returncode, done.stderr


def sent(folder: Path) -> list[str]:
    return sorted((folder / "sent.log").read_text().split())


CHAIN = """
@lampc.program
def chain(text: str):
    numbers = [0]
    for end in ["a", "b", "c", "d", "e", "f"]:
        numbers.append(send(text + end)["number"])
    return {"numbers": numbers}
"""
CHAINED = f"""
tool send(text: str) -> any = python("tools:send");
module chain(text: str) -> (numbers: list[any]) {{
  {" ".join(f'let n{end} = send(text + "{end}");' for end in "abcdef")}
  return (numbers: [{", ".join(f"n{end}" for end in "abcdef")}]);
}}
"""
TRIED = """
        try:
            numbers.append(send(text + end)["number"])
        except KeyError as e:
            raise e
"""


@pytest.mark.parametrize("file", ["chain.lmp", "traced.py", "plain.py"])
def test_a_killed_run_calls_no_tool_twice(folder: Path, file: str) -> None:
    """One row: of several the tools of others may be under way."""
    tools = TOOLS[: TOOLS.index("@lampc.program")]
    (folder / "chain.lmp").write_text(CHAINED)
    (folder / "traced.py").write_text(tools + CHAIN)
    (folder / "plain.py").write_text(
        tools + CHAIN.replace('\n        numbers.append(send(text + end)["number"])\n', TRIED)
    )
    code, _ = run(folder, file, ["x"], "SIGKILL")
    assert code == -signal.SIGKILL
    assert sent(folder) == ["xa", "xb", "xc", "xd"]
    code, err = run(folder, file, ["x"])
    assert code == 0, err
    assert sent(folder) == ["xa", "xb", "xc", "xd", "xe", "xf"]


def test_other_rows_and_what_a_tool_raised_are_called_again(folder: Path) -> None:
    code, _ = run(folder, "main.lmp", ["a", "odd"])
    assert code == 1
    assert sent(folder) == ["a", "a!", "odd"]
    run(folder, "main.lmp", ["a", "odd"])
    assert sent(folder) == ["a", "a!", "odd", "odd"]
    code, err = run(folder, "main.lmp", ["b", "a"])
    assert code == 0, err
    assert sent(folder) == ["a", "a", "a!", "a!", "b", "b!", "odd", "odd"], "the row `a` is another one"


def test_a_stop_names_the_tools_that_are_called_again(folder: Path) -> None:
    texts = ["object", "b", "c"]
    code, err = run(folder, "main.lmp", texts, "SIGINT")
    assert code == 130
    assert "but calls the tool send again, whose calls are not JSON" in err
    (folder / "sent.log").unlink()
    (folder / "killed").unlink()
    code, err = run(folder, "main.lmp", ["x", "y", "z"], "SIGINT")
    assert code == 130
    assert "calls the tool" not in err


BESIDE = """
import os, signal, time
from pathlib import Path
import lampc

@lampc.tool(blocking=True)
def send(text: str) -> str:
    with open("sent.log", "a") as log:
        log.write(text + "\\n")
    return text

def busy(text: str) -> str:
    while not Path("sent.log").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    if os.environ.get("KILL"):
        os.kill(os.getpid(), getattr(signal, os.environ["KILL"]))
    return text

@lampc.program
def main(text: str):
    if text == "busy":
        done = busy(text)
    else:
        done = send(text)
    return {"done": done}
"""


def test_what_a_tool_returned_on_a_thread_is_kept_while_other_rows_work(folder: Path) -> None:
    (folder / "beside.py").write_text(BESIDE)
    code, _ = run(folder, "beside.py", ["a", "busy"], "SIGKILL")
    assert (code, sent(folder)) == (-signal.SIGKILL, ["a"])
    code, err = run(folder, "beside.py", ["a", "busy"])
    assert code == 0, err
    assert sent(folder) == ["a"]
