"""`lampc batch` and `--batch` with an endpoint that has offline batches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.conftest import Result
from tests.runtime.standin import Provider

Lampc = Callable[..., Result]


def answer(messages: list[dict[str, Any]]) -> str:
    return f"tone: {messages[-1]['content'].split()[-1][::-1]}"


def test_a_file_through_batches(lampc: Lampc, tmp_path: Path) -> None:
    lines: list[Any] = [{"prompt": f"question {i}", "id": f"x{i}"} for i in range(4)]
    lines += [{"messages": [{"role": "user", "content": "question 8"}], "temperature": 0.5}, {"ids": [1, 2]}]
    lines += [{"prompt": "question 9", "top_k": 3}]
    file, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text("".join(json.dumps(x) + "\n" for x in lines))
    with Provider(answer) as server:
        command = ["batch", str(file), "--out", str(out), "--model", server.url, "-e", "model=m", "-e", "poll=0.01"]
        done = lampc(*command, "--ordered")
        found = [json.loads(x) for x in out.read_text().splitlines()]
        assert [r.get("text", "")[-1:] for r in found] == ["0", "1", "2", "3", "8", "", ""]
        assert [r["line"] for r in found] == list(range(1, 8))
        assert "takes no token ids" in found[5]["error"]
        assert "top_k" in found[6]["error"]
        assert done.code == 1
        assert "7 requests, 2 failed" in done.err
        file.write_text("".join(json.dumps(x) + "\n" for x in lines[:5]))
        assert len(server.paid) == 5
        assert lampc(*command, "--fresh").code == 0
        assert len(server.paid) == 10  # asked for
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_programs_run_and_are_tuned_in_batches(lampc: Lampc, folder: Path) -> None:
    with Provider(lambda messages: "tone: good", polls=1) as server:
        done = lampc("run", "classify.lmp", "--data", "notes.csv", "--model", server.url, "--batch")
        assert done.code == 0, done.err
        (batch,) = server.batches.values()
        assert batch["request_counts"]["total"] == len(set(server.paid)) == len(done.out.splitlines())
        server.paid.clear()  # what another command asked is in no journal of the next
        server.batches.clear()
        tuned = lampc("optimize", "classify.lmp", "--model", server.url, "--batch", "--price", "1000,1000")
        assert tuned.code == 0, tuned.err
        assert len(server.paid) == len(set(server.paid))
        assert len(server.batches) < len(server.paid) / 3
        assert not server.requests
    refused = lampc("run", "classify.lmp", "-i", "text=a", "--batch")
    assert refused.code == 1
    assert "offline batches are an endpoint's" in refused.err
