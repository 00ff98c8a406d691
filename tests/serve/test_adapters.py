"""LoRA adapters behind HTTP: chosen by a request's model, batched together, each equal to merged weights."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from lampc.backend import Engine, load_engine
from lampc.runtime.cli import main
from lampc.runtime.pool import firefly_folder
from lampc.runtime.serve import App, Server
from tests.backend.test_lora import ATTENTION, MLP, make, merged
from tests.serve.conftest import EXAMPLES, client, example, left_nothing

PROMPTS = ["the cat", "ann has 3 pens . how many ?", "text: the wifi is wrong\nlabel:"]
GREEDY: dict[str, Any] = {"max_tokens": 12, "temperature": 0}
TEXT = {"inputs": {"text": "the invoice is wrong"}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("adapters")
    return {
        "law": make(firefly_folder(), base / "law", ATTENTION + MLP, seed=1, lora_alpha=0.5),
        "code": make(firefly_folder(), base / "code", ATTENTION, seed=2, rank=3, lora_alpha=0.5),
    }


@pytest.fixture(scope="module")
def served(folders: dict[str, Path]) -> Iterator[Server]:
    engine = load_engine(firefly_folder(), adapters=folders, kv_tokens=20_000)
    with Server(App(engine, found=[example("01_classify")]), port=0) as server:
        yield server
        left_nothing(server)


def together(server: Server, asked: list[tuple[str, str]], **more: Any) -> list[str]:
    """Texts of (model, prompt) that are all under way at once."""

    async def work() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as api:
            made = [api.completions.create(model=m, prompt=p, **GREEDY, **more) for m, p in asked]
            return [answer.choices[0].text for answer in await asyncio.gather(*made)]

    return asyncio.run(work())


def test_together_each_writes_what_merged_weights_write(
    served: Server, folders: dict[str, Path], tmp_path: Path
) -> None:
    asked = [(model, prompt) for prompt in PROMPTS for model in ("law", "firefly", "code")]
    texts = dict(zip(asked, together(served, asked), strict=True))
    assert texts == {one: together(served, [one])[0] for one in asked}  # alone, and over what the cache holds
    right = {"firefly": Path(firefly_folder())}
    for name, rank in (("law", 4), ("code", 3)):
        right[name] = merged(right["firefly"], folders[name], tmp_path / name, 0.5 / rank)
    for name, folder in right.items():
        with Engine.load(folder, kv_tokens=4_000) as engine:
            for prompt in PROMPTS:
                assert texts[name, prompt] == engine.generate(prompt, **GREEDY).text
    assert all(len({texts[m, p] for m in right}) == 3 for p in PROMPTS[1:])


def test_prefixes_are_an_adapters_own(served: Server) -> None:
    prompt = "one two three four five six seven eight nine ten " * 4
    with client(served) as api:

        def cached(model: str) -> int:
            usage = api.completions.create(model=model, prompt=prompt, max_tokens=1).usage
            assert usage is not None
            assert usage.prompt_tokens_details is not None
            return usage.prompt_tokens_details.cached_tokens or 0

        assert [cached(m) for m in ("law", "code", "firefly")] == [0, 0, 0]
        assert min(cached(m) for m in ("law", "code", "firefly")) > 30


def test_models_are_listed_and_others_refused(served: Server) -> None:
    with client(served) as api:
        assert [m.id for m in api.models.list()] == ["firefly", "code", "law"]
        assert api.models.retrieve("law").model_dump()["parent"] == "firefly"
        with pytest.raises(openai.NotFoundError, match="there are 'firefly', 'code', 'law'"):
            api.completions.create(model="art", prompt="x")


def test_programs_run_on_the_adapter_that_is_asked_for(served: Server) -> None:
    def calls(**more: Any) -> tuple[httpx.Response, int]:
        got = httpx.post(f"{served.url}/programs/Classifier", json={**TEXT, **more}, trust_env=False, timeout=60)
        return got, served.app.service.engine.metrics().stats.requests

    first, plain = calls()
    tuned, before = calls(model="law")
    assert before > plain
    again, after = calls(model="law")
    assert first.status_code == tuned.status_code == 200, (first.text, tuned.text)
    assert again.json() == tuned.json()
    assert after == before  # remembered, but not from the model without it
    streamed, _ = calls(model="law", stream=True)
    assert json.loads(streamed.text.split("data: ")[-2])["outputs"] == tuned.json()["outputs"]
    assert calls(model="art")[0].status_code == 404


@pytest.mark.parametrize(
    ("given", "said"),
    [("law", "give NAME=FOLDER"), ("law=nowhere", "nowhere"), (f"law={EXAMPLES}", "give the folder that PEFT saved")],
)
def test_what_is_wrong_is_said(given: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--adapter", given]) == 1
    assert said in capsys.readouterr().err
