"""Grammars of answers, held against llguidance: what layouts write is accepted, what is accepted can be read."""

from __future__ import annotations

import random

import pytest

from lampc.ir import BOOL, INT, STR, Choice, Field, ListOf, Obj, Signature, freeze
from lampc.ir.adapters import ParseFailure, adapter
from lampc.ir.adapters.dialogue import Dialogue
from lampc.ir.adapters.grammar import Fixed, Gap, answer_schema, grammar, pieces, rest_of
from lampc.ir.content import Demo
from tests.adapters.cases import make_case, value_inside
from tests.adapters.test_parsing import our_signature

llguidance = pytest.importorskip("llguidance")
LAYOUTS = ("chat", "json", "xml", "baml", "compact")
FEW, MANY = 50, 1500


class Matcher:
    """A grammar at work on bytes."""

    def __init__(self, text: str) -> None:
        self.tokens = llguidance.LLTokenizer("byte")
        self.matcher = llguidance.LLMatcher(self.tokens, text, log_level=0)
        assert not self.matcher.is_error(), f"{self.matcher.get_error()}\n{text}"

    def take(self, text: str | bytes) -> bool:
        """Go on with a text; False, and nothing taken, if it cannot stand here."""
        data = text.encode() if isinstance(text, str) else text
        ids = self.tokens.tokenize_bytes(data)
        n = self.matcher.try_consume_tokens(ids)
        if n < len(ids):
            self.matcher.rollback(n)
        return bool(n == len(ids))

    def forced(self) -> bytes:
        return bytes(self.matcher.compute_ff_bytes())

    def complete(self) -> bool:
        return bool(self.matcher.is_accepting())


def accepts(text: str, answer: str) -> bool:
    matcher = Matcher(text)
    return matcher.take(answer) and matcher.complete()


def answer_of(seed: int, layout: str) -> tuple[Signature, str]:
    """A signature, and an answer with right values in the layout's words."""
    from lampc.frontend.python.values.plain import plain

    case = make_case(seed)
    rng = random.Random(seed)
    signature = our_signature(case)
    values = {n: plain(value_inside(rng, a)) for n, a in [*case.inputs_of(), *case.outputs_of()]}
    how = adapter(layout)
    if isinstance(how, Dialogue):
        return signature, how.answer(signature, values, None)
    shown = how.demo(signature, Demo(freeze(values)))
    return signature, shown[-1][1]


def check(seed: int, layout: str) -> None:
    signature, said = answer_of(seed, layout)
    text = grammar(signature, layout)
    assert text is not None
    assert accepts(text, said), f"seed {seed}, {layout}: {said!r} is not in\n{text}"
    at = 0
    for piece in pieces(signature, layout):
        if isinstance(piece, Fixed):
            at = said.find(piece.text, at)
            assert at >= 0, f"seed {seed}, {layout}: {piece} is not in {said!r}"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_layout_writes_is_in_its_grammar(layout: str) -> None:
    for seed in range(FEW):
        check(seed, layout)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_layout_writes_is_in_its_grammar_over_many_signatures(layout: str) -> None:
    for seed in range(FEW, FEW + MANY):
        check(seed, layout)


def drawn(text: str, signature: Signature, layout: str, rng: random.Random) -> str | None:
    """A random answer that the grammar accepts; None if none was found in a while."""
    matcher, out = Matcher(text), b""
    ends = [p.text for p in pieces(signature, layout) if isinstance(p, Fixed)]
    ends += [f"\n</{f.name}>" for f in signature.outputs] + [f"</{f.name}>" for f in signature.outputs]
    words = [
        '"',
        "}",
        "]",
        ", ",
        ": ",
        "\n",
        "7",
        "a",
        "True",
        "yes",
        "é",
        "</item>",
        "x y",
        "null",
        "None",
        "<",
        "&lt;",
    ]
    for _ in range(400):
        if matcher.complete() and rng.random() < 0.5:
            return out.decode()
        sure = matcher.forced()
        pool = [sure] if sure else [t.encode() for t in rng.sample(words, 6) + rng.sample(ends, min(3, len(ends)))]
        pool += [bytes([b]) for b in rng.sample(range(32, 127), 40)]
        for word in pool:
            if word and matcher.take(word):
                out += word
                break
    return out.decode(errors="replace") if matcher.complete() else None


@pytest.mark.parametrize("layout", ["chat", "json", "xml", "baml"])
def test_what_is_in_the_grammar_can_be_read(layout: str) -> None:
    read = 0
    for seed in range(FEW):
        signature = our_signature(make_case(seed))
        text = grammar(signature, layout)
        assert text is not None
        if layout == "xml" and "(?s:.*)" in text:
            continue  # values of no fixed form: their elements are not bounded
        said = drawn(text, signature, layout, random.Random(seed))
        if said is None:
            continue
        read += 1
        try:
            adapter(layout).parse(signature, said)
        except ParseFailure as e:
            pytest.fail(f"seed {seed}: {e}: {said!r}\n{text}")
    assert read > FEW * 0.2


SIGNATURE = Signature(
    (Field("q", STR),), (Field("why", STR), Field("ok", BOOL), Field("n", INT, limits=Obj({"ge": 3})))
)


def test_limits_are_in_the_grammar() -> None:
    text = grammar(SIGNATURE, "chat")
    assert text is not None
    head = "[[ ## why ## ]]\nsince\n\n[[ ## ok ## ]]\nTrue\n\n[[ ## n ## ]]\n"
    assert accepts(text, head + "3\n\n[[ ## completed ## ]]")
    for wrong in ("2", "three", "3.5", ""):
        assert not accepts(text, head + wrong + "\n\n[[ ## completed ## ]]")
    assert answer_schema(SIGNATURE)["properties"]["n"] == {"type": "integer", "minimum": 3}


def test_markers_and_the_rest_of_a_literal_are_certain() -> None:
    signature = Signature((Field("q", STR),), (Field("kind", Choice(("animal", "anthem"))), Field("tags", ListOf(STR))))
    text = grammar(signature, "chat")
    assert text is not None
    matcher = Matcher(text)
    first, gap, second, *_ = pieces(signature, "chat")
    assert isinstance(first, Fixed)
    assert isinstance(second, Fixed)
    assert gap == Gap("kind")
    assert matcher.forced().decode() == first.text + rest_of(("animal", "anthem"), "")
    assert matcher.take(first.text + "ani")
    assert matcher.forced().decode().startswith(rest_of(("animal", "anthem"), "ani") + second.text)


@pytest.mark.parametrize(("written", "rest"), [("", "an"), ("an", ""), ("ani", "mal"), ("animal", ""), ("zebra", "")])
def test_the_rest_of_an_option(written: str, rest: str) -> None:
    assert rest_of(("animal", "anthem"), written) == rest
    assert rest_of(("yes",), "") == "yes"


def test_free_texts_have_no_grammar() -> None:
    assert grammar(SIGNATURE, "two_step") is None
    with pytest.raises(ValueError, match="no layout"):
        grammar(SIGNATURE, "chats")
