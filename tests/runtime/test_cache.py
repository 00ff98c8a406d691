"""The call cache: content decides, bounds hold, processes share it, a kill loses nothing that was kept."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import lampc
from lampc.runtime import cache as caches
from lampc.runtime.cache import CallCache, DiskCache, configure_cache, default_folder
from lampc.runtime.cli.app import main
from lampc.runtime.configure import default_runner
from lampc.runtime.models import Answer
from lampc.runtime.session import Session
from tests.runtime.loopback import Loopback

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("LAMPC_CACHE_DIR", raising=False)
    caches.forget_configuration()
    yield
    caches.forget_configuration()
    lampc.settings.reset()
    default_runner().close()
    lampc.configure(cache=None)


def answer(text: str) -> Answer:
    return Answer(text, (1, 2), "stop", 10, 10, 0, 2)


# -- one process --------------------------------------------------------------------------------------


def test_what_is_kept_comes_back_and_costs_nothing(tmp_path: Path) -> None:
    first = CallCache(DiskCache(tmp_path))
    given = Answer("a\u2028\x00\udcff", (3,), "tool_calls", 5, 5, 0, 1, tool_calls=({"id": "c"},), reasoning="r")
    given.text = given.text.replace("\udcff", "")
    first.put("k", given)
    again = CallCache(DiskCache(tmp_path))
    found = again.get("k")
    assert found is not None
    assert (found.text, found.ids, found.tool_calls, found.reasoning) == (given.text, (3,), ({"id": "c"},), "r")
    assert found.stored
    assert found.computed_tokens == 0
    assert again.get("other") is None
    assert (again.hits, again.misses) == (1, 1)


def test_nothing_is_created_before_something_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    disk = DiskCache(folder)
    assert disk.get("k") is None
    assert disk.stats() == {"records": 0, "bytes": 0, "file_bytes": 0, "oldest_seconds": None}
    assert disk.clear() == 0
    assert not (tmp_path / "not").exists()
    done = subprocess.run(
        [PYTHON, "-c", "import lampc; lampc.LM, lampc.configure_cache, lampc.Session"],
        env={**os.environ, "PYTHONPATH": "src", "LAMPC_CACHE_DIR": str(folder), "HOME": str(tmp_path)},
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == b""
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_and_the_longest_unused_goes_first() -> None:
    memory = CallCache(None, entries=3)
    for i in range(3):
        memory.put(f"k{i}", answer(str(i)))
    assert memory.get("k0") is not None
    memory.put("k3", answer("3"))
    assert [memory.get(f"k{i}") is not None for i in range(4)] == [True, False, True, True]
    assert len(memory) == 3
    none = CallCache(None, entries=0)
    none.put("k", answer("x"))
    assert none.get("k") is None


def test_the_disk_is_bounded_and_the_longest_unused_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1e9]
    monkeypatch.setattr(caches.time, "time", lambda: now[0])
    disk = DiskCache(tmp_path, limit=400_000)
    for i in range(500):
        now[0] += 1
        disk.put(f"k{i:03}", {"text": "x" * 2000})
        if i % 50 == 0:
            now[0] += 100
            assert disk.get("k000") is not None, "what is used stays"
    stats = disk.stats()
    assert stats["bytes"] <= 400_000 + 64 * 3000
    assert 50 < stats["records"] < 300
    assert disk.get("k001") is None
    assert disk.get("k499") is not None
    disk.close()
    assert (tmp_path / caches.FILE).stat().st_size < 900_000, "freed pages go back to the file system"


def test_a_record_too_large_for_the_cache_is_left_out(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path, limit=1 << 16)
    disk.put("k", {"text": "x" * 40_000})
    assert disk.get("k") is None
    with pytest.raises(ValueError, match="at least 65536 bytes"):
        DiskCache(tmp_path, limit=10)


def test_a_damaged_file_is_moved_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / caches.FILE).write_bytes(b"no database at all" * 1000)
    disk = DiskCache(tmp_path)
    with caplog.at_level(logging.WARNING, "lampc"):
        assert disk.get("k") is None
    assert "was damaged" in caplog.text
    disk.put("k", {"text": "x"})
    assert disk.get("k") == {"text": "x"}
    assert (tmp_path / f"{caches.FILE}.damaged").exists()


def test_a_place_that_cannot_be_written_ends_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    both = CallCache(DiskCache(tmp_path / "file" / "below"))
    with caplog.at_level(logging.WARNING, "lampc"):
        both.put("k", answer("x"))
        both.put("l", answer("y"))
    assert caplog.text.count("cannot be used") == 1
    assert both.get("k") is not None, "in memory it goes on"


def test_records_of_another_version_are_as_if_not_there(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path)
    disk.put("k", {"text": "x"})
    disk.put("l", {})
    assert CallCache(disk).get("k") is None
    with sqlite3.connect(disk.path) as db:
        db.execute("UPDATE calls SET record = '[' WHERE key = 'l'")
    db.close()
    assert CallCache(disk).get("l") is None


def test_threads_share_it(tmp_path: Path) -> None:
    both = CallCache(DiskCache(tmp_path), entries=10)
    failures: list[str] = []

    def work(n: int) -> None:
        for i in range(50):
            both.put(f"k{i}", answer(f"t{i}"))
            found = both.get(f"k{(i * 7 + n) % 50}")
            if found is not None and not found.text.startswith("t"):
                failures.append(found.text)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    assert both.disk is not None
    assert both.disk.stats()["records"] == 50


# -- many processes -----------------------------------------------------------------------------------


def _fill(folder: str, worker: int, rounds: int) -> None:
    disk = DiskCache(Path(folder), limit=1 << 20)
    for i in range(rounds):
        disk.put(f"{worker}-{i}", {"worker": worker, "i": i, "pad": "x" * 300})
        other = disk.get(f"{(worker + 1) % 4}-{i}")
        assert other is None or (other["worker"], other["i"]) == ((worker + 1) % 4, i)
        assert disk.get(f"{worker}-{i}") is not None


def test_processes_write_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_fill, args=(str(tmp_path), n, 150)) for n in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join(60)
    assert [w.exitcode for w in workers] == [0] * 4
    disk = DiskCache(tmp_path)
    assert disk.stats()["records"] == 600
    assert all(disk.get(f"{n}-{i}") is not None for n in range(4) for i in range(150))


def test_a_forked_child_opens_its_own(tmp_path: Path) -> None:
    disk = DiskCache(tmp_path)
    disk.put("parent", {"text": "p"})
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            disk.put("child", {"text": "c"})
            code = 0 if disk.get("parent") == {"text": "p"} else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert disk.get("child") == {"text": "c"}


WRITER = """
import sys
from pathlib import Path
from lampc.runtime.cache import DiskCache
disk = DiskCache(Path(sys.argv[1]))  # of more room than it ever fills: a full one drops the oldest
i = int(sys.argv[2])
while True:
    disk.put(f"k{i}", {"i": i, "pad": "x" * 500})
    print(i, flush=True)
    i += 1
"""


def test_a_killed_writer_loses_nothing_it_was_told_is_kept(tmp_path: Path) -> None:
    last = -1
    for _ in range(3):
        worker = subprocess.Popen(
            [PYTHON, "-c", WRITER, str(tmp_path), str(last + 1)],
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "src"}, text=True,
        )  # fmt: skip
        assert worker.stdout is not None
        told = [int(worker.stdout.readline()) for _ in range(40)]
        time.sleep(0.02)
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        last = max([*told, *(int(line) for line in worker.stdout.read().split() if line.isdigit())])
        worker.stdout.close()
        disk = DiskCache(tmp_path)
        for i in range(last + 1):
            found = disk.get(f"k{i}")
            assert found is not None
            assert found["i"] == i
        disk.close()


# -- in sessions --------------------------------------------------------------------------------------


def ask(server: Loopback, text: str, **options: object) -> str:
    lampc.configure(lm=lampc.LM(server.url, **options), cache=caches._configured[0])
    return str(lampc.Predict("question -> answer", layout="compact")(question=text).answer)


def test_a_later_session_asks_nobody(tmp_path: Path) -> None:
    with Loopback(lambda m: "answer: yes") as server:
        for _ in range(2):
            configure_cache(disk_cache_dir=tmp_path)
            assert ask(server, "q") == "yes"
            assert ask(server, "q") == "yes"
            caches.forget_configuration()
        assert len(server.requests) == 1
        configure_cache(disk_cache_dir=tmp_path)
        assert ask(server, "q", temperature=0.7) == "yes"
        assert ask(server, "q", max_tokens=5) == "yes"
        assert len(server.requests) == 3, "another sampling is another call"


def test_it_may_be_configured_when_calls_have_been_made(tmp_path: Path) -> None:
    with Loopback(lambda m: "answer: yes") as server:
        lampc.configure(lm=lampc.LM("m", api_base=server.url), cache=None)
        asking = lampc.Predict("question -> answer", layout="compact")
        asking(question="a")
        configure_cache(disk_cache_dir=tmp_path)
        asking(question="b")
    assert DiskCache(tmp_path).stats()["records"] == 1


def test_without_cache_every_call_is_made(tmp_path: Path) -> None:
    configure_cache(disk_cache_dir=tmp_path)
    with Loopback(lambda m: "answer: yes") as server:
        for _ in range(3):
            ask(server, "q", cache=False)
        assert len(server.requests) == 3
    assert DiskCache(tmp_path).stats()["records"] == 0


def test_the_environment_may_say_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMPC_CACHE_DIR", str(tmp_path / "here"))
    assert default_folder() == tmp_path / "here"
    with Loopback(lambda m: "answer: yes") as server, Session(model=server.url) as session:
        session.chat([{"role": "user", "content": "x"}], lampc_sampling(), [lampc_draw()])
    assert DiskCache(tmp_path / "here").stats()["records"] == 1


def lampc_sampling() -> object:
    from lampc.ir import Sampling

    return Sampling()


def lampc_draw() -> object:
    from lampc.ir import Draw, Key

    return Draw(0, Key(("x",)))


# -- the command --------------------------------------------------------------------------------------


def test_stats_and_clear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = DiskCache(tmp_path)
    for i in range(7):
        disk.put(f"k{i}", {"i": i})
    disk.close()
    assert main(["cache", "stats", "--dir", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 7
    assert main(["cache", "stats", "--dir", str(tmp_path)]) == 0
    assert "7 answers, " in capsys.readouterr().out
    assert main(["cache", "clear", "--dir", str(tmp_path)]) == 0
    assert "7 answers forgotten" in capsys.readouterr().out
    assert main(["cache", "stats", "--dir", str(tmp_path / "none")]) == 0
    assert "0 answers" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()
