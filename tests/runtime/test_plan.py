"""The prefix tree: its size against a trie built node by node, its order, and its references."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lampc.ir import CallKey, Sampling
from lampc.passes.schedule.block_tree import common_prefix, packed, packed_prefix, unpacked
from lampc.runtime.models import ModelCall
from lampc.runtime.plan import PrefixTree, SharedPrefixes, beside_bound, prefix_bound

prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6).map(tuple), max_size=12)


def call(ids: tuple[int, ...]) -> ModelCall:
    return ModelCall(CallKey("m", "exact", str(ids), Sampling(), 0), Sampling(), 0, ids)


@given(prompts)
def test_bound_is_the_number_of_trie_nodes(some: list[tuple[int, ...]]) -> None:
    assert prefix_bound(some) == len({p[:i] for p in some for i in range(1, len(p) + 1)})


@given(prompts, st.data())
def test_what_the_model_wrote_itself_is_not_part_of_the_bound(some: list[tuple[int, ...]], data: st.DataObject) -> None:
    written = [data.draw(st.lists(st.integers(0, 2), max_size=4).map(tuple)) for _ in some]
    known = {(p + w)[:i] for p, w in zip(some, written, strict=True) for i in range(len(p) + 1, len(p + w) + 1)}
    nodes = {p[:i] for p in some for i in range(1, len(p) + 1)}
    assert prefix_bound(some, written) == len(nodes - known)


def test_what_is_said_beside_the_bound_is_never_negative() -> None:
    assert beside_bound(102, 100) == "+2.00 % computed above that"
    assert beside_bound(100, 100) == "+0.00 % computed above that"
    assert beside_bound(40, 100) == "60 of them were there already"


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_common_prefix(a: list[int], b: list[int]) -> None:
    n = common_prefix(a, b)
    assert a[:n] == b[:n]
    assert n == min(len(a), len(b)) or a[n] != b[n]


@given(prompts)
def test_the_order_is_depth_first(some: list[tuple[int, ...]]) -> None:
    ordered = [c.ids for c in PrefixTree.of(map(call, some)).calls]
    assert sorted(ordered) == sorted(some)
    for prefix in {p[:i] for p in some for i in range(1, len(p) + 1)}:
        below = [i for i, ids in enumerate(ordered) if ids[: len(prefix)] == prefix]
        assert below == list(range(below[0], below[-1] + 1))


class Retaining:
    """Stands for a model: remembers which prefixes are held."""

    def __init__(self) -> None:
        self.held: list[tuple[int, ...]] = []

    def retain(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        self.held.append(ids)
        return ids

    def release(self, ref: tuple[int, ...]) -> None:
        self.held.remove(ref)


@given(prompts, st.randoms(use_true_random=False))
def test_references_fall_to_zero_at_the_last_consumer(some: list[tuple[int, ...]], random: object) -> None:
    model = Retaining()
    shared = SharedPrefixes(model)  # type: ignore[arg-type]
    calls = shared.plan(map(call, dict.fromkeys(some)))
    random.shuffle(calls)  # type: ignore[attr-defined]
    for i, done in enumerate(calls):
        left = {c.ids for c in calls[i:]}
        for held in model.held:
            assert any(ids[: len(held)] == held for ids in left), "held without a consumer"
        shared.done(done)
    assert model.held == []


@given(prompts, st.integers(1, 4))
def test_what_is_held_leaves_room_for_the_longest_call(some: list[tuple[int, ...]], block: int) -> None:
    model = Retaining()
    calls = [call(ids) for ids in dict.fromkeys(some)]
    longest = max((len(c.ids) + c.sampling.max_tokens + block for c in calls), default=0)
    for more in (0, 3, 10_000):
        model.kv_tokens, model.block_size = longest + more, block  # type: ignore[attr-defined]
        shared = SharedPrefixes(model)  # type: ignore[arg-type]
        half = len(calls) // 2
        ordered = [*shared.plan(calls[:half]), *shared.plan(calls[half:])]
        assert sorted(c.ids for c in ordered) == sorted(c.ids for c in calls)
        assert prefix_bound(model.held) + block * len(set(model.held)) <= more
        for done in ordered:
            shared.done(done)
        assert model.held == []


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=12)), st.lists(st.integers(0, 3), max_size=6))
def test_packed_ids_compare_as_ids_do(some: list[list[int]], more: list[int]) -> None:
    sequences = [tuple(s) for s in [*some, more, [*more, 300], [*more, 2**31]]]
    assert sorted(sequences) == sorted(sequences, key=packed)
    for a in sequences:
        assert unpacked(packed(a)) == a
        for b in sequences:
            assert packed_prefix(packed(a), packed(b)) == common_prefix(a, b)
