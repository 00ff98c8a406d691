"""`lampc batch`: a file of prompts through the bundled model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lampc.backend import Engine
from lampc.runtime.pool import firefly_folder
from tests.cli.conftest import Result

Lampc = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[2]
HEAD = "Say which kind of word this is.\nword: {}\nkind:"


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def firefly() -> Iterator[Engine]:
    with Engine.load(firefly_folder()) as engine:
        yield engine


def test_every_line_gets_what_the_engine_says(lampc: Lampc, folder: Path, firefly: Engine) -> None:
    words = ("oak", "owl", "axe", "fern", "frog")
    chat = [{"role": "user", "content": "word: oak"}]
    write(
        folder / "in.jsonl",
        *({"id": word, "prompt": HEAD.format(word)} for word in words),
        {"messages": chat, "n": 3},
        {"prompt": HEAD.format("oak"), "temperature": 0, "logprobs": True},
    )
    result = lampc("batch", "in.jsonl", "--out", "to/out.jsonl", "-s", "temperature=0.8", "-s", "max_tokens=6")
    assert (result.code, result.out) == (0, "")
    assert "batch: 7/7" in result.err
    assert "to/out.jsonl: 7 requests, 0 failed; prompt tokens: " in result.err
    found = {r["line"]: r for r in read(folder / "to/out.jsonl")}
    for line, word in enumerate(words, 1):
        assert found[line]["id"] == word
        assert found[line]["text"] == firefly.generate(HEAD.format(word), temperature=0.8, max_tokens=6).text
    assert [c["text"] for c in found[6]["completions"]] == [
        *firefly.chat(chat, n=3, temperature=0.8, max_tokens=6).texts
    ]
    greedy = firefly.generate(HEAD.format("oak"), max_tokens=6, logprobs=True).completions[0]
    assert found[7]["text"] == greedy.text
    assert tuple(found[7]["logprobs"]) == greedy.logprobs


def test_errors_name_their_lines_and_hold_nothing_up(lampc: Lampc, folder: Path) -> None:
    write(
        folder / "in.jsonl", {"prompt": "a", "max_tokens": 2}, "{oops", {"prompt": "a", "temprature": 1}, {"ids": [1e9]}
    )
    result = lampc("batch", "in.jsonl", "--out", "out.jsonl")
    assert result.code == 1
    told = [line for line in result.err.splitlines() if line.startswith("error")]
    assert told[0].startswith("error: in.jsonl:2: not JSON: ")
    assert told[1] == "error: in.jsonl:3: a line has no option 'temprature'; did you mean 'temperature'?"
    assert told[2].startswith("error: in.jsonl:4: ids is ")
    assert "4 requests, 3 failed" in result.err
    assert {r["line"]: "error" in r for r in read(folder / "out.jsonl")} == {1: False, 2: True, 3: True, 4: True}

    again = lampc("batch", "in.jsonl", "--out", "out.jsonl")
    assert again.code == 1, "there are still errors in the file"
    assert "4 of 4 lines are finished" in again.err
    assert "3 lines failed in an earlier run: mend them in in.jsonl" in again.err
    write(folder / "in.jsonl", {"prompt": "a", "max_tokens": 2}, *({"prompt": x, "max_tokens": 2} for x in "bcd"))
    mended = lampc("batch", "in.jsonl", "--out", "out.jsonl", "--ordered")
    assert mended.code == 0
    assert "out.jsonl: 3 requests, 0 failed" in mended.err
    assert [r["line"] for r in read(folder / "out.jsonl")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jsonl", "--out", "o"], "none.jsonl: no such file"),
        (["in.jsonl", "--out", "in.jsonl"], "--out in.jsonl is the input"),
        (["in.jsonl", "--out", "."], "this is a folder"),
        (["in.jsonl", "--out", "o", "-s", "temprature=1"], "--set has no option 'temprature'; did you mean"),
        (["in.jsonl", "--out", "o", "-s", "temperature"], "--set temperature: give NAME=VALUE"),
        (["in.jsonl", "--out", "o", "-s", "temperature=hot"], "temperature is 'hot'; give a number"),
        (["in.jsonl", "--out", "o", "-e", "kv_token=1"], "--engine has no option 'kv_token'; did you mean 'kv_tokens'"),
        (["in.jsonl", "--out", "o", "-e", "dtype=int3"], "--engine: dtype is 'int3'"),
        (["in.jsonl", "--out", "o", "--model", "nowhere"], "nowhere: no such folder; give a checkpoint folder or"),
        (["in.jsonl", "--out", "o", "--model", "http://x/v1", "-e", "kv_tokens=9"], "an endpoint has model, poll"),
    ],
)
def test_what_cannot_be_done_is_said_at_once(lampc: Lampc, folder: Path, arguments: list[str], message: str) -> None:
    write(folder / "in.jsonl", {"prompt": "a"})
    result = lampc("batch", *arguments)
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert message in result.err


def test_nothing_is_forgotten_by_a_command_that_cannot_run(lampc: Lampc, folder: Path) -> None:
    write(folder / "in.jsonl", {"prompt": "a", "max_tokens": 2})
    assert lampc("batch", "in.jsonl", "--out", "out.jsonl").code == 0
    before = (folder / "out.jsonl").read_bytes()
    assert lampc("batch", "in.jsonl", "--out", "out.jsonl", "--fresh", "--model", "nowhere").code == 1
    write(folder / "in.jsonl", "{")
    assert lampc("batch", "in.jsonl", "--out", "out.jsonl", "--fresh", "--strict").code == 1
    assert (folder / "out.jsonl").read_bytes() == before
    assert lampc("batch", "in.jsonl", "--out", "out.jsonl").code == 1, "these are results of another input"
    assert lampc("batch", "in.jsonl", "--out", "out.jsonl", "--fresh").code == 1
    assert "error" in read(folder / "out.jsonl")[0]


@pytest.fixture
def job(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `lampc batch in.jsonl --out NAME` as a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(out: str) -> subprocess.Popen[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "lampc.runtime.cli", "batch", "in.jsonl", "--out", out, "--ordered"]
        usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background inherits "ignore"
        process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
        signal.signal(signal.SIGINT, usual)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _stopped_midway(process: subprocess.Popen[str], out: Path, how: signal.Signals) -> tuple[int, str]:
    """Sends `how` once there are some results; gives exit code and standard error."""
    end = time.monotonic() + 60
    while not out.exists() or out.read_bytes().count(b"\n") < 5:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(how)
    err = process.communicate(timeout=60)[1]
    return process.returncode, err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_started_again_it_ends_the_same(
    folder: Path, firefly: Engine, job: Callable[..., subprocess.Popen[str]], how: signal.Signals
) -> None:
    options: dict[str, Any] = {"temperature": 1.0, "ignore_eos": True, "n": 2}
    texts = [HEAD.format(f"w{i}") for i in range(90)]
    lengths = [4 + i * 7 % 20 for i in range(90)]
    lines = [{"id": i, "prompt": t, "max_tokens": k, **options} for i, (t, k) in enumerate(zip(texts, lengths))]
    write(folder / "in.jsonl", *lines)
    out = folder / "out.jsonl"
    code, err = _stopped_midway(job("out.jsonl"), out, how)
    kept = out.read_bytes().count(b"\n")
    assert kept < len(lines), "it was stopped midway"
    if how is signal.SIGINT:
        assert code == 130
        assert f"{kept} of 90 lines were done; out.jsonl keeps what is finished" in err
        assert "Traceback" not in err
    else:
        assert code == -signal.SIGKILL
    again = job("out.jsonl")
    err = again.communicate(timeout=120)[1]
    assert again.returncode == 0, err
    assert f"out.jsonl: {kept} of 90 lines are finished" in err
    assert f"out.jsonl: {90 - kept} requests, 0 failed" in err, "nothing that was finished is computed again"
    found = read(out)
    assert [r["id"] for r in found] == list(range(90))
    for result, text, length in list(zip(found, texts, lengths))[::4]:
        expected = firefly.generate(text, max_tokens=length, **options).texts
        assert tuple(c["text"] for c in result["completions"]) == expected


def test_a_folder_of_files_into_another(lampc: Lampc, folder: Path) -> None:
    (folder / "in").mkdir()
    for name, count in (("b", 2), ("a", 3)):
        write(folder / "in" / f"{name}.jsonl", *({"prompt": f"{name} {i}", "max_tokens": 3} for i in range(count)))
    assert lampc("batch", "in", "--out", "out").code == 0
    texts = [(folder / "out" / f"{name}.jsonl").read_text(encoding="utf-8") for name in "ab"]
    assert [text.count("\n") for text in texts] == [3, 2]
    write(folder / "in" / "c.jsonl", {"prompt": "more", "max_tokens": 3}, {"prompt": 5})
    again = lampc("batch", "in", "--out", "out")
    assert again.code == 1
    assert again.err.count("nothing was left to do") == 2
    assert "c.jsonl:2: prompt is 5" in again.err
    (folder / "in" / "d.jsonl").write_bytes(b" \n\n")
    nothing = lampc("batch", "in/d.jsonl", "--out", "out/d.jsonl")
    assert nothing.code == 0  # as of a share of work that came out empty
    assert "warning: in/d.jsonl holds no requests" in nothing.err
    assert (folder / "out" / "d.jsonl").read_bytes() == b""
    (folder / "empty").mkdir()
    for source, out, said in (("empty", "x", "no *.jsonl file"), ("in", "in", "give another folder")):
        assert said in lampc("batch", source, "--out", out).err
