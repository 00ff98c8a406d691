"""Stopping and text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models
from tokenizers import Tokenizer as Fast
from tokenizers.decoders import Decoder

from lampc.backend.output import Output, TextPieces, TextStream, check_ids
from lampc.backend.request import Sampling
from lampc.backend.tokenizer import ByteTokenizer, Tokenizer

TOKENIZER = ByteTokenizer()
END = 259


def feed(text: str, sampling: Sampling, room: int = 1000) -> Output:
    output = Output(sampling, TOKENIZER, room)
    for token in TOKENIZER.encode(text):
        if output.done:
            break
        output.push(token)
    return output


def test_stop_string_across_tokens() -> None:
    output = feed("hello STOP there", Sampling(stop=("STOP", "zzz")))
    assert output.result() == (tuple(b"hello "), "hello ")
    assert output.reason == "STOP"


def test_the_earliest_stop_wins_and_then_the_longest() -> None:
    assert feed("abc", Sampling(stop=("bc", "abc"))).result()[1] == ""
    assert feed("xab", Sampling(stop=("b", "ab"))).reason == "ab"


def test_stop_ids_and_end_of_sequence() -> None:
    output = feed("ab<|end|>c", Sampling())
    assert output.result() == ((97, 98), "ab")
    assert output.reason == END
    assert feed("abc", Sampling(stop_ids=(98,))).reason == 98
    assert feed("ab<|end|>c", Sampling(ignore_eos=True)).tokens == [97, 98, END, 99]


def test_min_tokens_holds_everything_back() -> None:
    output = Output(Sampling(min_tokens=2, stop=("a",)), TOKENIZER, 100)
    assert END in output.banned
    output.push(97)
    assert not output.done
    output.push(98)
    assert not output.banned
    assert not output.done
    output.push(97)
    assert output.result() == ((97, 98), "ab") or output.done


def test_length_and_room() -> None:
    assert feed("abcdef", Sampling(max_tokens=3)).tokens == [97, 98, 99]
    output = feed("abcdef", Sampling(), room=2)
    assert output.done
    assert not output.stopped


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_stream_spells_the_text(text: str) -> None:
    stream = TextStream(TOKENIZER)
    for token in TOKENIZER.encode(text):
        stream.push(token)
    ids = TOKENIZER.encode(text)
    whole = TOKENIZER.decode(ids)
    assert whole.startswith(stream.text)
    assert stream.text == whole or whole.endswith("�")


@given(
    text=st.text("abcé", max_size=20),
    stop=st.lists(st.text("abcé", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_stop_strings_like_a_search_in_the_whole_text(text: str, stop: list[str]) -> None:
    output = feed(text, Sampling(stop=tuple(stop), max_tokens=100))
    ends = [(text.find(s) + len(s), text.find(s)) for s in stop if s in text]
    if ends:
        tokens, found = output.result()
        first_end = min(ends)[0]
        assert text.startswith(found)
        assert any(text[len(found) : first_end].endswith(s) for s in stop)
        assert found.startswith(TOKENIZER.decode(tokens)) or not tokens
    else:
        assert not output.done
        assert output.result()[1] == text


def test_a_stop_string_before_min_tokens_never_counts() -> None:
    """Not even later, when another stop string is long enough to look back at it."""
    output = feed("ab and more", Sampling(stop=("ab", "a long one"), min_tokens=3))
    assert output.result()[1] == "ab and more"
    assert feed("xxab", Sampling(stop=("ab",), min_tokens=3)).result()[1] == "xx"


@given(
    text=st.text("abcé中", max_size=20),
    stop=st.lists(st.text("abcé", min_size=1, max_size=3), max_size=3),
    limit=st.integers(1, 40),
    min_tokens=st.integers(0, 6),
    garbage=st.lists(st.integers(128, 255), max_size=4),
)
def test_pieces_spell_the_completion_and_take_nothing_back(
    text: str, stop: list[str], limit: int, min_tokens: int, garbage: list[int]
) -> None:
    sampling = Sampling(stop=tuple(stop), max_tokens=limit, min_tokens=min(limit, min_tokens))
    output, pieces = Output(sampling, TOKENIZER, 1000), TextPieces(sampling, TOKENIZER)
    shown = ""
    for token in [*TOKENIZER.encode(text), *garbage]:
        if output.done:
            break
        output.push(token)
        piece = pieces.push(token)
        assert "\ufffd" not in piece or garbage
        shown += piece
    whole = output.result()[1]
    assert whole.startswith(shown)
    assert shown + pieces.end(whole) == whole


class Words(ByteTokenizer):
    """Every id is a word of several characters."""

    WORDS = ("STOP", "xSTOPy", "ST", "OP", " a", "PS", "abcab", "\n")

    def decode(self, ids: list[int] | tuple[int, ...], skip_special: bool = True) -> str:
        return "".join(self.WORDS[i] for i in ids)


@given(
    tokens=st.lists(st.integers(0, 7), max_size=12),
    stop=st.lists(st.sampled_from(["STOP", "OP", "P", "S", "ab", "bc", "\n", "PSTO"]), max_size=3),
    min_tokens=st.integers(0, 6),
)
def test_pieces_of_tokens_with_many_characters(tokens: list[int], stop: list[str], min_tokens: int) -> None:
    sampling = Sampling(stop=tuple(stop), min_tokens=min_tokens)
    output, pieces = Output(sampling, Words(), 1000), TextPieces(sampling, Words())
    shown = ""
    for token in tokens:
        if output.done:
            break
        output.push(token)
        shown += pieces.push(token)
    whole = output.result()[1]
    assert whole.startswith(shown)
    assert shown + pieces.end(whole) == whole


def test_pieces_wait_for_what_may_be_a_stop_string_and_no_longer() -> None:
    pieces = TextPieces(Sampling(stop=("STOP",)), TOKENIZER)
    assert [pieces.push(t) for t in b"a STORY"] == ["a", " ", "", "", "", "STOR", "Y"]
    pieces = TextPieces(Sampling(), TOKENIZER)
    assert [pieces.push(t) for t in "é!".encode()] == ["", "é", "!"]


def test_endless_garbage_comes_out_at_last() -> None:
    stream = TextStream(TOKENIZER)
    for _ in range(100):
        stream.push(0xFF)
    assert len(stream.text) >= 64


def spaced(decoder: Decoder) -> Tokenizer:
    """Words, some of which begin with a space; one character of two bytes; two tokens without text."""
    words = ["<s>", "</s>", "▁", "▁hello", "▁x", "hello", "ing", ".", "▁▁", "<0xC3>", "<0xA9>"]
    fast = Fast(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    fast.decoder = decoder
    fast.add_special_tokens([AddedToken("<s>", special=True), AddedToken("</s>", special=True)])
    return Tokenizer(fast.to_str(), {}, None, frozenset())


LIKE_LLAMA = [
    *(decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)),
]
SPACED = {
    "strip": spaced(decoders.Sequence(LIKE_LLAMA)),
    **{scheme: spaced(decoders.Metaspace(prepend_scheme=scheme)) for scheme in ("first", "always", "never")},
}


@pytest.mark.parametrize("kind", SPACED)
@given(st.lists(st.integers(0, 9), max_size=12))
def test_spaces_stay_where_tokens_without_text_stand_between(kind: str, drawn: list[int]) -> None:
    tokenizer = SPACED[kind]
    ids = [i for one in drawn for i in ((9, 10) if one == 9 else (one,))]
    stream = TextStream(tokenizer)
    for token in ids:
        stream.push(token)
    assert stream.text == tokenizer.decode(ids)


def test_check_ids() -> None:
    check_ids([0, 5], 6, "prompt")
    check_ids((np.int64(5), True), 6, "prompt")
    with pytest.raises(ValueError, match=r"prompt\[1\] is 6"):
        check_ids([0, 6], 6, "prompt")
