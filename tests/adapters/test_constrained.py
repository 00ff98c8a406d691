"""The grammars that engines of ours keep: whatever a model does, what it wrote can be read."""

from __future__ import annotations

import pytest

from lampc.backend.request import Request, Sampling
from lampc.ir import BOOL, INT, STR, Choice, Field, ListOf, Obj, Signature
from lampc.ir.adapters import ParseFailure, adapter
from lampc.ir.adapters.constrained import constrained
from lampc.ir.adapters.grammar import grammar
from tests.adapters.cases import make_case
from tests.adapters.test_grammar import accepts
from tests.adapters.test_parsing import our_signature
from tests.runtime.wild import wild_engine

LAYOUTS = ("chat", "json", "xml", "baml", "compact")
FEW, MANY = 12, 1500


def check(layout: str, seeds: range) -> tuple[int, int]:
    """How many answers were whole, and how many there were."""
    whole = 0
    for seed in seeds:
        signature = our_signature(make_case(seed))
        text = constrained(signature, layout)
        assert text is not None
        if layout == "xml" and "(?s:.*)" in text:
            continue  # values of no fixed form: their elements are not bounded
        names = [f.name for f in (*signature.outputs, *signature.inputs)]
        engine = wild_engine(names, seed)
        handles = [engine.submit(Request((97,), Sampling(max_tokens=400), grammar=text)) for _ in range(3)]
        engine.run()
        engine.check()
        for handle in handles:
            done = handle.completion
            assert done is not None
            assert done.finish in ("stop", "length"), done.error
            if done.finish == "length":
                continue
            whole += 1
            try:
                adapter(layout).parse(signature, done.text)
            except ParseFailure as e:
                pytest.fail(f"seed {seed}, {layout}: {e}: {done.text!r}\n{text}")
    return whole, 3 * len(seeds)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_an_engine_may_write_can_be_read(layout: str) -> None:
    whole, count = check(layout, range(FEW))
    assert whole > count * (0.15 if layout == "xml" else 0.7)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_an_engine_may_write_can_be_read_over_many_signatures(layout: str) -> None:
    whole, count = check(layout, range(FEW, FEW + MANY))
    print(f"{layout}: {whole} of {count} answers were whole, all of them could be read")


SIGNATURE = Signature(
    (Field("q", STR),),
    (Field("why", STR), Field("ok", BOOL), Field("n", INT, limits=Obj({"ge": 3})), Field("tags", ListOf(STR))),
)
RIGHT = {
    "chat": '[[ ## why ## ]]\nsince\n\n[[ ## ok ## ]]\nTrue\n\n[[ ## n ## ]]\n3\n\n[[ ## tags ## ]]\n["a", "b"]\n\n'
    "[[ ## completed ## ]]",
    "json": '{\n  "why": "since",\n  "ok": true,\n  "n": 3,\n  "tags": ["a", "b"]\n}',
    "compact": "why: since\nok: true\nn: 3\ntags:\n- a\n- b",
}
WRONG = {
    "chat": [("since", "x\n[[ ## n ## ]]\ny"), ("True", "true"), ("3", "2"), ('["a", "b"]', '["a","b"]')],
    "json": [("true", "True"), ("  ", " "), ('"since"', "since"), ("3", "3.5")],
    "compact": [("since", "x\nn: 1\ny"), ("true", "True"), ("n: 3", "n:3"), ("- a", "a")],
}


def with_leads(layout: str) -> str:
    text = constrained(SIGNATURE, layout)
    assert text is not None
    return text + '\nLEAD: ""\nLINE_LEAD: ""\n'


@pytest.mark.parametrize("layout", ["chat", "json", "compact"])
def test_an_answer_is_written_in_one_way(layout: str) -> None:
    text, right = with_leads(layout), RIGHT[layout]
    assert accepts(text, right)
    wide = grammar(SIGNATURE, layout)
    assert wide is not None
    assert accepts(wide, right)
    read = adapter(layout).parse(SIGNATURE, right)
    assert read == {"why": "since", "ok": True, "n": 3, "tags": ["a", "b"]}
    for part, other in WRONG[layout]:
        assert part in right
        assert not accepts(text, right.replace(part, other, 1)), other


def test_limits_of_texts_are_kept() -> None:
    for least, most in ((1, 3), (None, 2), (3, None), (2, 2)):
        limits = {n: v for n, v in (("min_length", least), ("max_length", most)) if v is not None}
        signature = Signature((), (Field("a", STR, limits=Obj(limits)), Field("b", Choice(("x", "y")))))
        text = constrained(signature, "chat")
        assert text is not None
        for said in ("", " ", "a", "ab", "a b", "a  bc", "abcd"):
            answer = f"[[ ## a ## ]]\n{said}\n\n[[ ## b ## ]]\nx\n\n[[ ## completed ## ]]"
            fits = (least or 0) <= len(said.strip()) <= (most or 9)
            taken = accepts(text + '\nLINE_LEAD: ""\n', answer)
            assert taken <= fits, (said, limits)
            assert taken or not fits or said != said.strip(), (said, limits)


def test_layouts_without_a_form_have_no_grammar() -> None:
    assert constrained(SIGNATURE, "two_step") is None
    assert constrained(Signature((Field("q", STR),), ()), "chat") is None
    with pytest.raises(ValueError, match="no layout"):
        constrained(SIGNATURE, "chats")
