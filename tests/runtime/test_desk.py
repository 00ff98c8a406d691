"""The desk under threads: calls run together, equal ones once, each thread gets its own answers, errors stay apart."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lampc.backend import FakeEngine
from lampc.ir import Draw, Key, ModelInfo, Sampling
from lampc.runtime.cache import CallCache
from lampc.runtime.calling_off import CalledOff, RunControl
from lampc.runtime.client import Client, Waiting
from lampc.runtime.models import Answer, ModelCall
from lampc.runtime.session import Session
from lampc.runtime.target import RemoteTarget
from lampc.runtime.types import Usage
from tests.runtime.loopback import Loopback

SAMPLING = Sampling(max_tokens=12)


def ask(session: Session, text: str) -> str:
    message = {"role": "user", "content": text}
    (answer,) = session.chat([message], SAMPLING, [Draw(0, Key(("x",)))])
    if answer.error:
        raise answer.exception or RuntimeError(answer.error)
    return answer.text


def on_threads(n: int, work: Callable[[int], Any]) -> list[Any]:
    """What `work(i)` gave on threads that start together, or the exception that it raised."""
    found: list[Any] = [None] * n
    gate = threading.Barrier(n)

    def run(i: int) -> None:
        gate.wait(30)
        try:
            found[i] = work(i)
        except Exception as e:
            found[i] = e

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not any(t.is_alive() for t in threads), "nobody waits for ever"
    return found


@pytest.mark.parametrize("window", [0.0, 0.005])
def test_every_thread_gets_its_own_answers(window: float) -> None:
    with Session(model=FakeEngine(), cache=CallCache()) as session:
        alone = {f"t{i}-{k}": ask(session, f"t{i}-{k}") for i in range(8) for k in range(5)}
    with Session(model=FakeEngine(), cache=CallCache(), window=window) as session:
        found = on_threads(8, lambda i: {f"t{i}-{k}": ask(session, f"t{i}-{k}") for k in range(5)})
        assert {k: v for part in found for k, v in part.items()} == alone
        assert session.desk.idle
        assert sum(n * k for n, k in session.desk.batches.items()) == 40
        if window:
            assert max(session.desk.batches) >= 3


def test_equal_calls_of_threads_are_made_once() -> None:
    with Loopback(lambda m: "x", seconds=0.2) as server, Session(model=server.url) as session:
        assert on_threads(10, lambda i: ask(session, "same")) == ["x"] * 10
        assert len(server.requests) == 1
        assert session.usage == Usage(10, 9, 10, 1, 0, 1, 9, session.usage.seconds, stored_generated=9)


def test_threads_share_an_endpoint_and_an_engine_at_once() -> None:
    with Loopback(lambda m: "far", seconds=0.01) as server, Session(model=FakeEngine()) as session:
        import lampc

        remote = session.using(lampc.LM("m", api_base=server.url))
        found = on_threads(10, lambda i: ask(remote if i % 2 else session, f"q{i}"))
        assert found[1::2] == ["far"] * 5
        assert all(isinstance(f, str) for f in found[::2])


def test_an_engine_that_fails_ends_all_who_wait_and_no_one_else() -> None:
    broken = [True]

    def reply(prompt: str) -> str:
        if broken[0]:
            raise ValueError("the engine is torn")
        return "fine"

    with Session(model=FakeEngine(reply=reply)) as session:
        found = on_threads(4, lambda i: ask(session, f"q{i}"))
        assert any("torn" in str(f) for f in found)
    broken[0] = False
    with Session(model=FakeEngine(reply=reply)) as session:
        assert ask(session, "q").startswith("fine")


def test_what_a_client_drops_goes_on_for_others() -> None:
    with Loopback(lambda m: "x", seconds=0.3) as server, Session(model=server.url) as session:
        view = session.models.get("main")
        turns = (("user", "same"),)
        got: list[str] = []

        def deliver(answer: Answer, usage: Usage) -> None:
            got.append(answer.text)

        kept, dropped = Client(session.desk), Client(session.desk)
        draw = Draw(0, Key(("x",)))
        dropped.request(view, SAMPLING, draw, lambda *_: got.append("wrong"), messages=turns)
        kept.request(view, SAMPLING, draw, deliver, messages=turns)
        dropped.abort()
        assert dropped.idle
        kept.finish()
        assert got == ["x"]


def test_dropping_everything_wakes_who_waits() -> None:
    with Loopback(lambda m: "x", seconds=20) as server:
        session = Session(model=server.url)
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(on_threads(1, lambda i: ask(session, "q"))))
        thread.start()
        while not server.requests:
            time.sleep(0.01)
        session.close()
        thread.join(10)
        assert not thread.is_alive()


def test_code_that_is_told_of_an_answer_may_ask_in_its_turn() -> None:
    import lampc

    found: list[Any] = []

    class Listen:
        def on_lm_start(self, call_id: str, instance: Any, inputs: Any) -> None: ...

        def on_lm_end(self, call_id: str, outputs: Any, exception: Any) -> None:
            if found.count("begun") < 3:
                found.append("begun")
                found.append(lm("judge this"))

    lm = lampc.LM("told", engine=FakeEngine(), callbacks=[Listen()])
    plain = lampc.LM("plain", engine=FakeEngine())
    (got,) = on_threads(1, lambda i: lm("first"))
    assert (got, found) == (plain("first"), ["begun"] * 3 + [plain("judge this")] * 3)


def test_batches_are_counted() -> None:
    with Session(model=FakeEngine()) as session:
        draws = [Draw(0, Key(("x",)), (i,)) for i in range(6)]
        session.chat([{"role": "user", "content": "hi"}], Sampling(temperature=1.0, max_tokens=4), draws)
        assert session.desk.batches == Counter({6: 1})


class Pushing:
    """A model that answers when it is told to, and hears of what is dropped."""

    mode, pushes = "remote", True
    target = RemoteTarget(ModelInfo("pushing", "pushing", 4096))
    on_answer: Any

    def __init__(self) -> None:
        self.calls: list[ModelCall] = []

    def submit(self, calls: Sequence[ModelCall]) -> None:
        self.calls += calls

    def drop(self, call: ModelCall) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...

    def asked(self, count: int) -> None:
        for _ in range(500):
            if len(self.calls) == count:
                return
            time.sleep(0.01)
        raise AssertionError(f"{len(self.calls)} calls came")


def test_the_end_of_a_dropped_call_is_not_that_of_an_equal_one() -> None:
    model, control, found = Pushing(), RunControl(), list[Any]()
    with Session(model=model) as session:

        def ask() -> None:
            found.extend(session.chat([{"role": "user", "content": "hi"}], Sampling(), [Draw(0, Key(("a",)))]))

        def leave() -> None:
            with contextlib.suppress(CalledOff), control.running():
                ask()

        leaving = threading.Thread(target=leave, daemon=True)
        leaving.start()
        model.asked(1)
        control.cancel()
        leaving.join(5)
        staying = threading.Thread(target=ask, daemon=True)
        staying.start()
        model.asked(2)
        model.on_answer(model, model.calls[0], Answer("", finish="abort", error="abort"))
        model.on_answer(model, model.calls[1], Answer("hello"))
        staying.join(5)
        assert [a.text for a in found] == ["hello"]


def asked_of(client: Client, model: Any, found: list[str], provisional: bool = False) -> Waiting:
    """An equal call each time, sent."""
    draw = Draw(0, Key(("a",)))
    made = client.request(
        model,
        Sampling(),
        draw,
        lambda answer, _: found.append(answer.text),
        messages=(("user", "hi"),),
        provisional=provisional,
    )
    client.desk._send(pushes=True)
    return made


def test_who_drops_a_call_that_has_ended_leaves_an_equal_one_alone() -> None:
    model, found = Pushing(), list[str]()
    with Session(model=model) as session:
        one, other = Client(session.desk), Client(session.desk)
        waiting = asked_of(one, model, [], provisional=True)
        model.on_answer(model, model.calls[0], Answer("unsure"))
        asked_of(other, model, found)
        one.drop(waiting)
        one.advance()
        assert one.idle
        model.on_answer(model, model.calls[1], Answer("hello"))
        if other.ready:
            other.advance()
        assert (found, other.idle) == (["hello"], True)


def test_a_call_that_ends_while_it_is_confirmed_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its listeners, who hear then what was held back, may take their time."""
    model, draw = Pushing(), Draw(0, Key(("a",)))

    def hear(_: str) -> None:
        if not session.desk.idle:
            model.on_answer(model, model.calls[0], Answer("hello"))

    with Session(model=model) as session, session.desk.hearing({draw: hear}):
        kept: list[str] = []
        monkeypatch.setattr(session.desk.books, "keep", lambda _, __, answer: kept.append(answer.text))
        client = Client(session.desk)
        waiting = asked_of(client, model, [], provisional=True)
        assert waiting.on_text is not None
        waiting.on_text("hel")
        client.confirm(waiting)
        assert session.desk.idle
        assert kept == ["hello"]
