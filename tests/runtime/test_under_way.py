"""What is under way when a budget is spent: it is counted, and kept where its answer arrives."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine
from lampc.ir import Draw, Key, Obj, Sampling
from lampc.passes.optimize import CallJob, InstructionSearch
from lampc.runtime.budget import Budget, BudgetSpent, Spending
from lampc.runtime.client import Client
from lampc.runtime.driver import optimize
from lampc.runtime.lm import LM
from lampc.runtime.optimized import OptimizeResult
from lampc.runtime.optimizers.base import improve
from lampc.runtime.outside import Outside
from lampc.runtime.providers.dialect import request_body
from lampc.runtime.providers.openai import OpenAIClient, _Call, _recall
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from tests.runtime.loopback import Loopback
from tests.runtime.test_budget import SIGNATURE
from tests.runtime.tuning import DEV, POOL, Counting, answer, options, unit


class Uneven:
    """Answers some calls at once and the others late."""

    def __init__(self, quick: int, late: float) -> None:
        self.quick, self.late = quick, late
        self._count, self._mutex = 0, threading.Lock()

    def __call__(self, messages: Any) -> str:
        with self._mutex:
            self._count += 1
            quick = self._count <= self.quick
        time.sleep(0.0 if quick else self.late)
        return answer("\n".join(str(m["content"]) for m in messages))


def search(model: Any, store: Store, budget: Budget) -> OptimizeResult:
    with Session(model=model, store=store) as session:
        return optimize(unit(), session, **options(steps=[InstructionSearch(pool=POOL)], budget=budget))


WHOLE = len(DEV) * (1 + len(POOL))


@pytest.mark.parametrize("limit", [Budget(calls=4), Budget(tokens=30), Budget(money=0.5), Budget(seconds=0.01)])
def test_calls_at_an_endpoint_are_counted_and_paid_once(limit: Budget, tmp_path: Path) -> None:
    with Loopback(Uneven(5, 0.3)) as server, Store(tmp_path / "store") as store:
        model = LM(server.url, price=(1e4, 1e5))
        first = search(model, store, limit)
        asked = len(server.requests)
        assert first.stopped
        assert first.usage.calls == asked == len(DEV) > first.runs
        whole = search(model, store, Budget(money=1e6))
        assert len(server.requests) == whole.usage.calls == WHOLE  # none was made twice


@pytest.mark.parametrize("more", [{"max_concurrency": 3}, {"requests_per_minute": 240}])
def test_calls_that_were_not_sent_yet_never_are(more: dict[str, Any], tmp_path: Path) -> None:
    with Loopback(Uneven(2, 0.5)) as server, Store(tmp_path / "store") as store:
        found = search(LM(server.url, **more), store, Budget(calls=1))
        time.sleep(0.3)
        assert found.stopped == "calls"
        assert found.usage.calls == len(server.requests) < len(DEV)


def test_what_an_engine_of_ours_computed_is_counted() -> None:
    reply = Counting(lambda prompt: answer(prompt) + ("" if len(reply.prompts) < 4 else "." * 400))
    engine = FakeEngine(reply, max_running=4)
    with lampc.track_usage() as tracker:
        found = search(LM("m", engine=engine), Store(None), Budget(runs=2))
    (tracked,) = tracker.get_total_tokens().values()
    assert found.stopped == "runs"
    assert tracked["total_tokens"] == found.usage.prompt_tokens + found.usage.generated_tokens
    stats = engine.stats()
    assert found.usage.computed_tokens == stats.computed_tokens
    assert found.usage.calls == len(reply.prompts) > found.runs


def test_calls_of_a_model_that_is_code_are_counted() -> None:
    made = []

    def model(messages: list[dict[str, str]]) -> str:
        made.append(messages)
        time.sleep(0.02 if len(made) < 12 else 0.2)
        return "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"

    class Awaited(lampc.BaseLM):
        async def aforward(self, prompt: Any = None, messages: Any = None, **more: Any) -> Any:
            made.append(messages)
            await asyncio.sleep(0.0 if len(made) < 3 else 0.2)
            return {"choices": [{"message": {"content": "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"}}]}

    rows = [lampc.Example(question=f"q{i}", answer="yes").with_inputs("question") for i in range(24)]
    for lm in (LM("m", engine=model, cache=False), Awaited("m")):
        made.clear()
        with lampc.context(lm=lm, num_threads=4):
            found = improve(
                lampc.Predict("question -> answer"),
                InstructionSearch(pool=["Be brief."]),
                trainset=rows,
                valset=rows,
                metric=lambda example, prediction, trace=None: example.answer == prediction.answer,
                budget=Budget(calls=10),
                num_threads=4,
            )
        assert found.result.stopped == "calls"
        assert found.result.usage.calls == len(made)


def test_all_proposals_that_were_made_together_are_counted() -> None:
    with Session(model=FakeEngine(lambda prompt: "idea: Think.")) as session:
        spending = Spending(Budget(calls=1))
        outside = Outside(session, unit().module, spending, {})
        jobs = [CallJob(SIGNATURE, Obj({"task": t}), Sampling(max_tokens=40)) for t in "abc"]
        with pytest.raises(BudgetSpent):
            outside.calls(jobs)
        assert spending.usage.calls == session.usage.calls == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_through_litellm_too() -> None:
    pytest.importorskip("litellm")
    with Loopback(Uneven(2, 0.5)) as server:
        model = LM("openai/m", engine="litellm", api_base=server.url, api_key="k", num_retries=0, max_concurrency=3)
        found = search(model, Store(None), Budget(calls=1))
        time.sleep(0.3)
        assert found.stopped == "calls"
        assert found.usage.calls == len(server.requests) < len(DEV)


def asked_of(client: Client, model: Any, *numbers: int) -> list[str]:
    """The texts that a client is given as answers, once it has them."""
    found: list[str] = []
    for n in numbers:
        draw, turns = Draw(0, Key(("k",))), (("user", f"q{n}"),)
        client.request(model, Sampling(), draw, lambda a, _: found.append(a.text), messages=turns, node="n")
    return found


def test_a_call_that_somebody_else_waits_for_is_made_all_the_same() -> None:
    with Loopback(lambda _: "yes", seconds=0.2) as server, Session(model=LM(server.url, max_concurrency=1)) as session:
        model = session.models.get("", unit().module)
        with Client(session.desk) as other:
            with contextlib.suppress(BudgetSpent), Client(session.desk) as client:
                asked_of(client, model, 1, 2, 3)
                found = asked_of(other, model, 2)
                session.desk._send(pushes=True)
                time.sleep(0.1)
                raise BudgetSpent("calls")
            other.finish()
        assert found == ["yes"]
        assert len(server.requests) == session.usage.calls - 1 == 2  # who joined paid nothing


def test_who_comes_while_a_call_is_taken_back_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    with Loopback(lambda _: "yes", seconds=0.2) as server, Session(model=LM(server.url, max_concurrency=1)) as session:
        model = session.models.get("", unit().module)
        recall = type(model.model).recall
        with Client(session.desk) as other:
            found: list[list[str]] = []

            def late(self: Any, calls: Any) -> Any:
                recalled = recall(self, calls)
                found.extend(asked_of(other, model, 2) for _ in recalled)
                return recalled

            monkeypatch.setattr(type(model.model), "recall", late)
            with contextlib.suppress(BudgetSpent), Client(session.desk) as client:
                asked_of(client, model, 1, 2)
                session.desk._send(pushes=True)
                time.sleep(0.1)
                raise BudgetSpent("calls")
            other.finish()
        assert found == [["yes"]]


def test_a_call_that_is_taken_back_as_it_begins_leaves_its_place_to_others() -> None:
    with Loopback(lambda _: "yes") as server, OpenAIClient(server.url, "loop", max_concurrency=1) as client:
        messages = [{"role": "user", "content": "hi"}]
        call = _Call(client, messages, request_body("loop", messages, {}))

        async def begin() -> list[Any]:
            client._waiting.append(call)
            client._launch()
            return await _recall([call])

        assert client._ask(begin()).result(5) == [call]
        assert client.submit(messages).result(5).text == "yes"
        assert len(server.requests) == 1
