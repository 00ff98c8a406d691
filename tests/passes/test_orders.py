"""Orders of blocks: priced exactly; of few the best of all; shared documents in front of all who read them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lampc.frontend.lmp import compile_lmp
from lampc.ir import CompileError
from lampc.passes import Pipeline, RunOptions
from lampc.passes.schedule.block_tree import Blocks, tree_size
from lampc.passes.schedule.orders import EXACT, Sample, best_orders, row_orders, solve

TRIAL = RunOptions(crash_dir=None, on_trial=True)


def naive_size(prompts: Iterable[Sequence[int]]) -> int:
    """Nodes of a trie that is built token by token."""
    return len({tuple(p[:i]) for p in prompts for i in range(1, len(p) + 1)})


def texts(blocks: Blocks, prompts: Iterable[Sequence[int]]) -> list[list[int]]:
    return [[t for n in p for t in blocks.tokens[n]] for p in prompts]


rows = st.lists(st.tuples(*[st.integers(0, 2)] * 4), min_size=1, max_size=8)


def table(found: Sequence[Sequence[int]], blocks: Blocks, lengths: Sequence[int], names: str = "abcdefgh") -> Sample:
    """Columns whose values begin differently; value v of column c has `lengths[c]` tokens."""
    columns = {
        names[c]: [blocks.number([100 * c + row[c]] * lengths[c]) for row in found] for c in range(len(found[0]))
    }
    return Sample("p", tuple(columns), columns)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_a_tree_of_blocks_has_the_size_of_the_tree_of_their_tokens(found: list[tuple[int, ...]]) -> None:
    blocks = Blocks()
    sample = table(found, blocks, (3, 1, 4, 2))
    for order in itertools.permutations("abcd"):
        assert blocks.size(sample.prompts(order)) == naive_size(texts(blocks, sample.prompts(order)))
    tokens = texts(blocks, sample.prompts("abcd"))  # type: ignore[arg-type]
    assert tree_size(tokens) == naive_size(tokens)


@settings(max_examples=40, deadline=None)
@given(rows, st.booleans())
def test_of_few_blocks_the_best_order_is_found(found: list[tuple[int, ...]], bound: bool) -> None:
    blocks = Blocks()
    made = table(found, blocks, (3, 1, 4, 2))
    sample = Sample("p", made.own, made.columns, True, frozenset("b" if bound else ""))
    allowed = [o for o in itertools.permutations("abcd") if not bound or o[-1] != "b"]
    sizes = {o: naive_size(texts(blocks, sample.prompts(o))) for o in allowed}
    ranked = best_orders(sample, blocks)
    assert ranked[0][0] == min(sizes.values())
    assert all(sizes[o] == size for size, o in ranked)
    ties = [o for o, size in sizes.items() if size == ranked[0][0]]
    assert sample.moved(ranked[0][1]) == min(map(sample.moved, ties)), "of equals the nearest to the author's"
    assert {o[0] for _, o in ranked} == set("abcd")


def wide(seed: int) -> tuple[Sample, Blocks]:
    """A table in which a product decides maker and country, and every review is another."""
    rng, blocks = random.Random(seed), Blocks()
    decided = [(rng.randrange(4), rng.randrange(2)) for _ in range(6)]
    found = []
    for i in range(24):
        product = rng.randrange(6)
        maker, country = decided[product]
        found.append((i, rng.randrange(3), product, maker, country, rng.randrange(2), rng.randrange(12)))
    return table(found, blocks, (40, 3, 30, 4, 2, 1, 12)), blocks


@pytest.mark.parametrize("seed", range(3))
def test_wide_tables_are_ordered_nearly_as_well_as_by_trying_all(seed: int) -> None:
    sample, blocks = wide(seed)
    assert len(sample.own) > EXACT
    size, order = best_orders(sample, blocks)[0]
    assert size == naive_size(texts(blocks, sample.prompts(order)))
    best = min(blocks.size(sample.prompts(o)) for o in itertools.permutations(sample.own))
    assert best <= size <= 1.02 * best
    assert size < 0.7 * blocks.size(sample.prompts(sample.own))


def test_each_row_can_have_an_order_of_its_own() -> None:
    """The example of GGR's paper: one column repeats in one half of the rows, the other in the other half."""
    blocks = Blocks()
    columns = {
        "a": [blocks.number([1] * 9)] * 4 + [blocks.number([10 + i] * 9) for i in range(4)],
        "b": [blocks.number([20 + i] * 9) for i in range(4)] + [blocks.number([2] * 9)] * 4,
    }
    orders = row_orders(columns, blocks)
    assert orders == [("a", "b")] * 4 + [("b", "a")] * 4
    apart = blocks.size([columns[n][i] for n in order] for i, order in enumerate(orders))
    assert apart == 9 * 10
    assert best_orders(Sample("p", ("a", "b"), columns), blocks)[0][0] == 9 * 13


def test_a_document_that_two_predictors_read_stands_in_front_of_both() -> None:
    blocks = Blocks()
    documents = [blocks.number([100 + i] * 50) for i in range(3)]
    asked = [blocks.number([200 + i] * 5) for i in range(3)]
    one = Sample("one", ("i", "doc"), {"i": [blocks.number([1] * 20)] * 3, "doc": documents})
    two = Sample("two", ("j", "ask", "text"), {"j": [blocks.number([2] * 20)] * 3, "ask": asked, "text": documents})
    alone = {s.name: best_orders(s, blocks)[0][1] for s in (one, two)}
    assert alone == {"one": ("i", "doc"), "two": ("j", "ask", "text")}
    found = solve([one, two], blocks)
    assert (found["one"][0], found["two"][0]) == ("doc", "text")
    sizes = [blocks.size([*one.prompts(o["one"]), *two.prompts(o["two"])]) for o in (alone, found)]
    assert sizes == [20 + 3 * 50 + 20 + 3 * 55, 3 * 50 + 3 * 20 + 3 * 25]

    held = Sample("two", two.own, two.columns, movable=False)
    assert solve([one, held], blocks) == {"one": one.own, "two": two.own}


# -- the pass -----------------------------------------------------------------------------------------------

SOURCE = """signature Answer(context: str, question: str) -> (answer: str) { "Answer it." }
module Main(context: str, question: str) -> (answer: str) {
  use ask = Predict(Answer) @frozen(demos);
  use held = Predict(Answer) @frozen(layout);
  let a = ask(context: context, question: question);
  let out = held(context: a.answer, question: question);
  return (answer: out.answer);
}
"""


@pytest.mark.parametrize(
    ("layouts", "message"),
    [
        ("[[asks,compact]]", "predictor `asks` is not defined"),
        ('[[held,"compact[question,instruction,demos,context]"]]', "the layout of `held` is frozen"),
        ("[[ask,chat]]", "`chat` is another layout than `compact`: this pass moves blocks only"),
        ('[[ask,"compact[question,context]"]]', "the order leaves out `instruction`, `demos`"),
        ('[[ask,"compact[question,"]]', "is no layout"),
    ],
)
def test_a_layout_that_cannot_be_taken_says_why(layouts: str, message: str) -> None:
    module = compile_lmp(SOURCE).module
    before = str(module)
    with pytest.raises(CompileError, match=message):
        Pipeline.parse(f"layout{{layouts={layouts}}}").run(module, options=TRIAL)
    assert str(module) == before
