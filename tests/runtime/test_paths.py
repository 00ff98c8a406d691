"""The size of a tree of paths that come and go is that of the tree of those that are there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lampc.passes.schedule.block_tree import packed, tree_size, unpacked
from lampc.runtime.paths import Paths

path = st.lists(st.integers(0, 2), max_size=6).map(tuple)


@given(st.lists(st.tuples(path, st.booleans()), max_size=40), path)
def test_the_size_is_that_of_the_tree(changes: list[tuple[tuple[int, ...], bool]], asked: tuple[int, ...]) -> None:
    paths, there = Paths(), list[tuple[int, ...]]()
    for ids, comes in changes:
        if comes or not there:
            paths.add(packed(ids))
            there.append(ids)
        else:
            paths.remove(packed(there.pop(len(ids) % len(there))))
        assert paths.tokens == tree_size(there)
        assert list(map(unpacked, paths)) == sorted(there)
    assert paths.more(packed(asked)) == tree_size([*there, asked]) - tree_size(there)
