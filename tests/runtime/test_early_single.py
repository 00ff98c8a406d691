"""A row that runs alone has beginnings of prompts computed, too, while its tools are called: on the thread of the run,
from their first call on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from lampc.backend import load_engine
from lampc.frontend.lmp import compile_lmp
from lampc.runtime.events import Event, EventBus
from lampc.runtime.pool import firefly_folder
from lampc.runtime.session import Session
from lampc.runtime.types import Outcome, Row
from tests.runtime.waiting_tools import noted

HERE = "tests.runtime.test_early_single"
SOURCE = """tool search(query: str) -> str {effect} = python("{tool}");
signature Brief(notes: str, found: str) -> (brief: str @max(4)) {{
  "Say what the notes come to, in the light of what was found."
}}
signature Name(notes: str) -> (name: str @max(4)) {{ "Name the notes." }}
module Main(notes: str, about: str) -> (brief: str) {{
  use brief = Predict(Brief);
  let found = search(about);
  let more = search(found);
  let made = brief(notes: notes, found: more);
  return (brief: made.brief);
}}
module Other(notes: str) -> (name: str) {{
  use name = Predict(Name);
  return (name: name(notes: notes).name);
}}
"""
NOTES = " ".join(f"word{i}" for i in range(60))
inside: list[Callable[[], Any]] = []
"""What the tool `nested` does."""


def nested(text: str) -> str:
    found = [do() for do in inside]
    return f"{text} {found}"


@pytest.fixture(autouse=True)
def forgotten() -> None:
    noted.threads.clear()
    noted.calls.clear()


def run(
    tool: str, rows: int = 1, begin: bool = True, effect: str = "@pure", engine: Any = None
) -> tuple[list[Outcome], list[Event]]:
    """Rows, each alone, and what was told of them. No block is left."""
    seen, bus = list[Event](), EventBus()
    bus.subscribe(seen.append)
    engine = engine or load_engine(firefly_folder(), kv_tokens=1 << 13)
    unit = compile_lmp(SOURCE.format(tool=tool, effect=effect), "briefing.lmp")
    with pytest.MonkeyPatch.context() as patch, Session(model=engine, bus=bus) as session:
        if not begin:
            patch.setattr("lampc.runtime.early.EarlyPrefills.consider", lambda _: None)
        inside[:] = [lambda: session.run(unit, [Row("n", {"notes": NOTES})], entry="Other")[0].value]
        found = [
            session.run(unit, [Row(str(i), {"notes": f"{i} {NOTES}", "about": "it"})], entry="Main")[0]
            for i in range(rows)
        ]
        engine.check()
        engine.reset_cache()
        assert engine.stats().used_blocks == 0
        return found, seen


def begun(seen: list[Event]) -> list[int]:
    """Tokens of each prompt that was begun, used by the call that it was begun for."""
    started = {e.data["request"]: e.data["tokens"] for e in seen if e.kind == "prefill.start"}
    return [started[e.data["request"]] for e in seen if e.kind == "prefill.use"]


def values(found: list[Outcome]) -> list[Any]:
    return [o.value if o.error is None else o.error.message for o in found]


@pytest.mark.parametrize("tool", ["linger", "count", "reckon"])
def test_a_row_alone_has_its_prompts_begun(tool: str) -> None:
    """Whether the tool waits, takes no time or computes: nobody knows before it was called."""
    name = f"tests.runtime.waiting_tools:{tool}"
    mine, seen = run(name, rows=2)
    assert noted.threads == {threading.get_ident()}, "on its own thread"
    if tool == "linger":
        assert len(begun(seen)) == 2, "one prompt a row, in the first call of the tool"
        assert min(begun(seen)) > 100
    plain, none = run(name, rows=2, begin=False)
    assert begun(none) == []
    assert values(mine) == values(plain)
    assert [(o.usage.computed_tokens, o.usage.prompt_tokens) for o in mine] == [
        (o.usage.computed_tokens, o.usage.prompt_tokens) for o in plain
    ]


def test_tools_with_effects_keep_their_order() -> None:
    found, seen = run("tests.runtime.waiting_tools:linger", effect="@effect")
    assert found[0].error is None
    assert noted.calls == [("linger", "it"), ("linger", "linger it")]
    assert len(begun(seen)) == 1


def test_where_the_tool_fails_nothing_is_held() -> None:
    found, seen = run(f"{HERE}:failing", rows=2)
    assert all("no such page" in o.error.message for o in found)
    assert [e.kind for e in seen].count("prefill.start") == [e.kind for e in seen].count("prefill.end") == 2


def failing(text: str) -> str:
    noted.call("failing", text, 0.2)
    raise ValueError("no such page")


def test_a_tool_may_run_programs_meanwhile() -> None:
    mine, seen = run(f"{HERE}:nested", rows=2)
    plain, _ = run(f"{HERE}:nested", rows=2, begin=False)
    assert values(mine) == values(plain)
    assert all(o.error is None for o in mine)
    assert [e.kind for e in seen].count("prefill.start") >= 2


def test_what_an_engine_raises_meanwhile_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Any = load_engine(firefly_folder(), kv_tokens=1 << 13)
    threads = list[int]()

    def step() -> Any:
        threads.append(threading.get_ident())
        raise RuntimeError("the card has gone")

    monkeypatch.setattr(engine, "step", step)
    with pytest.raises(RuntimeError, match="the card has gone"):
        run("tests.runtime.waiting_tools:linger", engine=engine)
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
