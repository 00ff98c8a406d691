"""The store: nothing put is lost, nothing torn is believed, one writer at a time."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.runtime.store import MAX_RECORD, Store, StoreError

ROOT = Path(__file__).resolve().parents[2]
RECORDS: list[tuple[str, str, dict[str, Any]]] = [
    ("call", "a1", {"text": 'é\n"quoted" \\ \u2028 \x00', "ids": [1, 2, 3]}),
    ("call", "a2", {}),
    ("job", "a1", {"scores": [0.1, 1e300, None, True], "nested": {"k": [[]]}}),
    ('odd "kind"\\', "kéy\n", {"x": "lone \ud800"}),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.jsonl"


def fill(path: Path | None) -> Store:
    store = Store(path)
    for item in RECORDS:
        store.put(*item)
    return store


def held(store: Store) -> dict[tuple[str, str], dict[str, Any] | None]:
    kinds = {kind for kind, _, _ in RECORDS}
    return {(kind, key): store.get(kind, key) for kind in kinds for key in store.keys(kind)}


ALL = {(kind, key): record for kind, key, record in RECORDS}

# -- keeping ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_disk", [True, False])
def test_what_is_put_is_had(path: Path, on_disk: bool) -> None:
    with fill(path if on_disk else None) as store:
        assert held(store) == ALL
        assert store.get("call", "none") is None
        assert store.get("none", "a1") is None
        assert ("job", "a1") in store
        assert ("job", "a2") not in store
        assert (store.count("call"), store.count("none"), len(store)) == (2, 0, 4)
        assert store.keys("call") == ["a1", "a2"]


def test_it_is_there_the_next_time(path: Path) -> None:
    fill(path).close()
    with Store(path) as store:
        assert held(store) == ALL
        assert store.recovered == 0
        store.put("call", "a3", {"n": 1})
    with Store(path) as store:
        assert store.keys("call") == ["a1", "a2", "a3"]


def test_lines_are_json_that_other_tools_read(path: Path) -> None:
    fill(path).close()
    header, *lines = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    assert header[:2] == ["lampc-store", 1]
    assert [tuple(line[:3]) for line in lines] == RECORDS


@pytest.mark.parametrize("on_disk", [True, False])
def test_an_equal_record_changes_nothing_and_another_is_refused(path: Path, on_disk: bool) -> None:
    with Store(path if on_disk else None) as store:
        store.put("call", "k", {"a": 1, "b": [1, 2]})
        size = path.stat().st_size if on_disk else 0
        store.put("call", "k", {"b": (1, 2), "a": 1})
        with pytest.raises(StoreError, match="call k is there already, with other content"):
            store.put("call", "k", {"a": 2})
        assert store.get("call", "k") == {"a": 1, "b": [1, 2]}
        assert not on_disk or path.stat().st_size == size


def test_many_at_once(path: Path) -> None:
    items = [("call", f"k{i}", {"text": "x" * 5000, "i": i}) for i in range(1000)]
    with Store(path) as store:
        store.put_many(items)
        store.put_many(items[:10])
        store.put_many([("job", "j", {"a": 1}), ("job", "j", {"a": 1})])
        with pytest.raises(StoreError, match="other content"):
            store.put_many([("job", "i", {"a": 1}), ("job", "i", {"a": 2})])
    with Store(path) as store:
        assert (store.count("call"), store.count("job")) == (1000, 1)
        assert store.get("call", "k999") == items[999][2]


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_record_got_is_the_callers_own(path: Path, on_disk: bool) -> None:
    with Store(path if on_disk else None) as store:
        given = {"list": [1]}
        store.put("call", "k", given)
        given["list"].append(2)
        got = store.get("call", "k")
        assert got is not None
        got["list"].append(3)
        assert store.get("call", "k") == {"list": [1]}


@pytest.mark.parametrize(
    ("record", "said"),
    [({"x": object()}, "not JSON"), ({"x": {1, 2}}, "not JSON"), ({"x": "y" * MAX_RECORD}, "is the most")],
)
def test_what_cannot_be_kept_is_refused_and_hurts_nothing(path: Path, record: dict[str, Any], said: str) -> None:
    with fill(path) as store:
        with pytest.raises(StoreError, match=said):
            store.put("call", "big", record)
        assert held(store) == ALL
    with Store(path) as store:
        assert (held(store), store.recovered) == (ALL, 0)


def test_the_longest_record_fits(path: Path) -> None:
    with Store(path) as store:
        line = len('["call","k",{"x":""},"0123456789abcdef"]\n')
        record = {"x": "y" * (MAX_RECORD - line)}
        store.put("call", "k", record)
        assert store.get("call", "k") == record
    with Store(path) as store:
        assert store.get("call", "k") == record


def test_threads_may_share_it(path: Path) -> None:
    with Store(path) as store:

        def work(n: int) -> None:
            for i in range(100):
                store.put("call", f"{n}-{i}", {"i": i})
                assert store.get("call", f"{n}-{i}") == {"i": i}

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    with Store(path) as store:
        assert (store.count("call"), store.recovered) == (400, 0)


# -- damage -------------------------------------------------------------------------------------------


def test_cut_anywhere_it_holds_exactly_the_whole_records(path: Path) -> None:
    fill(path).close()
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends)
        with Store(path) as store:
            assert held(store) == {(k, key): r for k, key, r in RECORDS[: max(whole - 1, 0)]}, cut
            assert store.recovered == (cut not in (0, *ends)), cut
            store.put("new", "n", {"n": 1})
        with Store(path) as store:
            assert store.recovered == 0
            assert store.get("new", "n") == {"n": 1}


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_changed_byte_costs_its_record_only(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("store") / "s"
    fill(path).close()
    raw = bytearray(path.read_bytes())
    start = raw.index(b"\n") + 1
    at = data.draw(st.integers(start, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    line = bytes(raw[:at]).count(b"\n") - 1
    path.write_bytes(raw)
    with Store(path) as store:
        found = held(store)
        hurt = RECORDS[line : line + 2]  # a lost line end takes the next line with it
        for kind, key, record in RECORDS:
            if (kind, key) in found:
                assert found[kind, key] == record
            else:
                assert (kind, key, record) in hurt
        assert store.recovered >= 1
        assert set(found) <= set(ALL)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_rubbish_at_the_end_is_dropped(tmp_path_factory: pytest.TempPathFactory, rubbish: bytes) -> None:
    path = tmp_path_factory.mktemp("store") / "s"
    fill(path).close()
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(rubbish)
    with Store(path) as store:
        assert held(store) == ALL
        assert store.recovered >= bool(rubbish)
    assert path.stat().st_size == size


def test_a_file_that_is_no_store_is_left_alone(path: Path) -> None:
    for text in ("my thesis\n", '["lampc-store",2,"0123456789abcdef"]\n' + "x" * 99, "\n"):
        path.write_text(text)
        with pytest.raises(StoreError, match="not a store of this version"):
            Store(path)
        assert path.read_text() == text


def test_a_record_that_changes_under_an_open_store_is_not_believed(path: Path) -> None:
    with fill(path) as store:
        raw = bytearray(path.read_bytes())
        raw[raw.index(b"quoted")] ^= 1
        path.write_bytes(raw)
        with pytest.raises(StoreError, match="changed on disk"):
            store.get("call", "a1")


@pytest.mark.parametrize("make", ["folder", "file in the way"])
def test_what_cannot_be_opened_is_named(tmp_path: Path, make: str) -> None:
    path = tmp_path / "x" / "store"
    if make == "folder":
        path.mkdir(parents=True)
    else:
        (tmp_path / "x").write_text("")
    with pytest.raises(StoreError, match="cannot open the store"):
        Store(path)


def test_a_full_disk_loses_nothing_put_before(path: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with fill(path) as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, limit[1]))
            with pytest.raises(StoreError, match="cannot write"):
                store.put("call", "big", {"x": "y" * 200})
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
            assert held(store) == ALL
            store.put("call", "after", {"n": 1})
        with Store(path) as store:
            assert store.recovered == 0
            assert store.get("call", "after") == {"n": 1}
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)


# -- one writer ---------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from lampc.runtime.store import Store
store = Store(Path(sys.argv[1]))
for i in range(int(sys.argv[2])):
    store.put("call", f"k{i}", {"i": i, "pad": "x" * (i % 7000)})
    print(i, flush=True)
sys.stdin.read()
"""


def writer(path: Path, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )


@pytest.mark.parametrize("after", [1, 40, 333])
def test_killed_while_writing_nothing_put_is_lost(path: Path, after: int) -> None:
    with writer(path, 1_000_000) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(after)]
        process.kill()
        said += process.stdout.readlines()
    put = [int(line) for line in said if line.endswith("\n")]
    assert len(put) >= after
    with Store(path) as store:
        assert store.count("call") in (len(put), len(put) + 1)
        for i in put:
            assert store.get("call", f"k{i}") == {"i": i, "pad": "x" * (i % 7000)}


def test_a_second_writer_is_told_who_has_it(path: Path) -> None:
    with writer(path, 1) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(StoreError, match=rf"store\.jsonl: in use by process {process.pid}; wait"):
            Store(path)
        process.kill()
    Store(path).close()


def test_the_same_process_has_it_once(path: Path) -> None:
    with Store(path):
        with pytest.raises(StoreError, match="in use by this process itself, in another thread or a session that is"):
            Store(path)
        with Store(path.with_name("other")) as other:
            other.put("call", "k", {})
    Store(path).close()


def test_closed_is_closed(path: Path) -> None:
    store = fill(path)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.put("call", "k", {})
    with pytest.raises(StoreError, match="is closed"):
        store.get("call", "a1")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="forking with threads warns from Python 3.12 on")
def test_a_fork_does_not_write(path: Path) -> None:
    with fill(path) as store:
        child = os.fork()
        if not child:
            try:
                store.put("call", "k", {})
            except StoreError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
