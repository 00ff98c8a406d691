"""Retrieval: BM25 against its formula, and corpora whose faults are named by file and line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lampc.ir.prog import DefRetriever
from lampc.runtime.retrieval.bm25 import BM25, K1, B, words
from lampc.runtime.retrieval.build import build_retriever
from lampc.runtime.retrieval.corpus import read_corpus
from lampc.runtime.retrieval.protocol import RetrieverError

PASSAGES = (
    "The river Elbe flows through Dresden.",
    "Dresden lies in Saxony. Dresden is old.",
    "A lamp gives light.",
    "",
    "Saxony is a state; its capital is Dresden, on the Elbe.",
)


def naive_score(passages: list[str], query: str, row: int) -> float:
    """The formula, word by word, with nothing shared or indexed."""
    docs = [words(p) for p in passages]
    mean = sum(map(len, docs)) / len(docs) or 1.0
    total = 0.0
    for word in words(query):
        n = sum(word in doc for doc in docs)
        f = docs[row].count(word)
        idf = math.log(1 + (len(docs) - n + 0.5) / (n + 0.5))
        total += idf * f * (K1 + 1) / (f + K1 * (1 - B + B * len(docs[row]) / mean))
    return total


@given(st.lists(st.text("ab c", max_size=12), min_size=1, max_size=8), st.text("abcd ", max_size=8), st.integers(0, 9))
def test_scores_are_those_of_the_formula(passages: list[str], query: str, k: int) -> None:
    index = BM25(passages)
    scores = index.scores(query)
    for row in range(len(passages)):
        assert scores.get(row, 0.0) == pytest.approx(naive_score(passages, query, row))
    found = index.search(query, k)
    assert len(found) == min(k, len(scores))
    order = sorted(scores, key=lambda row: (-scores[row], row))
    assert found == [passages[row] for row in order[:k]]


def test_the_best_come_first_and_strangers_never() -> None:
    index = BM25(PASSAGES)
    assert index.search("Which state is the CAPITAL of?", 2)[0] == PASSAGES[4]
    assert index.search("elbe", 9) == [PASSAGES[0], PASSAGES[4]]
    assert index.search("nothing known", 3) == []
    assert index.search("", 3) == []
    assert index.search("lamp", 0) == []
    with pytest.raises(ValueError, match="k is -1"):
        index.search("lamp", -1)


def test_equal_scores_keep_the_order_of_the_corpus() -> None:
    passages = [f"lamp {i}" for i in range(20)]
    assert BM25(passages).search("lamp", 5) == passages[:5]


def test_words_are_lower_case_runs_of_letters_and_digits() -> None:
    assert words("Zürich, 8001: don't STOP—É!") == ["zürich", "8001", "don", "t", "stop", "é"]


def test_an_empty_index_finds_nothing() -> None:
    assert BM25([]).search("x", 3) == []
    assert BM25(["", ""]).search("x", 3) == []


# -- corpora ------------------------------------------------------------------------------------------


def test_a_declared_retriever_reads_its_source(tmp_path: Path) -> None:
    (tmp_path / "facts.jsonl").write_text("\n".join(json.dumps({"text": p}) for p in PASSAGES) + "\n\n")
    found = build_retriever(DefRetriever.make(symbol="facts", source="facts.jsonl"), tmp_path)
    assert found.search("light", 3) == [PASSAGES[2]]
    unknown = DefRetriever.make(symbol="facts", source="facts.jsonl", kind="dense")
    with pytest.raises(RetrieverError, match="kind 'dense' is not known; `bm25` is"):
        build_retriever(unknown, tmp_path)


def test_both_forms_of_a_corpus(tmp_path: Path) -> None:
    rows = ["plain", 'a "quoted", one', "two\nlines", "é"]
    (tmp_path / "c.jsonl").write_text("\n".join(json.dumps({"id": 1, "body": r}) for r in rows), "utf-8-sig")
    quoted = "".join(f'1,"{r.replace(chr(34), chr(34) * 2)}"\r\n' for r in rows)
    (tmp_path / "c.CSV").write_text("id,body\r\n" + quoted, "utf-8", newline="")
    assert read_corpus(tmp_path / "c.jsonl", "body") == rows
    assert read_corpus(tmp_path / "c.CSV", "body") == rows


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", None, "a.jsonl: no such file; the source of a retriever is a .jsonl or .csv file"),
        ("a.jsonl", b"", "a.jsonl: no rows"),
        ("a.jsonl", b"\n\n", "a.jsonl: no rows"),
        ("a.csv", b"", "a.csv:1: no column 'text'; there are none"),
        ("a.csv", b"text\n", "a.csv: no rows"),
        ("a.csv", b"id,body\n1,x\n", "a.csv:1: no column 'text'; there are 'id', 'body'"),
        ("a.csv", b"id,text\n1,x\n2\n", "a.csv:3: the row ends before column 'text'"),
        ("a.csv", b'id,text\n1,"x\n', "a.csv:2: the row that begins here cannot be read: unexpected end of data"),
        ("a.csv", b'text\n"1\n2"\n"a"b\n', "a.csv:4: the row that begins here cannot be read"),
        ("a.jsonl", b'{"text": "x"}\n{"text"\n', "a.jsonl:2: not JSON: "),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: expected an object with field 'text'"),
        ("a.jsonl", b'{"text": "x"}\n\n{"t": 1}\n', "a.jsonl:3: no field 'text'; there is 't'"),
        ("a.jsonl", b'{"text": 5}\n', "a.jsonl:1: field 'text' is int, not text"),
        ("a.jsonl", b'{"text": "\xff"}\n', "a.jsonl: not UTF-8 at byte 10"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RetrieverError) as caught:
        read_corpus(tmp_path / name, "text")
    assert str(caught.value).startswith(str(tmp_path))
    assert said in str(caught.value)


def test_a_folder_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(RetrieverError, match="cannot be read"):
        read_corpus(tmp_path, "text")
