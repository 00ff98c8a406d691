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
