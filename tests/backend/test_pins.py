"""Retained prefixes: they hold all of them that is in the tree, and cost nothing while nothing of them comes."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampc.backend.block_pool import BlockPool
from lampc.backend.errors import OutOfBlocks
from lampc.backend.nodes import Cursor
from lampc.backend.pins import Pins
from lampc.backend.radix import RadixTree
from lampc.backend.trie import Trie
from tests.backend.engines import TimedEngine, ids, request

Ids = tuple[int, ...]
texts = st.lists(st.integers(0, 1), min_size=1, max_size=12).map(tuple)


@given(st.data())
def test_they_hold_what_is_there(data: st.DataObject) -> None:
    """Whatever comes into the tree and goes, by other roots too; a token more at a time, or several."""
    tree = RadixTree(BlockPool(40, 2))
    pins = Pins(tree)
    refs, cursors = [], []
    for _ in range(data.draw(st.integers(1, 30))):
        match data.draw(
            st.sampled_from(["insert", "insert", "grow", "apart", "release", "retain", "retain", "let go"])
        ):
            case "insert" | "apart" as how:
                try:
                    cursor = tree.insert(data.draw(texts), tree.new_root() if how == "apart" else None)
                except OutOfBlocks:
                    continue
                tree.mark_written(cursor, data.draw(st.integers(0, cursor.length)))
                cursors.append(cursor)
            case "grow" if cursors:
                one = data.draw(st.sampled_from(cursors))
                more = data.draw(texts)
                if tree.append(one, more[0]) is None and tree.pool.free > len(more):
                    tree.extend(one, more)
            case "release" if cursors:
                tree.release(cursors.pop(data.draw(st.integers(0, len(cursors) - 1))))
            case "retain":
                refs.append(pins.add(data.draw(texts), None))
            case "let go" if refs:
                pins.remove(refs.pop(data.draw(st.integers(0, len(refs) - 1))))
        if data.draw(st.booleans()):
            pins.follow()
            assert [c.length for c in pins.cursors()] == [held(tree, ref.ids) for ref in refs]
        tree.check(cursors + pins.cursors())
    pins.clear()
    for cursor in cursors:
        tree.release(cursor)
    tree.clear()
    assert tree.pool.used == 0


def held(tree: RadixTree, wanted: Ids) -> int:
    node, offset = tree.match(wanted)
    return Cursor(node, offset).length


@pytest.mark.parametrize("prefixes", [10, 1000])
def test_those_that_nothing_comes_for_are_not_looked_at(prefixes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TimedEngine(kv_tokens=4096)
    stem = engine.submit(request("stem", 2))
    engine.run()
    assert stem.done
    wanted = [f"stem:{i}" for i in range(prefixes)]
    refs = [engine.retain(ids(text)) for text in wanted]
    looked: list[Cursor] = []
    follow = Trie.follow

    def counted(self: Trie, cursor: Cursor, rest: Any) -> int:
        looked.append(cursor)
        return follow(self, cursor, rest)

    monkeypatch.setattr(Trie, "follow", counted)
    for i in range(50):
        engine.submit(request(f"stem and {i}", 2))
    engine.run()
    assert looked == [], "they share the stem only, which was there"
    engine.submit(request("stem:7 and more", 2))
    engine.run()
    assert 1 <= len(looked) <= prefixes + 1  # all wait for the colon, each once
    assert sum(c.length == len(ref.ids) for ref, c in zip(refs, engine._pins.cursors())) == 1
    looked.clear()
    engine.submit(request("stem:8 and more", 2))
    engine.run()
    assert len(looked) < 3 + prefixes // 9  # those whose number begins with 8
    engine.check()


@pytest.mark.parametrize("options", [{"ttl": math.nan}, {"ttl": -1.0}, {"next_use": math.nan}])
def test_times_that_are_none_are_refused_and_hurt_no_other(options: dict[str, float]) -> None:
    engine = TimedEngine()
    with pytest.raises(ValueError, match=r"is (nan|-1\.0); give"):
        engine.retain(ids("abc"), **options)
    ref, late = engine.retain(ids("abc"), ttl=1.0), engine.submit(request("abc", 9, deadline=3.0))
    with pytest.raises(ValueError, match="next_use is nan"):
        engine.release(ref, next_use=math.nan)
    engine.run()
    assert late.completion is not None
    assert late.completion.finish == "timeout"
    with pytest.raises(ValueError, match="not held"):
        engine.release(ref)


def test_held_for_no_time_at_all() -> None:
    engine = TimedEngine()
    engine.submit(request("abcdef"))
    engine.run()
    ref = engine.retain(ids("abc"), ttl=0)
    engine.reset_cache()
    assert engine.stats().used_blocks == 1, "until the next step"
    engine.submit(request("x"))
    engine.step()
    with pytest.raises(ValueError, match="not held"):
        engine.release(ref)
    engine.check()
