"""Batches: nothing is lost, nothing is done twice, and what was stopped ends as if it had not been."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lampc.backend import FakeEngine
from lampc.runtime.batch import BadLine, BatchError, Figures, Line, Lines, Results, run_batch, survey
from tests.backend.engines import TimedEngine

ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def batch(
    source: Path, out: Path, engine: FakeEngine | None = None, *, ordered: bool = False, **options: Any
) -> Figures:
    """All of `lampc batch` but its command line."""
    engine = engine or FakeEngine()
    own = {name: options.pop(name) for name in ("retry", "every") if name in options}
    look = {name: options[name] for name in ("strict",) if name in options}
    look |= {name: options.pop(name) for name in ("fresh", "most") if name in options}
    lines = Lines(source, options.pop("defaults", {}), engine.info.digest)
    with Results(out, **own) as results:
        found = survey(lines, results, **look)
        if look.get("fresh"):
            results.clear()
        figures = run_batch(engine, found.todo(lines, results), results, **options)
        results.finish(ordered=ordered)
    engine.check()
    return figures


# -- lines --------------------------------------------------------------------------------------------


def test_a_line_says_what_it_wants(tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.jsonl",
        {"prompt": "one", "id": "a", "max_tokens": 3, "temperature": 0.5, "stop": "x", "n": 2},
        "",
        "   ",
        {"messages": [{"role": "user", "content": "hi"}], "seed": 7},
        {"ids": [1, 2], "id": 5},
    )
    one, two, three = Lines(source, {"top_k": 4, "seed": 1}, "m")
    assert isinstance(one, Line)
    assert (one.number, one.id, one.prompt) == (1, "a", "one")
    assert (one.want.n, one.want.seed, one.want.sampling.stop, one.want.sampling.top_k) == (2, 1, ("x",), 4)
    assert isinstance(two, Line)
    assert (two.number, two.want.seed) == (4, 7), "a line's own options win"
    assert isinstance(three, Line)
    assert three.prompt == [1, 2]
    assert [line.number for line in Lines(source, {}, "m").read([(5, three.at), (1, 0)])] == [5, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON: .* \\(column 2\\)"),
        ("[1]", "give a JSON object"),
        ({"id": "x"}, "no prompt; give one of prompt, messages, ids"),
        ({"prompt": "a", "ids": [1]}, "prompt and ids; give one of"),
        ({"prompt": 3}, "prompt is 3; give a text"),
        ({"ids": ["a"]}, "ids is"),
        ({"ids": [True]}, "ids is"),
        ({"messages": []}, "messages is"),
        ({"messages": "hi"}, "messages is 'hi'"),
        ({"prompt": "a", "temprature": 1}, "did you mean 'temperature'"),
        ({"promt": "a"}, "did you mean 'prompt'"),
        ({"prompt": "a", "top_p": 0}, "top_p is 0"),
        ({"prompt": "a", "n": 0}, "n is 0"),
        ({"prompt": "a", "id": [1]}, "id is"),
        ("[" * 100_000, "nested too deep|not JSON"),
    ],
)
def test_a_wrong_line_says_why(tmp_path: Path, line: object, message: str) -> None:
    (found,) = Lines(write(tmp_path / "in.jsonl", line), {}, "m")
    assert isinstance(found, BadLine)
    with pytest.raises(ValueError, match=message):
        raise ValueError(found.message)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": "\xff"}\n')
    first, second = Lines(source, {}, "m")
    assert isinstance(first, Line), "a byte order mark and the line ends of another system are no matter"
    assert isinstance(second, BadLine)
    assert second.message == "not UTF-8 text (byte 13 of the line)"


def test_the_key_names_all_a_result_depends_on(tmp_path: Path) -> None:
    def key(line: object, defaults: Mapping[str, Any] | None = None, model: str = "m") -> str:
        (found,) = Lines(write(tmp_path / "in.jsonl", line), defaults or {}, model)
        return found.key

    same = key({"prompt": "a", "seed": 1})
    assert key('{"seed":1,   "prompt":"a"}') == same
    others = [
        key({"prompt": "b", "seed": 1}),
        key({"prompt": "a", "seed": 2}),
        key({"prompt": "a", "seed": 1, "n": 2}),
        key({"prompt": "a", "seed": 1}, {"top_k": 3}),
        key({"prompt": "a", "seed": 1}, model="other"),
    ]
    assert len({same, *others}) == 6
    schemas = [{"properties": {name: {} for name in names}} for names in ("ab", "ba")]
    assert len({key({"prompt": "a", "json_schema": schema}) for schema in schemas}) == 2, "keys come in their order"


# -- work ---------------------------------------------------------------------------------------------


def test_results_are_those_of_the_engine_line_by_line(tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.jsonl",
        *({"prompt": f"prompt {i}", "id": i} for i in range(30)),
        {"prompt": "x", "n": 3, "logprobs": True, "top_logprobs": 1, "prompt_logprobs": True},
        {"messages": [{"role": "user", "content": "hi"}], "stop": "b"},
    )
    figures = batch(source, tmp_path / "out.jsonl", ordered=True, window=7)
    found = read(tmp_path / "out.jsonl")
    assert [r["line"] for r in found] == list(range(1, 33))
    assert [r["text"] for r in found[:30]] == [FakeEngine().ask(f"prompt {i}") for i in range(30)]
    assert [r["id"] for r in found[:30]] == list(range(30))
    assert len(found[30]["completions"]) == 3
    assert found[30]["completions"][0]["logprobs"] == [0.0] * len(found[30]["completions"][0]["tokens"])
    assert found[30]["prompt_logprobs"] == [None]
    assert figures.requests == 32
    assert figures.generated_tokens == sum(r["generated_tokens"] for r in found)


def test_what_is_wrong_or_fails_loses_nothing_else_and_can_be_mended(tmp_path: Path) -> None:
    def reply(prompt: str) -> str:
        if "bad" in prompt:
            raise RuntimeError("no reply to this")
        return "fine"

    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    good = [{"prompt": f"good {i}"} for i in range(5)]
    write(source, *good, "{", {"prompt": "bad one", "id": "b"}, {"ids": [9999]}, {"prompt": ""}, {"prompt": "last"})
    figures = batch(source, out, FakeEngine(reply), ordered=True)
    assert (figures.requests, figures.failed) == (10, 4)
    found = read(out)
    assert [r.get("text") for r in found] == ["fine"] * 5 + [None] * 4 + ["fine"]
    assert found[6]["id"] == "b"
    assert "no reply to this" in found[6]["error"]
    assert "9999" in found[7]["error"]
    assert [n for n, _ in sorted(figures.errors)] == [6, 7, 8, 9]

    again = batch(source, out, FakeEngine(reply))
    assert again.requests == 0, "the same lines would fail again"
    assert read(out) == found
    retried = batch(source, out, FakeEngine(), retry=True)
    assert (retried.requests, retried.failed) == (4, 3), "what was the engine's fault may go well now"
    fine = {"prompt": "good"}
    write(source, *good, fine, {"prompt": "bad one", "id": "b"}, fine, fine, {"prompt": "last"})
    mended = batch(source, out, FakeEngine(reply), ordered=True)
    assert (mended.requests, mended.failed) == (3, 0)
    assert [r["line"] for r in read(out)] == list(range(1, 11)), "each line once"


def test_strict_stops_at_the_first_error_and_keeps_what_was_done(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", {"prompt": "a"}, "{"), tmp_path / "out.jsonl"
    with pytest.raises(BatchError, match=r"in.jsonl:2: not JSON.*--strict"):
        batch(source, out, strict=True)
    assert read(out) == [], "nothing was computed"
    write(source, {"prompt": "a"}, {"ids": [9999]}, {"prompt": "b"})
    with pytest.raises(BatchError, match=r"line 2: .*9999"):
        batch(source, out, strict=True, window=1)
    assert [r["line"] for r in read(out)] == [1]


def test_a_queue_that_is_full_is_no_error_of_a_line(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *({"prompt": f"p{i}", "n": 3} for i in range(10)))
    figures = batch(source, tmp_path / "out.jsonl", FakeEngine(max_waiting=2, max_running=2))
    assert (figures.requests, figures.failed) == (10, 0)


def test_no_more_than_a_window_is_held(tmp_path: Path) -> None:
    most = 0

    class Watched(FakeEngine):
        def step(self) -> Any:
            nonlocal most
            most = max(most, len(self._jobs))
            return super().step()

    source = write(tmp_path / "in.jsonl", *({"prompt": f"p{i}"} for i in range(50)))
    batch(source, tmp_path / "out.jsonl", Watched(), window=9)
    assert most == 9
    with pytest.raises(BatchError, match="window is 0"):
        batch(source, tmp_path / "other.jsonl", window=0)


def test_lines_that_begin_alike_are_run_one_after_the_other(tmp_path: Path) -> None:
    """12 prefixes taken in turns, a cache that holds two: in the file's order each is computed again and again."""
    heads = [f"{i:03} " + "".join(random.Random(i).choices("abcdef ", k=400)) for i in range(12)]
    texts = [f"{heads[i % 12]} {i}" for i in range(120)]
    source = write(tmp_path / "in.jsonl", *({"prompt": text, "max_tokens": 2} for text in texts))

    def engine() -> FakeEngine:
        return FakeEngine(kv_tokens=1000, max_running=4)

    figures = batch(source, tmp_path / "out.jsonl", engine(), window=8)
    lines = Lines(source, {}, engine().info.digest)
    with Results(tmp_path / "plain.jsonl") as results:
        plain = run_batch(engine(), lines, results, window=8)
    assert plain.computed_tokens > 0.9 * plain.prompt_tokens
    least = sum(map(len, heads))  # tokens are bytes here
    assert least <= figures.computed_tokens < 1.3 * least
    texts_of = [{r["line"]: r["text"] for r in read(tmp_path / name)} for name in ("out.jsonl", "plain.jsonl")]
    assert texts_of[0] == texts_of[1]


def test_order_is_wrong_lines_then_priority_then_beginnings_then_the_file(tmp_path: Path) -> None:
    a, b, deep = "a" * 70, "b" * 70, "a" * 300
    source = write(
        tmp_path / "in.jsonl",
        {"prompt": "short"},
        {"prompt": b + "1"},
        {"prompt": deep + "1"},
        {"prompt": a + "1"},
        {"prompt": b + "2"},
        {"prompt": deep + "2"},
        "{",
        {"prompt": "late", "priority": -1},
        {"prompt": "early", "priority": 10**30},
    )
    lines = Lines(source, {}, "m")
    with Results(tmp_path / "out.jsonl") as results:
        found = survey(lines, results)
    assert [number for number, _ in found.order.places()] == [7, 9, 1, 2, 5, 3, 6, 4, 8]
    assert [line.number for line in lines.read(found.order.places())] == [7, 9, 1, 2, 5, 3, 6, 4, 8]


def test_a_long_file_is_put_in_order_part_by_part(tmp_path: Path) -> None:
    prompts = [f"{'ab'[i % 2] * 70} {i}" for i in range(10)]
    source = write(tmp_path / "in.jsonl", *({"prompt": p} for p in prompts), "{", *({"prompt": p} for p in prompts))
    lines = Lines(source, {}, "m")
    with Results(tmp_path / "out.jsonl") as results:
        results.add(2, next(x.key for x in lines if x.number == 2), {"text": ""})
    with Results(tmp_path / "out.jsonl") as results:
        found = survey(lines, results, most=8)
        assert [line.number for line in found.todo(lines, results)] == [
            *(1, 3, 5, 7, 9, 4, 6, 8),
            *(11, 10, 13, 15, 17, 12, 14, 16),
            *(18, 20, 19, 21),
        ]
    batch(source, tmp_path / "whole.jsonl", ordered=True)
    batch(source, tmp_path / "parts.jsonl", ordered=True, most=3)
    assert read(tmp_path / "whole.jsonl") == read(tmp_path / "parts.jsonl")


_SIZE = """
import json, pathlib, resource, sys
from lampc.backend import FakeEngine
from lampc.runtime.batch import Lines, Results, run_batch, survey

source, out, stop = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
engine, asked = FakeEngine(prefix_cache=False), 0
lines = Lines(source, {"max_tokens": 1}, engine.info.digest)

def stopped():
    global asked
    asked += 1
    return bool(stop) and asked > stop

with Results(out) as results:
    found = survey(lines, results, most=2000)
    try:
        run_batch(engine, found.todo(lines, results), results, stopped=stopped)
    except KeyboardInterrupt:
        sys.exit(3)
    results.finish(ordered=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Largest resident sets in MiB: of a run, and of one that goes on where another was stopped in its middle."""

    def largest(count: int, stop: int) -> int:
        source, out = tmp_path / f"{count}.jsonl", tmp_path / f"{count}.{stop}.out"
        with source.open("w") as file:
            for i in range(count):
                file.write(json.dumps({"prompt": f"{i % 100:03} {'x' * 60} {i}"}) + "\n")
        env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-c", _SIZE, str(source), str(out)]
        if stop:
            assert subprocess.run([*command, str(stop)], env=env).returncode == 3
        done = subprocess.run([*command, "0"], env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with out.open() as file:
            assert sum(json.loads(line)["line"] == i for i, line in enumerate(file, 1)) == count
        return int(done.stdout)

    for stop in (0, 1):
        small, large = largest(6_000, stop * 15), largest(60_000, stop * 150)
        print(f"{small} MiB for 6,000 lines, {large} MiB for 60,000{', gone on with' if stop else ''}")
        assert large <= small + 6


# -- the output file ----------------------------------------------------------------------------------


def test_results_of_another_input_are_never_mixed_in(tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    batch(write(source, {"prompt": "a"}, {"prompt": "b"}), out)
    before = out.read_bytes()
    with pytest.raises(BatchError, match=r"another line 1.*--fresh"):
        batch(write(source, {"prompt": "x"}, {"prompt": "b"}), out)
    with pytest.raises(BatchError, match="another line 1"):
        batch(write(source, {"prompt": "a"}, {"prompt": "b"}), out, defaults={"top_k": 2})
    with pytest.raises(BatchError, match=r"result of line 2, but .* ends at line 1"):
        batch(write(source, {"prompt": "a"}), out)
    assert out.read_bytes() == before
    assert batch(source, out, fresh=True).requests == 1
    assert [r["line"] for r in read(out)] == [1]


@pytest.mark.parametrize(
    "text", ["hello\n", '{"a": 1}\n', '{"line": 1, "key": "zz"}\n', '{"li: 3}\n', '{"a": 1}', "hm"]
)
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, text: str) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text(text)
    with pytest.raises(BatchError, match=r"out.jsonl:1: not written by lampc batch"):
        batch(write(tmp_path / "in.jsonl", {"prompt": "a"}), out, fresh=True)
    assert out.read_text() == text


def test_only_a_file_can_be_gone_on_with(tmp_path: Path) -> None:
    """Some devices can be read for ever, until memory ends."""
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", Path("/dev/full"), Path("/dev/null"), tmp_path):
        with pytest.raises(BatchError, match="not a file"):
            Results(place)


def test_two_processes_cannot_write_one_file(tmp_path: Path) -> None:
    with Results(tmp_path / "out.jsonl"), pytest.raises(BatchError, match="another process writes"):
        Results(tmp_path / "out.jsonl")


def test_a_file_that_is_replaced_while_it_is_opened_is_not_written_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "out.jsonl", tmp_path / "other"
    out.write_text("")
    real, calls = fcntl.flock, []

    def flock(fd: int, how: int) -> None:
        calls.append(fd)
        if len(calls) == 1:  # the other process puts its lines in order right now
            other.write_text(json.dumps({"line": 1, "key": "0" * 15 + "1"}) + "\n")
            os.replace(other, out)
        elif len(calls) == 2:
            out.unlink()
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with Results(out) as results:
        results.add(2, "0" * 15 + "2", {})
        with pytest.raises(BatchError, match="another process writes"):
            Results(out)
    assert [r["line"] for r in read(out)] == [2]
    assert len(calls) == 4


def engine_of_now(step_s: float) -> TimedEngine:
    """Timeouts of lines are by the real clock."""
    engine = TimedEngine(step_s=step_s)
    engine.now = time.monotonic()
    return engine


@pytest.mark.parametrize("n", [1, 2])
def test_retry_runs_again_what_met_its_timeout(tmp_path: Path, n: int) -> None:
    source = write(
        tmp_path / "in.jsonl",
        {"prompt": "a", "max_tokens": 3},
        {"prompt": "b", "timeout": 250, "n": n, "max_tokens": 6, "ignore_eos": True},
    )
    out = tmp_path / "out.jsonl"
    batch(source, out, engine_of_now(step_s=100.0), ordered=True)
    cut = read(out)
    assert [c["finish"] for c in cut[1].get("completions", cut[1:])] == ["timeout"] * n
    assert batch(source, out).requests == 0
    again = batch(source, out, engine_of_now(step_s=0.1), retry=True, ordered=True)
    assert (again.requests, again.failed) == (1, 0)
    whole = read(out)
    assert whole[0] == cut[0]
    assert [c["finish"] for c in whole[1].get("completions", whole[1:])] == ["length"] * n
    assert batch(source, out, retry=True).requests == 0


def test_zeros_at_the_end_are_a_torn_end(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *({"prompt": f"é {i}"} for i in range(3)))
    batch(source, tmp_path / "whole.jsonl", ordered=True)
    whole = (tmp_path / "whole.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    out = tmp_path / "out.jsonl"
    for cut in range(len(whole) + 1):
        out.write_bytes(whole[:cut] + bytes(5000))
        kept = sum(cut >= end - 1 for end in ends)
        assert batch(source, out, ordered=True).requests == 3 - kept
        assert out.read_bytes() == whole
    out.write_bytes(b"hello" + bytes(9))
    with pytest.raises(BatchError, match="not written by lampc batch"):
        batch(source, out)
    assert out.read_bytes() == b"hello" + bytes(9)


def test_a_torn_end_at_every_byte(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *({"prompt": f"é {i}", "id": f"né{i}"} for i in range(3)))
    batch(source, tmp_path / "whole.jsonl", ordered=True)
    whole = (tmp_path / "whole.jsonl").read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    out = tmp_path / "out.jsonl"
    for cut in range(len(whole) + 1):
        out.write_bytes(whole[:cut])
        kept = sum(cut >= end - 1 for end in ends)  # a line is whole without its line end, too
        assert batch(source, out, ordered=True).requests == 3 - kept
        assert out.read_bytes() == whole


def test_killed_while_lines_are_put_in_order(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", *({"prompt": f"p{i}", "max_tokens": 1 + 9 * (i < 3)} for i in range(6)))
    out = tmp_path / "out.jsonl"
    batch(source, out)
    assert [r["line"] for r in read(out)] != [1, 2, 3, 4, 5, 6]
    whole = out.read_bytes()
    out.with_name("out.jsonl.tmp").write_bytes(whole[:70])
    assert batch(source, out).requests == 0
    assert out.read_bytes() == whole
    assert batch(source, out, ordered=True).requests == 0
    assert [r["line"] for r in read(out)] == [1, 2, 3, 4, 5, 6]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_halves_of_surrogate_pairs_come_back(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", r'{"prompt": "a", "id": "\ud800"}')
    batch(source, tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl")[0]["id"] == "\ud800"
    assert batch(source, tmp_path / "out.jsonl").requests == 0


def test_results_reach_the_disk_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(fd))
    now = 0.0
    with Results(tmp_path / "out.jsonl", every=1.0, clock=lambda: now) as results:
        for number in range(1, 31):
            now += 0.1
            results.add(number, "0" * 15 + "1", {})
    assert 2 <= len(synced) <= 3


# -- stopping -----------------------------------------------------------------------------------------


def test_being_asked_to_stop_keeps_what_is_done(tmp_path: Path) -> None:
    source, out = write(tmp_path / "in.jsonl", *({"prompt": f"p{i}"} for i in range(40))), tmp_path / "out.jsonl"
    done = 0

    def told(figures: Figures) -> None:
        nonlocal done
        done = figures.requests

    with pytest.raises(KeyboardInterrupt):
        batch(source, out, window=8, on_line=told, stopped=lambda: done >= 10)
    kept = len(read(out))
    assert 10 <= kept < 40
    assert batch(source, out).requests == 40 - kept
    batch(source, tmp_path / "other.jsonl")
    assert sorted(map(repr, read(out))) == sorted(map(repr, read(tmp_path / "other.jsonl")))


CHILD = """
import sys, time
from pathlib import Path
from lampc.backend import FakeEngine
from lampc.backend.fake import hash_word
from lampc.runtime.batch import Lines, Results, run_batch, survey

source, out, calls, delay = Path(sys.argv[1]), Path(sys.argv[2]), open(sys.argv[3], "a"), float(sys.argv[4])

def reply(prompt):
    print(prompt, file=calls, flush=True)
    time.sleep(delay)
    return hash_word(prompt) * 20

engine = FakeEngine(reply)
lines = Lines(source, {}, engine.info.digest)
with Results(out) as results:
    found = survey(lines, results)
    run_batch(engine, found.todo(lines, results), results, window=6)
    results.finish(ordered=True)
"""


def test_killed_at_any_moment_it_ends_the_same_and_does_nothing_twice(tmp_path: Path) -> None:
    lines: list[object] = [{"prompt": f"prompt {i}", "id": i, "n": 1 + (i % 5 == 0)} for i in range(60)]
    source, out, calls = write(tmp_path / "in.jsonl", *lines[:30], "{", *lines[30:]), tmp_path / "out", tmp_path / "c"

    def child(out: Path, delay: float) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(source), str(out), str(calls), str(delay)],
            env={"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"]},
        )

    assert child(tmp_path / "whole", 0.0).wait(60) == 0
    seed = random.Random(3)
    kills = 0
    for _ in range(6):
        finished = {r["id"] for r in map(_whole, _lines(out)) if r is not None and "id" in r}
        calls.write_text("")
        process = child(out, 0.005)
        _until_longer(out, len(_lines(out)), process)
        time.sleep(seed.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        kills += process.wait(30) == -signal.SIGKILL
        asked = {int(line.split()[1]) for line in calls.read_text().splitlines()}
        assert not asked & finished, "a line whose result is there was computed again"
    assert kills >= 3
    assert child(out, 0.0).wait(60) == 0
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n") if path.exists() else []


def _whole(line: bytes) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return found


def _until_longer(path: Path, lines: int, process: subprocess.Popen[bytes]) -> None:
    """Until `path` has more lines than that, or the process has ended."""
    end = time.monotonic() + 30.0
    while len(_lines(path)) <= lines and process.poll() is None:
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.002)
