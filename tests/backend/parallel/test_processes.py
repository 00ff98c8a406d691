"""Ranks as processes: they start, serve and leave; whatever befalls one, the caller is told and none is left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lampc.backend import Engine
from lampc.backend.errors import CheckpointError, EngineClosed
from lampc.backend.load import load_engine
from lampc.backend.parallel.engine import ParallelEngine
from lampc.backend.parallel.errors import RankFailed
from lampc.backend.request import Request, Sampling
from tests.backend.parallel.ranks import load
from tests.backend.test_exact import finish
from tests.backend.test_models_exact import KV, answers, requests

LONG = Request((5, 6, 7), Sampling(max_tokens=200, ignore_eos=True))


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pids: list[int], within: float = 10.0) -> bool:
    end = time.monotonic() + within
    while any(alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def pids(engine: ParallelEngine) -> list[int]:
    assert engine.parallel.ranks is not None
    return engine.parallel.ranks.pids


def killed(engine: ParallelEngine) -> float:
    """When the first of the processes was killed, after a few tokens of a long request."""
    engine.submit(LONG)
    while engine.stats().generated_tokens < 4:
        engine.step()
    os.kill(pids(engine)[0], signal.SIGKILL)
    return time.monotonic()


def test_processes_serve_and_leave(tiny: Path) -> None:
    asked = requests()
    alone = load(tiny, 1, kv_tokens=KV)
    expected = answers(finish(alone, asked))
    engine = load(tiny, 2, kv_tokens=KV)
    assert engine.info.digest == alone.info.digest != load_engine(tiny, kv_tokens=KV).info.digest
    (pid,) = pids(engine)
    assert answers(finish(engine, asked)) == expected
    assert alive(pid)
    engine.close()
    engine.close()
    assert not Path(f"/proc/{pid}").exists()  # reaped as well
    with pytest.raises(EngineClosed):
        engine.submit(LONG)


def test_a_killed_rank_ends_the_engine(tiny: Path) -> None:
    engine = load(tiny, 4, kv_tokens=KV)
    start = killed(engine)
    with pytest.raises(RankFailed) as caught:
        engine.run()
    assert time.monotonic() - start < 10
    assert str(caught.value) == f"rank 1 (process {pids(engine)[0]}) was killed by signal 9 (SIGKILL)"
    assert gone(pids(engine), 0.0)  # the others as well, before the caller hears of it
    with pytest.raises(RankFailed, match="SIGKILL"):
        engine.step()
    with pytest.raises(EngineClosed, match=r"rank 1 .* was killed by signal 9"):
        engine.submit(LONG)
    engine.close()
    engine.check()


def test_a_rank_that_hangs(tiny: Path) -> None:
    with Engine.load(tiny, tensor_parallel=2, rank_timeout=2.0, kv_tokens=KV) as engine:
        parallel = engine._loop._engine
        assert isinstance(parallel, ParallelEngine)
        (pid,) = pids(parallel)
        expected = engine.generate([5, 6, 7], max_tokens=4).tokens
        time.sleep(3.0)  # to have nothing to do is not to hang
        assert engine.generate([5, 6, 7], max_tokens=4).tokens == expected
        os.kill(pid, signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(EngineClosed, match=rf"rank 1 \(process {pid}\) hangs: not heard of for \d+ seconds"):
            engine.generate([5, 6, 7], max_tokens=20)
        assert time.monotonic() - start < 10
        assert gone([pid], 0.0)


OUT_OF_MEMORY = """
import lampc.backend.parallel.share as share
def begin(self, step, place=0):
    raise MemoryError("DefaultCPUAllocator: can't allocate memory")
share.Share.begin = begin
"""


def test_a_rank_that_runs_out_of_memory(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Python runs this module in every process that finds it, so in the ranks, but not in this one any more.
    (tmp_path / "sitecustomize.py").write_text(OUT_OF_MEMORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    engine = load(tiny, 2, kv_tokens=KV)
    engine.submit(LONG)
    with pytest.raises(RankFailed, match=r"rank 1 \(process \d+\) failed: MemoryError: DefaultCPUAllocator: can't"):
        engine.step()
    assert gone(pids(engine), 0.0)
    engine.close()


def test_weights_that_one_rank_cannot_read(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lampc.backend.parallel import team

    def damaged(order: str) -> str:
        return order.replace('\\"dtype\\": \\"float32\\"', '\\"dtype\\": \\"float3\\"')

    made = team._order
    monkeypatch.setattr(team, "_order", lambda *args: damaged(made(*args)))
    with pytest.raises(RankFailed, match=r"rank 1 \(process \d+\) failed: KeyError: 'float3'"):
        load(tiny, 2, kv_tokens=KV)


PARENT = """
import sys, time
from lampc.backend.load import load_engine
engine = load_engine(sys.argv[1], tensor_parallel=2, kv_tokens=1024)
print(*engine.parallel.ranks.pids, flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.mark.parametrize("killed", [True, False])
def test_no_rank_outlives_its_engine(tiny: Path, killed: bool) -> None:
    command = [sys.executable, "-c", PARENT, tiny, "60" if killed else "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        found = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(found) == 1
        if killed:
            assert alive(found[0])
            parent.kill()
        _, errors = parent.communicate(timeout=30)
        assert parent.returncode == (-signal.SIGKILL if killed else 0)
        assert errors == ""
        assert gone(found)


JOINED = """
import sys
from lampc.backend.load import load_engine
from lampc.backend.request import Request, Sampling
engine = load_engine(sys.argv[1], tensor_parallel=2, kv_tokens=1024)
handle = engine.submit(Request((5, 6, 7), Sampling(max_tokens=8, ignore_eos=True)))
engine.run()
print("first rank:", *handle.completion.tokens, flush=True)
engine.close()
"""


def test_under_torchrun(tiny: Path, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(JOINED)
    alone = load(tiny, 1, kv_tokens=KV)
    (expected,) = finish(alone, [Request((5, 6, 7), Sampling(max_tokens=8, ignore_eos=True))])
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launcher, script, tiny], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["first rank: " + " ".join(map(str, expected.tokens))]


def test_the_first_rank_says_what_is_wrong_with_a_checkpoint(tiny: Path, tmp_path: Path) -> None:
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_engine(tmp_path, tensor_parallel=2)
