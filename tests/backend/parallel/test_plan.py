"""What needs no ranks: how matrices are cut, how a step is written down, which way of summing is chosen."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lampc.backend.errors import BackendError
from lampc.backend.load import load_engine
from lampc.backend.parallel import step as steps
from lampc.backend.parallel.halves import halved
from lampc.backend.parallel.shards import VIRTUAL, Shards, tree
from lampc.backend.parallel.step import Reader, Step, Writer
from lampc.backend.parallel.topology import (
    LOOPBACK,
    NETWORK,
    NVLINK,
    PCIE,
    Topology,
    bytes_sent,
    choose,
    inside_link,
    numbered,
)
from lampc.backend.request import Request, Sampling
from lampc.backend.spans import Span
from tests.backend.swaps import always
from tests.backend.test_exact import finish
from tests.backend.test_models import prompt
from tests.backend.test_models_exact import KV

RANKS = [1, 2, 4, 8]


@given(st.integers(VIRTUAL, 100_000))
def test_shards_are_the_same_for_any_number_of_ranks(size: int) -> None:
    whole = Shards(0, 1).pieces(size)
    assert whole[0][0] == 0
    assert whole[-1][1] == size
    assert max(b - a for a, b in whole) - min(b - a for a, b in whole) <= 1
    for ranks in RANKS:
        assert [piece for rank in range(ranks) for piece in Shards(rank, ranks).pieces(size)] == whole


@given(st.sampled_from(RANKS), st.integers(1, 32), st.integers(1, 8), st.sampled_from([2, 10, 64]))
def test_query_heads_find_their_kv_heads(ranks: int, kv_heads: int, fold: int, dim: int) -> None:
    heads = kv_heads * fold
    if heads % ranks or (kv_heads % ranks and ranks % kv_heads):
        with pytest.raises(BackendError, match="cannot be split"):
            Shards(0, ranks).check(heads, kv_heads)
        return
    whole = Shards(0, 1).kv_pieces(kv_heads, dim)
    for rank in range(ranks):
        shards = Shards(rank, ranks)
        shards.check(heads, kv_heads)
        first, end = shards.kv_heads(kv_heads)
        mine = range(*shards.part(heads))
        per_kv = len(mine) // (end - first)  # as attention folds them
        assert [first + i // per_kv for i in range(len(mine))] == [head // fold for head in mine]
        pieces = shards.kv_pieces(kv_heads, dim)
        assert set(pieces) <= set(whole)
        assert (pieces[0][0], pieces[-1][1]) == (first * dim, end * dim)


def test_sums_of_aligned_parts_are_parts_of_the_sum() -> None:
    noise = torch.Generator().manual_seed(0)
    values = list(torch.randn(VIRTUAL, 100, generator=noise) * 10.0 ** torch.arange(VIRTUAL).unsqueeze(1))
    whole = tree(values)
    for ranks in RANKS:
        each = VIRTUAL // ranks
        parts = [tree(values[i : i + each]) for i in range(0, VIRTUAL, each)]
        assert torch.equal(tree(parts), whole)
    assert not torch.equal(sum(values[1:], values[0]), whole)  # the order does matter


def test_one_node_gathers_what_is_small_and_scatters_what_is_large() -> None:
    for link in (LOOPBACK, NVLINK, PCIE):
        node = Topology((0,) * 4, link)
        assert choose(node, 1 << 10) == "gather"
        assert choose(node, 1 << 30) == "scatter"
    assert choose(Topology((0, 0), NVLINK), 1 << 30) == "gather"  # the bytes are the same, the exchanges fewer


def test_two_nodes_choose_other_collectives() -> None:
    for size in (1 << 16, 1 << 20, 1 << 28):
        apart = Topology((0, 0, 0, 0, 1, 1, 1, 1), NVLINK, NETWORK)
        assert choose(apart, size) == "hierarchical" != choose(Topology((0,) * 8, NVLINK), size)
    # Nodes of one rank, or of unequally many, have nothing to sum inside.
    assert choose(Topology((0, 1), NVLINK), 1 << 28) == "gather"
    assert choose(Topology((0, 1, 1, 1), NVLINK), 1 << 28) == "scatter"
    # Ranks that take turns between the nodes are no subtrees.
    assert Topology((0, 1, 0, 1)).local == 1
    assert Topology((0, 0, 1, 1)).local == 2


def test_bytes_of_the_ways() -> None:
    assert bytes_sent("gather", 1, 1, 100, 4) == 0
    assert bytes_sent("gather", 4, 4, 100, 4) == 3 * 400
    assert bytes_sent("scatter", 4, 4, 100, 4) == 2 * 3 * 100
    assert bytes_sent("scatter", 4, 4, 101, 4) == 2 * 3 * 26 * 4
    assert bytes_sent("hierarchical", 8, 4, 100, 4) == 2 * 3 * 100 + 1 * 100


def test_reading_the_topology(monkeypatch: pytest.MonkeyPatch) -> None:
    assert numbered(["b", "b", "a", "a"]) == (0, 0, 1, 1)
    assert inside_link([torch.device("cpu")] * 2) is LOOPBACK
    gpus = [torch.device("cuda", i) for i in range(4)]
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda a, b: True)
    assert inside_link(gpus) is NVLINK
    monkeypatch.setattr(torch.cuda, "can_device_access_peer", lambda a, b: abs(a - b) == 1)
    assert inside_link(gpus) is PCIE


def same(a: Step, b: Step) -> bool:
    def numbers(s: Step) -> list[Sequence[int]]:
        ends = [span.slots[: span.start + span.count].tolist() for span in s.spans]
        flat = [(span.first, span.start, span.count) for span in s.spans]
        columns = [x.tolist() for x in (s.ids, s.positions, s.slots, s.wanted)]
        return [*columns, *flat, *ends, s.copies.numbers().tolist(), [s.plain]]

    return numbers(a) == numbers(b)


def test_steps_cross_the_wire(tiny: Path) -> None:
    """The steps of an engine whose requests come, go, are preempted and take other slots."""
    options: dict[str, Any] = {"kv_tokens": 112, "host_kv_tokens": 112, "block_size": 4, "max_running": 2}
    engine = always(load_engine(tiny, tensor_parallel=1, **options))
    lengths = (20, 33, 9, 50, 3, 27, 41, 12)
    asked = [
        Request(tuple(prompt(n, seed=i)), Sampling(max_tokens=24, ignore_eos=True), priority=i % 3)
        for i, n in enumerate(lengths)
    ]
    writer, reader = Writer(), Reader()
    plain, sizes = steps.read, []

    def read(plan: Any, count: int) -> Any:
        step, names = plain(plan, count)
        wire = writer.write(step, names)
        arrived = reader.read(wire)
        assert same(arrived, step)
        sizes.append((len(wire) - step.copies.numbers().size, sum(span.start + span.count for span in step.spans)))
        step.copies.clear()  # those that arrived are made in their place
        return arrived, names

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lampc.backend.parallel.runner.read", read)
        handles = []
        for request in asked:  # those that come later may be more urgent, and then take the place of one that runs
            handles.append(engine.submit(request))
            engine.step()
        engine.run()
    assert engine.stats().preemptions > 0
    assert engine.stats().swapped_in_tokens > 0
    expected = finish(load_engine(tiny, tensor_parallel=1, kv_tokens=KV), asked)
    assert [h.completion.tokens for h in handles if h.completion] == [c.tokens for c in expected]
    wire, context = map(sum, zip(*sizes, strict=True))
    assert wire < context / 2  # contexts are not sent again and again


def test_a_decoding_request_costs_ten_numbers() -> None:
    slots = np.arange(100, 1100)
    writer = Writer()
    lengths = []
    for position in (900, 901, 902):
        one = np.array([position])
        step = Step(one, one, slots[position : position + 1], np.array([0]), [Span(0, position, 1, slots)])
        lengths.append(len(writer.write(step, [7])))
    assert lengths == [6 + 9 + 901, 6 + 9 + 1, 6 + 9 + 1]


def test_a_step_is_halved_where_its_halves_allow_it() -> None:
    slots = np.arange(100, 140)
    rows = np.arange(20)
    spans = [Span(0, 0, 12, slots[:12]), Span(12, 30, 8, slots)]
    step = Step(rows, rows, slots[20:], np.array([19, 3, 11, 2]), spans)
    assert halved(step, 21, lambda n: n) is None
    parts = halved(step, 20, lambda n: -(-n // 4) * 4)
    assert parts is not None
    (one, other), order = parts
    assert [(s.first, s.start, s.count) for s in one.spans] == [(0, 0, 10)]
    assert [(s.first, s.start, s.count) for s in other.spans] == [(0, 10, 2), (2, 30, 8)]
    assert one.ids.tolist() == [*range(10), 0, 0]
    assert other.slots.tolist() == [*range(130, 140), -1, -1]
    found = [f"one {i}" for i in one.wanted] + [f"other {i}" for i in other.wanted]
    assert [found[i] for i in order] == ["other 9", "one 3", "other 1", "one 2"]
    # The first half must not need what the second one stores.
    for context in (130, 139):
        needing = Step(rows, rows, slots[20:], step.wanted, [Span(0, 0, 12, np.full(12, context)), spans[1]])
        assert halved(needing, 20, lambda n: n) is None


def test_what_is_no_step_is_refused() -> None:
    one = np.array([3])
    step = Step(one, one, one, np.array([0]), [Span(0, 3, 1, np.arange(10))])
    wire = Writer().write(step, [1])
    assert same(Reader().read(wire), step)
    draw = random.Random(0)
    for broken in (wire[:3], wire[:-1], np.concatenate([wire, wire[:1]])):
        with pytest.raises(BackendError, match="step"):
            Reader().read(broken)
    for _ in range(200):
        other = wire.copy()
        other[draw.randrange(5)] = draw.choice([-1, 0, 5, 1 << 30])
        if not np.array_equal(other, wire):
            with pytest.raises(BackendError, match=r"step|span"):
                Reader().read(other)
    goes_on = wire.copy()
    goes_on[5 + 4 + 3 : 5 + 4 + 5] = 5, 2  # after the sixth span of a step before
    with pytest.raises(BackendError, match=r"step|span"):
        Reader().read(goes_on)
