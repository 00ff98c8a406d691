"""The tokenizer: one form per word, cheap boilerplate, compositional at added tokens."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from tokenizers import Tokenizer

FOLDER = Path(__file__).resolve().parents[2] / "runtime" / "firefly"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    result: list[int] = tokenizer.encode(text).ids
    return result


def test_shipped_tokenizer_is_what_the_tools_build(tokenizer: Tokenizer) -> None:
    from firefly.tokenizer import build_tokenizer

    assert build_tokenizer().to_str() == tokenizer.to_str()


def test_a_word_has_one_form(tokenizer: Tokenizer) -> None:
    (cat,) = ids(tokenizer, "cat")
    for text in ("text: cat", "a\ncat", "a\n- cat", "[[ ## cat ## ]]\n", "`cat`", "x -> cat", "<|user|>cat", '["cat"]'):
        assert cat in ids(tokenizer, text), text


def test_compositional_at_added_tokens(tokenizer: Tokenizer) -> None:
    rng = Random(3)
    pieces = [
        "text: cat dog",
        "answer: saw",
        "",
        "items:\n- a\n- b",
        "x 12 345",
        "[[ ## text ## ]]\nred",
        "blorf!",
        "é ü",
        " \n",
    ]
    for token in ("<|end|>", "<|user|>", "<|assistant|>"):
        middle = ids(tokenizer, token)
        assert len(middle) == 1
        for _ in range(50):
            a, b = rng.choice(pieces), rng.choice(pieces)
            assert ids(tokenizer, a + token + b) == ids(tokenizer, a) + middle + ids(tokenizer, b)


def test_values_survive_a_round_trip(tokenizer: Tokenizer) -> None:
    for text in (
        "answer: saw",
        "items:\n- cat\n- dog",
        "[[ ## answer ## ]]\nsaw\n\n[[ ## completed ## ]]",
        "n: 12345",
        "word: blorf",
        "keep: true",
        "naïve: déjà",
    ):
        assert tokenizer.decode(ids(tokenizer, text)).strip() == text


def test_chat_marker_prompt_is_cheap(tokenizer: Tokenizer) -> None:
    from firefly.episodes import text_of
    from firefly.prompts import Example, Field, Signature, chat

    signature = Signature((Field("text"),), (Field("answer"),))
    demos = [Example(("cat dog red saw",), ("saw",))] * 4
    text = text_of(chat(signature, demos, demos[0])[:-1])
    assert text.startswith("<|system|>Your input fields are:\n1. `text` (str):\nYour output fields are:\n1. `answer`")
    assert len(ids(tokenizer, text)) < 130
