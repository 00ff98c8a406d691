"""Programs on an OpenAI-compatible endpoint: answers as on the engine behind it; resumed, tuned, failing well."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lampc.backend import FakeEngine
from lampc.ir.errors import LMError
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from tests.runtime.loopback import Loopback, Messages, failure
from tests.runtime.programs import CALL, CASES
from tests.runtime.test_execute import rows, values

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [{"text": text} for text in ("red", "blue", "red", "green")]

PROGRAM = '''signature Tone(text: str) -> (tone: "good" | "bad") {
  """Do it."""
}

module Classify(text: str) -> (tone: "good" | "bad") {
  use ask = Predict(Tone);
  let r = ask(text: text);
  return (tone: r.tone);
}

metric same(gold: str, pred: str) -> float = { exact_match(gold, pred) };
dataset notes: (text: str, tone: str) = csv("notes.csv", train: 8, dev: 8, test: 8, seed: 1);

optimize Classify
  with bootstrap(max_bootstrapped_demos: 2, max_labeled_demos: 2), instructions(pool: ["Say good or bad."])
  on notes.train
  select notes.dev
  by same;
'''


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAMPC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", CASES)
def test_answers_are_those_of_the_engine_behind_the_endpoint(name: str) -> None:
    program, inputs = CASES[name]
    with Session(model=FakeEngine()) as session:
        local = session.run(program, rows(inputs))
    with Loopback(FakeEngine()) as server, Session(model=server.url) as session:
        remote = session.run(program, rows(inputs))
        calls = session.usage.calls - session.usage.stored_calls
    assert values(remote) == values(local)
    assert calls == len(server.requests)


def test_equal_calls_are_made_once_and_never_again(tmp_path: Path) -> None:
    with Loopback(FakeEngine()) as server:
        with Store(tmp_path / "s") as store, Session(model=server.url, store=store) as session:
            first = values(session.run(CALL, rows(TEXTS)))
            assert session.usage.calls == 4
            assert session.usage.prompt_tokens > 0
        assert len(server.requests) == 3
        with Store(tmp_path / "s") as store, Session(model=server.url, store=store) as session:
            assert values(session.run(CALL, rows(TEXTS))) == first
            assert session.usage.stored_calls == 4
        assert len(server.requests) == 3


def test_sampled_calls_send_their_own_seeds() -> None:
    program, inputs = CASES["sampled"]
    seeds = []
    for _ in range(2):
        with Loopback(lambda messages: "x") as server, Session(model=server.url, seed=5) as session:
            session.run(program, rows(inputs))
        seeds.append(sorted(r["seed"] for r in server.requests))
        assert {r["temperature"] for r in server.requests} == {0.9}
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == len(seeds[0])


def test_a_call_that_fails_ends_its_row_only() -> None:
    def answer(messages: Messages) -> str:
        return "fine"

    refused = failure(400, "This model's maximum context length is 8 tokens.")
    with Loopback(answer, script=[failure(500), refused]) as server, Session(model=server.url) as session:
        outcomes = session.run(CALL, rows(TEXTS[:2]))
        failed = [o for o in outcomes if o.error is not None]
        assert len(failed) == 1
        error = failed[0].error
        assert error is not None
        assert error.kind == "model"
        assert error.row in ("0", "1")
        assert "too long for model 'loop'" in error.message
        assert f"{server.url}/chat/completions" in error.message
        again = session.run(CALL, rows(TEXTS[:2]))
    assert [o.value for o in again] == [{"label": "fine"}] * 2
    assert len(server.requests) == 4, "the call that was finished is not made again"


def test_nobody_at_the_address() -> None:
    with (
        Session(model="http://127.0.0.1:9/v1", model_options={"model": "m"}) as session,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("lampc.runtime.providers.transport.random.uniform", lambda low, high: 0.0)
        (outcome,) = session.run(CALL, rows(TEXTS[:1]))
    assert outcome.error is not None
    assert "no connection" in outcome.error.message
    assert "is the server running?" in outcome.error.message


def test_a_server_of_many_models_wants_a_name() -> None:
    with Loopback(lambda m: "x", models=("a", "b")) as server:
        with Session(model=server.url) as session, pytest.raises(LMError, match="give the name of one"):
            session.run(CALL, rows(TEXTS[:1]))
        with Session(model=server.url, model_options={"model": "b"}) as session:
            session.run(CALL, rows(TEXTS[:1]))
        assert [r["model"] for r in server.requests] == ["b"]


# -- the command line ---------------------------------------------------------------------------------


def lampc(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    # a proxy nobody listens on: what goes to this machine must not take it
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return subprocess.run(
        [sys.executable, "-m", "lampc", *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **proxies, "PYTHONPATH": str(ROOT / "src"), **env},
        check=False,
        timeout=120,
    )


def tone(messages: Messages) -> str:
    """Right if the instruction says what is wanted, else for short texts only."""
    prompt = "\n".join(m["content"] for m in messages)
    text = messages[-1]["content"]
    right = "good" if "kind" in text else "bad"
    knows = "Say good or bad" in prompt or len(re.findall(r"number (\d+)", text)[-1]) == 1
    return f"tone: {right if knows else 'bad'}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my.lmp").write_text(PROGRAM)
    draw = random.Random(0)
    lines = [f"a {draw.choice(['kind', 'rude'])} note number {i}" for i in range(24)]
    table = "text,tone\n" + "".join(f"{line},{'good' if 'kind' in line else 'bad'}\n" for line in lines)
    (tmp_path / "my.csv").write_text(table)
    (tmp_path / "notes.csv").write_text(table)
    return tmp_path


def test_ones_own_table_is_tuned_on_an_endpoint(folder: Path) -> None:
    with Loopback(tone) as server:
        args = ("optimize", "my.lmp", "--data", "my.csv", "--model", server.url)
        done = lampc(*args, cwd=folder, LAMPC_API_KEY="sk-secret-secret")
        assert done.returncode == 0, done.stderr
        score = re.search(r"score: ([\d.]+) -> ([\d.]+)", done.stdout)
        assert score, done.stdout
        assert float(score[2]) == 100.0 > float(score[1])
        made = len(server.requests)
        assert made == len({repr(r) for r in server.requests}), "no call is made twice"
        assert {h["authorization"] for h in server.headers} == {"Bearer sk-secret-secret"}
        again = lampc(*args, cwd=folder)
        assert again.returncode == 0, again.stderr
        assert "this run finished before" in again.stdout
        assert len(server.requests) == made
        for kept in (folder / "out" / "my").iterdir():
            assert b"sk-secret" not in kept.read_bytes()
        tuned = folder / "out" / "my" / "tuned.lampc"
        text = "a kind note number 12345"
        used = lampc("run", str(tuned), "--input", f"text={text}", "--model", server.url, cwd=folder)
    assert used.returncode == 0, used.stderr
    assert '"good"' in used.stdout


def test_an_endpoint_that_refuses_the_key_is_one_line(folder: Path) -> None:
    with Loopback(tone, script=[failure(401, "no")] * 99) as server:
        done = lampc(
            "run",
            "my.lmp",
            "--input",
            "text=a kind note number 1",
            "--model",
            server.url,
            cwd=folder,
            LAMPC_API_KEY="sk-wrong-wrong",
        )
    assert done.returncode == 1
    assert "the key is not accepted; set LAMPC_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert "sk-wrong" not in done.stderr + done.stdout
