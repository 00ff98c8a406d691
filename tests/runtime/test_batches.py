"""Offline batches of endpoints, against a stand-in: nothing lost, nothing paid twice."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import openai
import pytest

import lampc
from lampc.ir.errors import LMError, LMInvalidRequestError
from lampc.runtime.batches import BatchQueue
from lampc.runtime.providers import ChatAnswer, OpenAIClient
from lampc.runtime.providers.batches import BatchEndpoint
from lampc.runtime.store import Store
from tests.runtime.batched_run import FAST, answer, outputs
from tests.runtime.standin import Provider


def bodies(n: int, client: OpenAIClient) -> list[tuple[str, dict[str, Any]]]:
    return [(f"q{i}", client.body([{"role": "user", "content": f"question {i}"}], {})) for i in range(n)]


def drained(queue: BatchQueue) -> dict[str, ChatAnswer | LMError]:
    out: dict[str, ChatAnswer | LMError] = {}
    until = time.monotonic() + 20
    while len(queue):
        assert time.monotonic() < until
        for id, found in queue.step():
            assert id not in out
            out[id] = found
    return out


def queue_of(client: OpenAIClient, store: Store | None = None) -> BatchQueue:
    return BatchQueue(BatchEndpoint(client), store if store is not None else Store(None), poll=FAST)


def test_all_calls_come_back_whatever_their_order() -> None:
    with Provider(answer) as server, OpenAIClient(server.url, "m") as client:
        queue = queue_of(client)
        queue.add(bodies(7, client))
        found = drained(queue)
        assert {id: a.text[-1] for id, a in found.items() if isinstance(a, ChatAnswer)} == {
            f"q{i}": str(i) for i in range(7)
        }
        assert len(server.batches) == 1
        assert not server.requests


def test_the_official_client_sees_the_batch_that_we_made() -> None:
    with (
        Provider(answer) as server,
        OpenAIClient(server.url, "m") as client,
        openai.OpenAI(base_url=server.url, api_key="x") as theirs,
    ):
        queue = queue_of(client)
        queue.add(bodies(3, client))
        drained(queue)
        (batch,) = theirs.batches.list(limit=10).data
        assert (batch.status, batch.endpoint, batch.completion_window) == ("completed", "/v1/chat/completions", "24h")
        assert batch.request_counts is not None
        assert (batch.request_counts.total, batch.request_counts.completed) == (3, 3)
        lines = [json.loads(x) for x in theirs.files.content(batch.input_file_id).text.splitlines()]
        assert [set(x) for x in lines] == [{"custom_id", "method", "url", "body"}] * 3
        uploaded = theirs.files.create(file=("in.jsonl", json.dumps(lines[0]).encode()), purpose="batch")
        made = theirs.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"lampc": "x"}
        )
        found = BatchEndpoint(client).find("x")
        assert found is not None
        assert found.id == made.id


def test_large_ones_are_cut() -> None:
    rules = {"like": "openai", "batch_requests": 3}
    with Provider(answer) as server, OpenAIClient(server.url, "m", prompt_cache=rules) as client:
        queue = queue_of(client)
        queue.add(bodies(8, client))
        assert len(drained(queue)) == 8
        assert [b["request_counts"]["total"] for b in server.batches.values()] == [3, 3, 2]
    with Provider(answer) as server, OpenAIClient(
        server.url, "m", prompt_cache={"like": "openai", "batch_bytes": 300}
    ) as client:  # fmt: skip
        queue = queue_of(client)
        queue.add(bodies(5, client))
        assert len(drained(queue)) == 5
        assert len(server.batches) == 3


def test_errors_are_those_of_their_rows() -> None:
    def fail(body: dict[str, Any]) -> tuple[int, str] | None:
        return (400, "no such thing") if body["messages"][0]["content"].endswith("1") else None

    with Provider(answer, fail=fail) as server, OpenAIClient(server.url, "m") as client:
        queue = queue_of(client)
        queue.add(bodies(3, client))
        found = drained(queue)
    assert isinstance(found["q1"], LMInvalidRequestError)
    assert "no such thing" in str(found["q1"])
    assert isinstance(found["q0"], ChatAnswer)
    assert isinstance(found["q2"], ChatAnswer)


def test_what_expired_is_submitted_again_alone() -> None:
    late = {"q1", "q3"}

    def expire(id: str) -> bool:
        return id in late

    with Provider(answer, expire=expire) as server, OpenAIClient(server.url, "m") as client:
        queue = queue_of(client)
        queue.add(bodies(4, client))
        out = dict(queue.step())
        while not out:
            out |= dict(queue.step())
        assert set(out) == {"q0", "q2"}
        late.clear()
        out |= drained(queue)
        assert sorted(out) == ["q0", "q1", "q2", "q3"]
        assert sorted(server.paid) == ["q0", "q1", "q2", "q3"]
    late.update({"q0"})
    with Provider(answer, expire=lambda id: True) as server, OpenAIClient(server.url, "m") as client:
        queue = queue_of(client)
        queue.add(bodies(1, client))
        assert "in time" in str(drained(queue)["q0"])  # not for ever
        assert len(server.batches) == 3


def test_a_batch_that_is_refused_says_why_and_may_be_tried_anew() -> None:
    with Provider(answer, max_per_batch=2) as server, OpenAIClient(server.url, "m") as client:
        store = Store(None)
        queue = queue_of(client, store)
        queue.add(bodies(3, client))
        assert all("too many requests" in str(a) for a in drained(queue).values())
        server.max_per_batch = 0
        queue = queue_of(client, store)
        queue.add(bodies(3, client))
        assert all(isinstance(a, ChatAnswer) for a in drained(queue).values())


def test_an_endpoint_without_batches_says_so() -> None:
    with Provider(answer) as server, OpenAIClient(server.url + "/elsewhere", "m") as client:
        queue = queue_of(client)
        queue.add(bodies(1, client))
        with pytest.raises(LMError, match="/batches"):
            queue.step()


# -- nothing is paid twice ----------------------------------------------------------------------------


def test_noted_batches_are_gone_on_with_though_some_answers_are_known() -> None:
    with Provider(answer, polls=3) as server, OpenAIClient(server.url, "m") as client:
        store = Store(None)
        first = queue_of(client, store)
        first.add(bodies(6, client))
        first.step()  # submitted; then the process is gone
        second = queue_of(client, store)
        second.add(bodies(6, client)[2:])  # two are known meanwhile
        assert sorted(drained(second)) == ["q2", "q3", "q4", "q5"]
        assert (second.resumed, second.submitted) == (4, 0)
        assert len(server.batches) == 1


def test_a_batch_that_was_made_but_not_noted_is_found_by_its_name() -> None:
    with Provider(answer, polls=3) as server, OpenAIClient(server.url, "m") as client:
        for _ in range(2):
            queue = queue_of(client)  # with a store that knows nothing
            queue.add(bodies(4, client))
            found = drained(queue)
        assert len(found) == 4
        assert len(server.batches) == 1
        assert sorted(server.paid) == ["q0", "q1", "q2", "q3"]


def test_an_answer_that_got_lost_makes_no_second_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lampc.runtime.providers.batches.time.sleep", lambda s: None)
    with Provider(answer) as server, OpenAIClient(server.url, "m") as client:
        endpoint = BatchEndpoint(client)
        real, lost = client.request, []

        def request(method: str, path: str, *args: Any, **how: Any) -> bytes:
            got = real(method, path, *args, **how)
            if (method, path) == ("POST", "/batches") and not lost:
                lost.append(got)
                raise lampc.LMTimeoutError("no answer")
            return got

        monkeypatch.setattr(client, "request", request)
        queue = BatchQueue(endpoint, Store(None), poll=FAST)
        queue.add(bodies(2, client))
        assert len(drained(queue)) == 2
        assert len(server.batches) == 1


def test_outages_while_waiting_are_no_end() -> None:
    with Provider(answer, polls=6) as server, OpenAIClient(server.url, "m", max_retries=0) as client:
        queue = queue_of(client)
        queue.add(bodies(2, client))
        queue.step()
        looked = BatchEndpoint.look
        calls: list[int] = []

        def look(self: BatchEndpoint, id: str) -> Any:
            calls.append(1)
            if len(calls) < 4:
                raise lampc.LMTransportError("no connection")
            return looked(self, id)

        queue.endpoint.look = look.__get__(queue.endpoint)  # type: ignore[method-assign]
        assert len(drained(queue)) == 2
        assert len(server.batches) == 1


# -- programs -----------------------------------------------------------------------------------------


def test_a_program_in_batches_gives_what_it_gives_call_by_call() -> None:
    with Provider(answer) as server:
        plain = outputs(server.url, batched=False)
        assert len(server.requests) == 10
        assert outputs(server.url) == plain
        assert len(server.requests) == 10
        assert [b["request_counts"]["total"] for b in server.batches.values()] == [5, 5]  # one for each step


def test_the_options_reach_the_model_and_the_price_is_that_of_batches() -> None:
    own = {"like": "openai", "minimum": 10_000}
    with Provider(answer, polls=1) as server:
        for batch, rate in ((False, 1.0), (True, 0.5)):
            lm = lampc.LM("openai/m", api_base=server.url, batch=batch, price=(1e6, 0.0), prompt_cache=own, cache=False)
            with lampc.context(lm=lm):
                lm("question 9")
            entry = lm.history[-1]
            assert entry["cost"] == pytest.approx(rate * entry["usage"]["prompt_tokens"])
        assert (len(server.requests), len(server.batches)) == (1, 1)


@pytest.mark.parametrize("moment", [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 4, 5, 6, 7, 8))])
def test_killed_at_any_write_a_run_pays_for_no_call_twice(tmp_path: Path, moment: int) -> None:
    """The process dies before its nth write to the journal: of notes on batches, or of answers."""
    with Provider(answer) as server:
        wanted = outputs(server.url, batched=False)
        command = [sys.executable, "-m", "tests.runtime.batched_run", server.url, str(tmp_path / "journal.store")]
        first = subprocess.run([*command, str(moment)], capture_output=True, text=True, timeout=60)
        again = subprocess.run([*command, "0"], capture_output=True, text=True, timeout=60)
        assert first.returncode == 9, first.stderr
        assert again.returncode == 0, again.stderr
        assert again.stdout.splitlines() == [str(v) for v in wanted]
        assert len(server.paid) == len(set(server.paid)) == 10
