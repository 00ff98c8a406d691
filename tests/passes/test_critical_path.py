"""How many calls follow one another from each call on."""

from __future__ import annotations

from lampc.frontend.lmp import compile_lmp
from lampc.ir.prog import Func, Predict
from lampc.passes.schedule import calls_left

SIGNATURE = 'signature S(text: str) -> (word: str, sure: bool) { """Say it.""" }\n'


def depths(body: str) -> dict[str, int]:
    uses = "".join(f"  use {name} = Predict(S);\n" for name in "abcde")
    unit = compile_lmp(f"{SIGNATURE}module Main(text: str) -> (word: str) {{\n{uses}{body}\n}}", "x.lmp")
    found: dict[str, int] = {}
    for func in unit.module.body.ops:
        if isinstance(func, Func):
            for op, depth in calls_left(func).items():
                assert isinstance(op, Predict)
                found[op.predictor.name.rpartition(".")[2]] = depth
    return found


def test_the_longest_path_counts() -> None:
    body = """let a1 = a(text: text); let b1 = b(text: text); let c1 = c(text: a1.word);
    let d1 = d(text: c1.word + b1.word); return (word: d1.word);"""
    assert depths(body) == {"a": 3, "c": 2, "b": 2, "d": 1}


def test_of_branches_the_longer_arm_is_expected() -> None:
    body = """let a1 = a(text: text);
    let w = if a1.sure { let b1 = b(text: text); let c1 = c(text: b1.word); yield c1.word; } else {
      let d1 = d(text: text); yield d1.word; };
    let e1 = e(text: w); return (word: e1.word);"""
    assert depths(body) == {"a": 4, "b": 3, "c": 2, "d": 2, "e": 1}


def test_one_more_iteration_of_a_loop_is_expected() -> None:
    body = """let a1 = a(text: text);
    loop (w: a1.word) max 5 { let b1 = b(text: w); let c1 = c(text: b1.word); next (w: c1.word) until c1.sure; }
    let e1 = e(text: w); return (word: e1.word);"""
    assert depths(body) == {"a": 4, "b": 5, "c": 4, "e": 1}


def test_items_of_a_map_run_side_by_side() -> None:
    body = """let words = map t in [text, "x"] { let b1 = b(text: t); yield b1.word; };
    let c1 = c(text: words[0]); return (word: c1.word);"""
    assert depths(body) == {"b": 2, "c": 1}
