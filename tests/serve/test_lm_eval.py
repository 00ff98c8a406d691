"""lm-eval as a client: what it measures over HTTP is what the engine says alone.

It wants an environment of its own, named by LM_EVAL: docs/serving.md has the commands.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lampc.backend import Engine
from lampc.runtime.serve import Server
from tests.serve.conftest import EXAMPLES

LM_EVAL = os.environ.get("LM_EVAL") or shutil.which("lm-eval")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not LM_EVAL, reason="lm-eval is not installed; name the program with LM_EVAL=PATH"),
]
TASKS = Path("tests/serve/lm_eval")


def measured(server: Server, out: Path, model: str, path: str, *more: str) -> tuple[Any, dict[str, list[Any]]]:
    """Results, and each task's samples in the order of its file."""
    assert LM_EVAL is not None
    command = [LM_EVAL, "run", "--model", model, "--include_path", str(TASKS), "--output_path", str(out)]
    command += ["--model_args", f"model=firefly,base_url={server.url}{path},num_concurrent=8", "--log_samples", *more]
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k != "PYTHONPATH"}
    env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out / "hf")}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=EXAMPLES.parent)
    assert done.returncode == 0, done.stderr[-3000:]
    (found,) = (out / "firefly").glob("results_*.json")
    samples: dict[str, list[Any]] = {}
    for file in (out / "firefly").glob("samples_*.jsonl"):
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        samples["_".join(file.name.split("_")[1:3])] = sorted(lines, key=lambda s: int(s["doc_id"]))
    return json.loads(found.read_text(encoding="utf-8"))["results"], samples


def test_texts_are_scored_and_written_as_by_the_engine_alone(server: Server, alone: Engine, tmp_path: Path) -> None:
    tasks = ["--tasks", "tickets_scored,tickets_written"]
    results, samples = measured(server, tmp_path, "local-completions", "/v1/completions", *tasks)
    right = 0
    for sample in samples["tickets_scored"]:
        asked = [sample["arguments"][f"gen_args_{i}"] for i in range(4)]
        ours = alone.score(asked[0]["arg_0"], [a["arg_1"] for a in asked])
        theirs = [float(r[0][0]) for r in sample["resps"]]
        assert theirs == pytest.approx([s.total for s in ours], abs=1e-4)
        right += asked[theirs.index(max(theirs))]["arg_1"].strip() == sample["target"]
        greedy = alone.generate(asked[0]["arg_0"], max_tokens=4).tokens
        for score, response in zip(ours, sample["resps"], strict=True):
            assert (response[0][1] == "True") == (tuple(greedy[: len(score.tokens)]) == score.tokens)
    assert len(samples["tickets_scored"]) == 24
    assert math.isclose(results["tickets_scored"]["acc,none"], right / 24)
    assert right > 12  # of four labels: it is the prompt that was scored
    for sample in samples["tickets_written"]:
        prompt = sample["arguments"]["gen_args_0"]["arg_0"]
        assert sample["resps"] == [[alone.generate(prompt, max_tokens=8, stop=["\n", "<|end|>"]).text]]
    assert results["tickets_written"]["exact_match,word"] > 0.5


def test_conversations_are_answered_as_by_the_engine_alone(server: Server, alone: Engine, tmp_path: Path) -> None:
    more = ["--tasks", "tickets_written", "--apply_chat_template", "--fewshot_as_multiturn"]
    _, samples = measured(server, tmp_path, "local-chat-completions", "/v1/chat/completions", *more)
    assert len(samples["tickets_written"]) == 24
    for sample in samples["tickets_written"]:
        (messages,) = sample["arguments"]["gen_args_0"]["arg_0"]
        answer = alone.chat(json.loads(messages), max_tokens=8, stop=["\n"])
        assert sample["resps"] == [[answer.text]]
