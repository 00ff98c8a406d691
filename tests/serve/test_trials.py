"""Grammars of requests that would hold the engine for long are refused before it sees them."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from lampc.backend.errors import BadGrammar
from lampc.runtime.serve import trials
from lampc.runtime.serve.problems import Problem
from lampc.runtime.serve.trials import MOST_WAITING, Trials
from tests.serve.conftest import served

LONG = "start: A\nA: B & C & D\nB: /(.{311})*/\nC: /(.{313})*/\nD: /(.{317})*/\n"
SHORT = "start: A\nA: /[ab]+/ & /.{3}/\n"


def test_a_grammar_that_takes_long_is_a_400_and_the_engine_goes_on() -> None:
    with served() as server, httpx.Client(base_url=server.url, timeout=60) as client:
        body = {"prompt": "a", "max_tokens": 4, "temperature": 0, "structured_outputs": {"grammar": LONG}}
        for _ in range(2):
            refused = client.post("/v1/completions", json=body)
            assert refused.status_code == 400, refused.text
            assert refused.json()["error"]["param"] == "structured_outputs.grammar"
            assert "takes too long to read" in refused.json()["error"]["message"]
        chat = {"messages": [{"role": "user", "content": "a"}], "structured_outputs": {"grammar": LONG}}
        assert client.post("/v1/chat/completions", json=chat).status_code == 400
        body["structured_outputs"] = {"grammar": SHORT}
        answer = client.post("/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["choices"][0]["text"]) == 3


def test_what_was_read_in_time_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(trials, "read_elsewhere", tried.append)
    monkeypatch.setattr(trials, "KEPT", 2)

    async def main() -> None:
        found = Trials()
        for grammar in ("a & b", "a & c", "a & b", "a & d", "a & b", "a & c", "no such"):
            await found.check(grammar)

    asyncio.run(main())
    assert tried == ["a & b", "a & c", "a & d", "a & c"]


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(grammar: str) -> None:
        raise BadGrammar(grammar)

    monkeypatch.setattr(trials, "read_elsewhere", refuse)

    async def main() -> list[object]:
        found = Trials()
        asked = [found.check(f"a & b{i}") for i in range(MOST_WAITING + 3)]
        first = await asyncio.gather(*asked, return_exceptions=True)
        with pytest.raises(BadGrammar, match="again"):
            await found.check("a & again")
        return list(first)

    found = asyncio.run(main())
    assert sum(isinstance(e, BadGrammar) for e in found) == MOST_WAITING
    assert [e.status for e in found if isinstance(e, Problem)] == [429] * 3
