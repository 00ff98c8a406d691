"""An engine in a process of its own gives what one in a thread gives, and neither process outlives the other."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lampc.backend import Completion, Request, Sampling, load_engine
from lampc.backend.errors import BackendError, BadGrammar, CheckpointError, ContextTooLong, EngineClosed, Unsupported
from lampc.backend.loop import Driver, EngineLoop, Ticket
from lampc.backend.request import Handle
from lampc.runtime.engine_process import EngineProcess
from lampc.runtime.engine_process.messages import portable
from lampc.runtime.pool import firefly_folder

KV = 8_000
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def apart() -> Iterator[EngineProcess]:
    made = EngineProcess(firefly_folder(), kv_tokens=KV)
    yield made
    assert left_nothing(made)
    made.close()
    assert not alive(made.pid)


@pytest.fixture
def own() -> Iterator[EngineProcess]:
    """One that a test may end."""
    made = EngineProcess(firefly_folder(), kv_tokens=KV)
    yield made
    made.close()
    assert not alive(made.pid)


@pytest.fixture(scope="module")
def here() -> Iterator[EngineLoop]:
    made = EngineLoop(load_engine(firefly_folder(), kv_tokens=KV))
    yield made
    made.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until(found: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not (there := found()) and time.monotonic() < end:
        time.sleep(0.02)
    return there


def left_nothing(engine: Driver) -> bool:
    for question in ("check", "reset_cache"):
        engine.asking(question).result(20)
    assert engine.asking("idle").result(20) is True
    return int(engine.asking("stats").result(20).used_blocks) == 0


LONG = Sampling(max_tokens=1500, ignore_eos=True)
SPELLED = 'start: "{" /[a-z ]{3,12}/ "}"\n'


def requests() -> list[Request]:
    draw = random.Random(5)
    out = []
    for key in range(24):
        prompt = tuple(draw.randrange(8, 2000) for _ in range(draw.randint(1, 60)))
        sampling = Sampling(draw.choice([0.0, 0.9]), max_tokens=draw.randint(1, 24))
        more: dict[str, Any] = draw.choice(
            [{}, {"logprobs": True}, {"top_logprobs": 3}, {"grammar": SPELLED}, {"prompt_logprobs": True}]
        )
        out.append(Request(prompt, sampling, key, **more))
    return [*out, Request((100, 101), score=(102, 103)), Request((100,), Sampling(stop=("e",), max_tokens=40))]


Heard = list[tuple[int, list[float], list[Any]]]


def run(engine: Driver, asked: list[Request]) -> tuple[list[Completion], list[Heard]]:
    """Completions, and what is heard on the way."""
    heard: list[Heard] = [[] for _ in asked]

    def listen(place: int) -> Callable[[Handle, int], None]:
        taken = 0

        def hear(handle: Handle, token: int) -> None:
            nonlocal taken
            logprobs, top = ([], []) if handle.measured is None else handle.measured(taken)
            taken += len(logprobs)
            heard[place].append((token, logprobs, top))

        return hear

    tickets = [Ticket(request, listen(i)) for i, request in enumerate(asked)]
    engine.submit(tickets)
    return [t.future.result(60) for t in tickets], heard


def test_answers_are_those_of_a_thread(apart: EngineProcess, here: EngineLoop) -> None:
    assert apart.info == here.info
    assert apart.slack == here.slack == 1.0
    found, heard = run(apart, requests())
    right, told = run(here, requests())
    assert found == right
    assert heard == told
    assert any(lp for one in heard for _, lp, _ in one)
    assert {c.finish for c in found} >= {"stop", "length"}


def test_errors_are_those_of_a_thread(apart: EngineProcess, here: EngineLoop) -> None:
    wrong = [
        Request((1, 2), grammar="start: /(/"),
        Request((5,) * 5000),
        Request((1,), adapter="none"),
        Request((10**9,)),
    ]
    kinds = []
    for request in wrong:
        errors = []
        for engine in (apart, here):
            ticket = Ticket(request)
            engine.submit([ticket])
            errors.append(ticket.future.exception(30))
        assert type(errors[0]) is type(errors[1])
        assert str(errors[0]) == str(errors[1])
        kinds.append(type(errors[0]))
    assert kinds[0] is BadGrammar
    assert kinds[1] is ContextTooLong


def test_questions(apart: EngineProcess) -> None:
    before = apart.asking("metrics").result(20)
    run(apart, [Request((9, 10), Sampling(max_tokens=3, ignore_eos=True))])
    after = apart.asking("metrics").result(20)
    assert after.finished["length"] == before.finished["length"] + 1
    assert after.stats.requests == before.stats.requests + 1
    assert not apart.asking("idle").cancel()  # nobody who gives up waiting ends what tells it
    assert until(lambda: apart.slack > 0)


def test_what_is_aborted_ends_and_frees(apart: EngineProcess) -> None:
    begun = threading.Event()
    tickets = [Ticket(Request((7, 8, i), LONG, i), lambda *_: begun.set()) for i in range(6)]
    apart.submit(tickets)
    assert begun.wait(20)
    apart.abort(tickets)
    apart.abort(tickets)
    assert {t.future.result(20).finish for t in tickets} == {"abort"}
    assert left_nothing(apart)


@pytest.mark.parametrize("name", ["apart", "here"])
def test_what_is_aborted_before_it_comes_is_not_begun(name: str, request: pytest.FixtureRequest) -> None:
    engine: Driver = request.getfixturevalue(name)
    before = engine.asking("stats").result(20).requests
    early, late = Ticket(Request((7, 8), LONG)), Ticket(Request((7, 9), Sampling(max_tokens=2)))
    engine.abort([early])
    engine.submit([early, late])
    assert early.future.result(20).finish == "abort"
    assert late.future.result(20).finish in ("stop", "length")
    assert engine.asking("stats").result(20).requests == before + 1


def test_who_listens_badly_loses_only_its_own(apart: EngineProcess) -> None:
    def bad(handle: Handle, token: int) -> None:
        raise KeyError("mine")

    tickets = [Ticket(Request((20, 21), LONG), bad), Ticket(Request((20, 22), Sampling(max_tokens=30)))]
    apart.submit(tickets)
    with pytest.raises(BackendError, match="on_token failed: KeyError: 'mine'"):
        tickets[0].future.result(20)
    assert tickets[1].future.result(20).finish in ("stop", "length")
    assert until(lambda: left_nothing(apart))


def test_what_cannot_be_sent_is_refused(apart: EngineProcess) -> None:
    sampling = Sampling(logits_processors=(lambda ids, logits: logits,))
    with pytest.raises(Unsupported, match="load the engine in this one"):
        apart.submit([Ticket(Request((1,), sampling))])
    assert not apart._live


def test_many_threads_at_random(apart: EngineProcess) -> None:
    def client(seed: int) -> None:
        draw = random.Random(seed)
        for i in range(8):
            sampling = Sampling(0.7, max_tokens=draw.randint(1, 40))
            tickets = [Ticket(Request((seed + 10, i + 8, n + 8), sampling, draw.getrandbits(60))) for n in range(3)]
            apart.submit(tickets)
            if draw.random() < 0.5:
                time.sleep(draw.random() / 50)
                apart.abort(draw.sample(tickets, 2))
            for ticket in tickets:
                ticket.future.result(60)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert not apart._live
    assert left_nothing(apart)


def test_signals_to_all_do_not_end_it(own: EngineProcess) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(own.pid, number)
    (found,), _ = run(own, [Request((3, 4), Sampling(max_tokens=2, ignore_eos=True))])
    assert len(found.tokens) == 2


def test_closing_ends_what_runs(own: EngineProcess) -> None:
    begun = threading.Event()
    tickets = [Ticket(Request((7, 8, i), LONG), lambda *_: begun.set()) for i in range(3)]
    own.submit(tickets)
    assert begun.wait(20)
    own.close()
    assert {t.future.result(1).finish for t in tickets} == {"abort"}
    assert own._process.returncode == 0
    own.close()
    for late in (lambda: own.submit([Ticket(Request((1,)))]), lambda: own.asking("idle")):
        with pytest.raises(EngineClosed, match="this engine is closed"):
            late()
    own.abort(tickets)


def test_whoever_waits_for_one_that_is_killed_is_told(own: EngineProcess) -> None:
    begun = threading.Event()
    ticket = Ticket(Request((7, 8), LONG), lambda *_: begun.set())
    own.submit([ticket])
    assert begun.wait(20)
    os.kill(own.pid, signal.SIGSTOP)
    asked = own.asking("idle")
    os.kill(own.pid, signal.SIGKILL)
    for future in (ticket.future, asked):
        with pytest.raises(EngineClosed, match=r"killed by signal 9 \(SIGKILL\)"):
            future.result(20)
    with pytest.raises(EngineClosed, match="SIGKILL"):
        own.submit([Ticket(Request((1,)))])


STARTS = """
import sys, time
from lampc.backend import Request, Sampling
from lampc.backend.loop import Ticket
from lampc.runtime.engine_process import EngineProcess
from lampc.runtime.engine_process.messages import portable
from lampc.runtime.pool import firefly_folder
made = EngineProcess(firefly_folder(), kv_tokens=4000)
made.submit([Ticket(Request((7, 8), Sampling(max_tokens=1500, ignore_eos=True)), lambda *_: None)])
print(made.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_the_process_that_started_it(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as made:
        assert made.stdout is not None
        pid = int(made.stdout.readline())
        assert alive(pid)
        made.send_signal(number)
        made.wait(20)
        assert until(lambda: not alive(pid))


class _Slow:
    """Takes a minute to read, as a large model does."""

    def __reduce__(self) -> tuple[Callable[[float], None], tuple[float]]:
        return time.sleep, (60.0,)


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        EngineProcess(tmp_path)
    with pytest.raises(ValueError, match="dtype is 'float7'"):
        EngineProcess(firefly_folder(), dtype="float7")
    with pytest.raises(TypeError, match="blocksize"):
        EngineProcess(firefly_folder(), blocksize=8)


def test_nobody_waits_for_one_that_does_not_read(own: EngineProcess) -> None:
    tickets = [Ticket(Request((8 + i,) * 1500, Sampling(max_tokens=1))) for i in range(200)]
    os.kill(own.pid, signal.SIGSTOP)
    asking = threading.Thread(target=lambda: [own.submit([t]) for t in tickets], daemon=True)
    asking.start()
    asking.join(10)
    waits = asking.is_alive()
    os.kill(own.pid, signal.SIGCONT)
    assert not waits
    own.abort(tickets)
    assert {t.future.result(60).finish for t in tickets} <= {"abort", "length", "stop"}


def test_one_that_stands_still_is_ended(own: EngineProcess, caplog: pytest.LogCaptureFixture) -> None:
    ticket = Ticket(Request((1, 2, 3), Sampling(max_tokens=1000, ignore_eos=True)))
    own.submit([ticket])
    os.kill(own.pid, signal.SIGSTOP)
    begun = time.monotonic()
    own.close()
    assert time.monotonic() - begun < 10
    assert f"the engine's process {own.pid} has not ended within 5 s, and is killed" in caplog.text
    with pytest.raises(EngineClosed):
        ticket.future.result(5)


def test_a_callback_that_ends_its_thread_leaves_nobody_waiting(own: EngineProcess) -> None:
    def ends(handle: Handle, token: int) -> None:
        raise SystemExit("mine")

    tickets = [Ticket(Request((7, 8), LONG), ends), Ticket(Request((7, 9), LONG))]
    own.submit(tickets)
    for ticket in tickets:
        with pytest.raises(EngineClosed, match="SystemExit: mine"):
            ticket.future.result(20)


OF_A_SCRIPT = """
from lampc.backend import Request, Sampling
from lampc.backend.loop import Ticket
from lampc.runtime.engine_process import EngineProcess
from lampc.runtime.pool import firefly_folder
class Kept:
    pass
def same(ids, logits):
    return logits
try:
    EngineProcess(firefly_folder(), kv_tokens=4000, hooks=[Kept()])
except Exception as e:
    print(type(e).__name__)
made = EngineProcess(firefly_folder(), kv_tokens=4000)
other = Ticket(Request((7, 8), Sampling(max_tokens=200, ignore_eos=True)))
mine = Ticket(Request((7, 8), Sampling(logits_processors=(same,))))
made.submit([mine, other])
print(type(mine.future.exception(30)).__name__)
print(other.future.result(30).finish)
made.close()
"""


def test_what_only_a_script_has_is_refused_alone() -> None:
    found = subprocess.run([sys.executable, "-c", OF_A_SCRIPT], capture_output=True, text=True, timeout=100)
    assert found.stdout.split() == ["Unsupported", "Unsupported", "length"], found.stderr


LOADS = """
import time
from lampc.runtime.engine_process import EngineProcess
from lampc.runtime.engine_process import client
from lampc.runtime.pool import firefly_folder
class Slow:
    def __reduce__(self):
        return time.sleep, (60,)
start = client._start
def told():
    made = start()
    print(made[0].pid, flush=True)
    return made
client._start = told
EngineProcess(firefly_folder(), hooks=Slow())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_that_loads_ends_with_the_process_that_started_it(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", LOADS], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as made:
        assert made.stdout is not None
        pid = int(made.stdout.readline())
        time.sleep(2)  # it is asleep
        made.send_signal(number)
        made.wait(20)
        try:
            assert until(lambda: not alive(pid))
        finally:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.06])
def test_an_interrupt_while_it_starts_is_told_of_once(delay: float) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LOADS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    ) as made:
        assert made.stdout is not None
        assert made.stderr is not None
        pid = int(made.stdout.readline())
        time.sleep(delay)
        os.killpg(made.pid, signal.SIGINT)
        assert made.stderr.read().count(b"Traceback") == 1
        made.wait(20)
        assert until(lambda: not alive(pid))


def test_files_of_the_current_folder_are_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queue.py").write_text("raise RuntimeError\n")
    monkeypatch.chdir(tmp_path)
    EngineProcess(firefly_folder(), kv_tokens=KV).close()


class Worded(Exception):
    def __init__(self, what: str) -> None:
        super().__init__(f"there is no {what}")


def test_errors_that_come_out_otherwise_are_told_in_words() -> None:
    assert str(portable(Worded("spoon"))) == "Worded: there is no spoon"
    assert type(portable(KeyError("spoon"))) is KeyError


def kinds(of: type[BackendError]) -> Iterator[type[BackendError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("kind", sorted(kinds(BackendError), key=lambda k: k.__name__), ids=lambda k: k.__name__)
def test_errors_can_be_sent(kind: type[BackendError]) -> None:
    error = kind.__new__(kind, "what, and where")  # whatever their initialisers take
    error.__dict__["limit"] = 7
    error.add_note("in prompt 3")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "what, and where"
    assert copy.__dict__ == error.__dict__
