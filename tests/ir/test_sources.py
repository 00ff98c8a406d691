"""Sources are parsed by one thread at a time: CPython 3.11 fails where a second one begins in the middle."""

from __future__ import annotations

import gc
import inspect
import os
import signal
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lampc.ir import sources
from lampc.ir.adapters.values import cast
from lampc.ir.sources import literal, parse, source_of
from lampc.ir.types import STR, ListOf

TEXT = inspect.getsource(textwrap)
VALUES = f"[{', '.join(repr(str(i)) for i in range(2000))}]"


@pytest.fixture
def threads_take_turns() -> Iterator[None]:
    """Lets other threads in whenever garbage is collected, which building a tree brings about."""

    def give_way(phase: str, info: Any) -> None:
        time.sleep(1e-4)

    gc.callbacks.append(give_way)
    before = gc.get_threshold()
    gc.set_threshold(50)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(give_way)


@pytest.mark.parametrize(
    "read",
    [
        lambda: parse(TEXT).body[0].lineno,
        lambda: source_of(textwrap.TextWrapper),
        lambda: literal(VALUES),
        lambda: cast(VALUES, ListOf(STR)),
    ],
    ids=["tree", "class", "literal", "answer"],
)
def test_several_threads_read_what_one_reads(threads_take_turns: None, read: Callable[[], Any]) -> None:
    alone = read()
    with ThreadPoolExecutor(4) as pool:
        assert all(found.result() == alone for found in [pool.submit(read) for _ in range(24)])


def test_an_odd_escape_is_read_without_a_word_and_later_warnings_are_heard() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert literal(r"'\d'") == r"\d"
        warnings.warn("still heard", stacklevel=1)
    assert [str(w.message) for w in heard] == ["still heard"]


def test_bad_text_is_refused_as_python_refuses_it() -> None:
    with pytest.raises(SyntaxError):
        parse("a b")
    with pytest.raises(ValueError, match="malformed"):
        literal("open('x')")
    with pytest.raises(TypeError):
        source_of(len)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_parses_though_another_thread_did_when_it_was_forked() -> None:
    begun, end = threading.Event(), threading.Event()

    def hold() -> None:
        with sources._BUILDING:
            begun.set()
            end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(30)
    pid = os.fork()
    if not pid:
        signal.alarm(20)
        os._exit(parse("x").body[0].lineno)
    end.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
