"""`lampc serve` as a process: what it says, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lampc.runtime.cli import main
from tests.serve.conftest import EXAMPLES

ROOT = EXAMPLES.parent


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lampc", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as made:
        timer = threading.Timer(120, made.kill)
        timer.start()
        try:
            assert made.stderr is not None
            line = made.stderr.readline()
            found = re.search(r"http://\S+", line)
            assert found, line
            yield made, found.group()
        finally:
            timer.cancel()
            made.kill()


def child(of: int) -> int:
    """The one process that another has started."""
    stats = [(int(p.parent.name), p.read_text().rpartition(")")[2].split()) for p in Path("/proc").glob("[0-9]*/stat")]
    (found,) = [pid for pid, stat in stats if int(stat[1]) == of]
    return found


@pytest.mark.timeout(180)
def test_whoever_asks_an_engine_that_was_killed_is_told() -> None:
    why = "the engine's process was killed by signal 9 (SIGKILL)"
    text = {"prompt": "the cat", "max_tokens": 1900, "ignore_eos": True, "n": 8}
    program = {"inputs": {"text": "the invoice is wrong"}}
    asked = [("/v1/completions", text), ("/programs/Classifier", program)]
    with process(str(EXAMPLES / "01_classify.lmp")) as (made, url), ThreadPoolExecutor(2) as threads:

        def ask(path: str, body: dict[str, Any]) -> tuple[int, Any]:
            got = httpx.post(f"{url}{path}", json=body, trust_env=False, timeout=60)
            return got.status_code, got.json()["error"]

        engine = child(made.pid)
        os.kill(engine, signal.SIGSTOP)
        waiting = [threads.submit(ask, *one) for one in asked]
        time.sleep(0.7)
        os.kill(engine, signal.SIGKILL)
        answers = [w.result() for w in waiting] + [ask(*one) for one in asked]
        for status, error in answers:
            assert (status, error["code"], error["message"]) == (503, "engine_failed", why)
        assert why in httpx.get(f"{url}/health", trust_env=False).text
        made.terminate()
        assert made.wait(30) == 0
        assert made.stderr is not None
        assert made.stderr.read() == f"{why}\n"


@pytest.mark.timeout(180)
def test_a_process_drains_and_ends() -> None:
    body = {"prompt": "the cat", "max_tokens": 1500, "ignore_eos": True, "stream": True}
    with process(str(EXAMPLES / "01_classify.lmp")) as (made, url):
        got = httpx.post(
            f"{url}/programs/Classifier", json={"inputs": {"text": "no mail"}}, trust_env=False, timeout=60
        )
        assert got.status_code == 200
        with httpx.stream("POST", f"{url}/v1/completions", json=body, trust_env=False, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            made.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}/health", trust_env=False)
            text = "".join(lines)  # what is under way is answered to its end
        assert '"finish_reason":"length"' in text
        assert text.endswith("data: [DONE]")
        assert made.wait(60) == 0


@pytest.mark.timeout(180)
def test_draining_has_an_end(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("secret\n", encoding="utf-8")
    right = {"authorization": "Bearer secret"}
    body = {"prompt": "the cat", "max_tokens": 1900, "ignore_eos": True, "stream": True, "n": 32}
    with (
        process("--limit", "drain=1", "--keys", str(file)) as (made, url),
        httpx.stream("POST", f"{url}/v1/completions", json=body, headers=right, trust_env=False, timeout=60) as answer,
    ):
        assert httpx.get(f"{url}/v1/models", trust_env=False).status_code == 401
        next(answer.iter_lines())
        made.send_signal(signal.SIGTERM)
        assert made.wait(60) == 0


MANY = """
signature Tone(text: str) -> (tone: "good" | "bad", why: str) {
  "Say whether the text is kind."
}
module Tones(texts: list[str]) -> (whys: list[str]) {
  use ask = Predict(Tone);
  let r = map t in texts { let a = ask(text: t); yield a; };
  return (whys: r.why);
}
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM], [signal.SIGINT] * 2])
def test_whoever_waits_at_the_end_is_told(tmp_path: Path, signals: list[signal.Signals]) -> None:
    file = tmp_path / "many.lmp"
    file.write_text(MANY, encoding="utf-8")
    text = {"prompt": "the cat", "max_tokens": 1900, "ignore_eos": True, "n": 16}
    chat = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1900, "ignore_eos": True, "n": 16}
    program = {"inputs": {"texts": [f"text {i}" for i in range(600)]}}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/v1/completions", text),
        ("/v1/chat/completions", chat),
        ("/programs/Tones", program),
    ]
    with process("--limit", f"drain={1 if len(signals) == 1 else 100}", str(file)) as (made, url):

        def whole(request: tuple[str, dict[str, Any]]) -> tuple[int, Any]:
            got = httpx.post(f"{url}{request[0]}", json=request[1], trust_env=False, timeout=100)
            return got.status_code, got.json()["error"]["code"]

        def streamed(request: tuple[str, dict[str, Any]]) -> list[str]:
            body = {**request[1], "stream": True}
            got = httpx.post(f"{url}{request[0]}", json=body, trust_env=False, timeout=100)
            return got.text.split("\n\n")[-3:]

        where = (str(httpx.URL(url).host), httpx.URL(url).port or 0)
        head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        length = b"content-length: %d\r\n\r\n"
        whole_body = json.dumps({**text, "n": 128, "stream": True}).encode()
        with (
            ThreadPoolExecutor(8) as threads,
            socket.create_connection(where) as slow,
            socket.create_connection(where) as deaf,
        ):
            streams = [threads.submit(streamed, a) for a in asked[:2]]
            time.sleep(0.7)  # these have begun
            wholes = [threads.submit(whole, a) for a in asked]
            slow.sendall(head + length % 100 + b"{")
            deaf.sendall(head + length % len(whole_body) + whole_body)  # it reads nothing of its answer
            time.sleep(0.5)
            for number in signals:
                made.send_signal(number)
                time.sleep(0.3)
            for future in wholes:
                assert future.result() == (503, "shutting_down")
            for stream in streams:
                error, *rest = stream.result()
                assert json.loads(error.removeprefix("data: "))["error"]["code"] == "shutting_down"
                assert rest == ["data: [DONE]", ""]
            assert slow.recv(100).startswith(b"HTTP/1.1 503")
            assert made.wait(30) == 0
        assert made.stderr is not None
        assert made.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--limit", "size=3"], "there is no such limit; there are body, tokens"),
        (["--limit", "queue=no"], "queue is 'no'; give a whole number above 0"),
        (["--model", "nowhere"], "no such folder"),
        (["--embedder", "json"], "MODULE:FUNCTION"),
        (["--embedder", str(ROOT)], "config.json: no such file"),
        (["nothing.lmp"], "nothing.lmp"),
        (["--log", "loud"], "log level 'loud': there are critical, error"),
        (["--host", "256.1.1.1", "--port", "0"], "cannot be listened on"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *arguments]) == 1
    assert said in capsys.readouterr().err


def test_a_program_and_what_it_was_tuned_to_have_one_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / "desk.lmp", tmp_path / "tuned.lmp"]
    for file in files:
        shutil.copy(ROOT / "tests/cli/files/classify.lmp", file)
    assert main(["serve", *map(str, files)]) == 1
    said = capsys.readouterr().err
    assert f"{files[0]} and {files[1]} would both be /programs/Classify: serve one, or each on a --port" in said


def test_a_file_without_keys_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys"
    file.write_text("# none\n", encoding="utf-8")
    assert main(["serve", "--keys", str(file)]) == 1
    assert "there is no key in it" in capsys.readouterr().err
