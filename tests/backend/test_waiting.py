"""How often those that wait were passed, against a count of every admission for every one that waits."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.backend.fake import FakeEngine
from lampc.backend.forecast import Lengths
from lampc.backend.job import Job
from lampc.backend.policies import make_policy
from lampc.backend.request import Handle
from lampc.backend.waiting import Waiting
from tests.backend.engines import Log, TimedEngine, request

ENGINE = FakeEngine()


@dataclass
class Counted:
    """One that waits, and how often it was passed."""

    job: Job
    passed: int = 0


def make_job(number: int, priority: int) -> Job:
    return Job(Handle(number, request("x", priority=priority)), ENGINE.tokenizer, ENGINE.info)


moves = st.lists(
    st.tuples(st.sampled_from(["add", "add", "admit", "admit", "abort", "abort", "return"]), st.integers(0, 99)),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(moves=moves, patience=st.integers(1, 6))
def test_who_waits_is_passed_as_often_as_a_naive_count_says(moves: list[tuple[str, int]], patience: int) -> None:
    waiting = Waiting(make_policy("priority", Lengths(), 1), patience)
    lines: dict[bool, list[Counted]] = {False: [], True: []}  # by whether they were preempted, in order of arrival
    admitted: list[Job] = []
    for number, (move, pick) in enumerate(moves):
        if move == "add" or (move == "return" and admitted):
            job = make_job(number, pick % 4)
            if move == "return":
                job = admitted.pop(pick % len(admitted))
                job.preempted += 1
            waiting.add(job)
            lines[bool(job.preempted)].append(Counted(job))
        elif waiting and move in ("admit", "abort"):
            late = [line[0].job for line in lines.values() if line and line[0].passed >= patience]
            job = waiting.first()
            assert all(j.promoted for j in late)
            assert all(c.job in late or c.job.rank[0] or c.job.preempted for line in lines.values() for c in line)
            if move == "abort":
                job = list(waiting)[pick % len(waiting)]
            waiting.remove(job, admitted=move == "admit")
            mine = lines[bool(job.preempted)]
            at = next(i for i, c in enumerate(mine) if c.job is job)
            del mine[at]
            if move == "admit":
                admitted.append(job)
                for other in [*mine[:at], *lines[not job.preempted]]:
                    other.passed += 1
        for passing, line in ((waiting._arrived, lines[False]), (waiting._returned, lines[True])):
            assert passing.oldest is (line[0].job if line else None)
            found, unpassed = [], 0
            for counted in line:
                unpassed += counted.job.unpassed
                found.append(passing.admissions - unpassed)
            assert found == [c.passed for c in line]
            assert not line or passing.most == line[0].passed


def test_who_is_aborted_or_too_late_has_passed_nobody() -> None:
    log = Log()
    engine = TimedEngine(max_running=1, patience=5, hooks=[log])
    engine.submit(request("runs", 30, priority=9))
    engine.step()
    low = engine.submit(request("low", 1))
    for i in range(20):
        urgent = engine.submit(request(f"gone {i}", 1, priority=1, deadline=engine.now + 0.5 if i % 2 else None))
        if urgent.request.deadline is None:
            engine.abort(urgent)
        engine.step()
    urgent = engine.submit(request("urgent", 1, priority=1))
    engine.run()
    admitted = [e.handle for e in log.events if getattr(e, "kind", "") == "admitted"]  # type: ignore[union-attr]
    assert admitted[1:] == [urgent, low]
