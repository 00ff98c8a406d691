"""Tables: typed rows, splits, and an exact error for everything that can be wrong with a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lampc.ir import ANY, BOOL, FLOAT, INT, STR, Choice, Field, ListOf, Maybe, Module, Record
from lampc.ir.loc import Span
from lampc.ir.prog import DefRetriever
from lampc.ir.unit import Dataset
from lampc.runtime.data import DataError, interface, load_dataset, table_for
from lampc.runtime.retrieval.build import build_retriever
from lampc.runtime.retrieval.protocol import RetrieverError
from tests.runtime.programs import module

GOLDEN = Path(__file__).parent / "golden" / "data_errors.txt"
TONE = Choice(("good", "bad"))
COLUMNS = (
    Field("text", STR), Field("n", INT), Field("x", FLOAT), Field("ok", BOOL), Field("tone", TONE),
    Field("tags", ListOf(STR)), Field("note", Maybe(STR)), Field("more", Maybe(Record((("a", INT),)))),
)  # fmt: skip


def dataset(path: str, **more: Any) -> Dataset:
    options: dict[str, Any] = {"columns": (Field("text", STR), Field("label", STR)), "kind": Path(path).suffix[1:]}
    return Dataset("rows", path=path, **{**options, **more})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- values ---------------------------------------------------------------------------------------------


def test_csv_cells_are_read_by_the_type_of_their_column(here: Path) -> None:
    (here / "t.csv").write_text(
        "text,n,x,ok,tone,tags,note,more\n"
        '"a, ""b""\nc",3,2.5,true,good,"[""p"", ""q""]",,"{""a"": 1}"\n'
        " 07 ,-4,3,no,BAD,[],hm,\n",
        encoding="utf-8",
    )
    first, second = load_dataset(dataset("t.csv", columns=COLUMNS), inputs=["text"])["all"]
    assert first.inputs == {"text": 'a, "b"\nc'}
    assert first.labels == {
        "n": 3, "x": 2.5, "ok": True, "tone": "good", "tags": ["p", "q"], "note": None, "more": {"a": 1},
    }  # fmt: skip
    assert second.inputs == {"text": " 07 "}
    assert second.labels == {
        "n": -4, "x": 3.0, "ok": False, "tone": "bad", "tags": [], "note": "hm", "more": None,
    }  # fmt: skip
    assert [(r.id, r.line) for r in (first, second)] == [("1", 2), ("2", 4)]


def test_jsonl_values_are_taken_as_they_are_and_checked(here: Path) -> None:
    (here / "t.jsonl").write_text(
        '{"text": "a\u2028b", "n": 1, "x": 2, "ok": true, "tone": "bad", "tags": ["p"], "extra": 0}\n\n'
        '{"text": "c", "n": 2, "x": 2.5, "ok": false, "tone": "good", "tags": [], "note": "hm", "more": {"a": 1}}\n'
    )
    first, second = load_dataset(dataset("t.jsonl", columns=COLUMNS), inputs=["text", "n"])["all"]
    assert first.inputs == {"text": "a\u2028b", "n": 1}
    assert (first.labels["x"], first.labels["note"], first.labels["more"]) == (2, None, None)
    assert second.labels["more"] == {"a": 1}
    assert (first.line, second.line) == (1, 3)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(here: Path) -> None:
    (here / "t.csv").write_bytes("\ufefftext,label\r\nä,ö\r\n".encode())
    (row,) = load_dataset(dataset("t.csv"))["all"]
    assert (row.inputs, row.labels) == ({"text": "ä"}, {"label": "ö"})


# -- splits ---------------------------------------------------------------------------------------------


def test_a_split_column_says_which_rows_are_whose(here: Path) -> None:
    (here / "t.csv").write_text("split,text,label\ntrain,a,1\ndev,b,2\ntrain,c,3\n")
    splits = load_dataset(dataset("t.csv", split_column="split"), need=["train", "dev"])
    assert {n: [r.inputs["text"] for r in rows] for n, rows in splits.items()} == {"train": ["a", "c"], "dev": ["b"]}
    assert "split" not in splits["train"][0].labels


def test_sizes_are_drawn_with_the_seed_and_ids_stay(here: Path) -> None:
    (here / "t.csv").write_text("text,label\n" + "".join(f"t{i},l{i}\n" for i in range(1, 21)))
    sizes = (("train", 8), ("dev", 6), ("test", 4))
    splits = load_dataset(dataset("t.csv", sizes=sizes, seed=3))
    assert {n: len(r) for n, r in splits.items()} == dict(sizes)
    rows = [r for part in splits.values() for r in part]
    assert len({r.id for r in rows}) == 18
    assert all(r.inputs["text"] == f"t{r.id}" for r in rows)
    assert load_dataset(dataset("t.csv", sizes=sizes, seed=3)) == splits
    assert load_dataset(dataset("t.csv", sizes=sizes, seed=4)) != splits


# -- the user's own table -------------------------------------------------------------------------------


def program_of(param: str, returns: str) -> Module:
    """A program of one parameter that gives it back as `label`."""
    name = param.partition(":")[0]
    body = f'%r = prog.pack({name}) {{names = ["label"]}} : ({returns}) prog.return(%r) : ()'
    return module(body, param, returns)


def test_a_table_of_ones_own_is_typed_by_the_program(here: Path) -> None:
    program = module(
        '%r = prog.pack(%n) {names = ["label"]} : ({label: int}) prog.return(%r) : ()', "%n: int", "{label: int}"
    )
    assert interface(program, "main") == (Record((("n", INT),)), Record((("label", INT),)))
    (here / "own.csv").write_text("n,label,who\n" + "".join(f"{i},{-i},w\n" for i in range(8)))
    data = table_for(here / "own.csv", program, "main")
    assert data.columns == (Field("n", INT), Field("label", INT), Field("who", STR))
    assert data.sizes == (("train", 4), ("dev", 2), ("test", 2))
    splits = load_dataset(data, inputs=["n"])
    assert all(r.labels == {"label": -r.inputs["n"], "who": "w"} for rows in splits.values() for r in rows)
    (here / "own.jsonl").write_text('{"n": 1, "label": 2, "split": "dev", "who": [1]}\n')
    data = table_for(here / "own.jsonl", program, "main")
    assert data.split_column == "split"
    assert data.columns[-1] == Field("who", ANY)
    assert load_dataset(data, inputs=["n"])["dev"][0].labels == {"label": 2, "who": [1]}


def test_errors_name_a_table_by_where_it_lies_from_here(here: Path) -> None:
    (here / "own.csv").write_text("n,label\n1,2\nx,3\n")
    data = table_for(here / "own.csv", program_of("%n: int", "{label: int}"), "main")
    with pytest.raises(DataError) as e:
        load_dataset(data, inputs=["n"])
    (found,) = e.value.diagnostics
    assert found.message == "own.csv:3: column `n`: 'x' is not a number"
    assert found.primary is not None
    assert found.primary.span.path == "own.csv"
    (here / "deep").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here / "deep")
        with pytest.raises(DataError, match=re.escape(f"{here / 'own.csv'}:3: column")):
            load_dataset(data, inputs=["n"])


def test_a_table_of_ones_own_is_split_like_the_declared_one(here: Path) -> None:
    program = program_of("%t: str", "{label: str}")
    like = dataset("other.csv", columns=(Field("t", STR), Field("gold", INT)), sizes=(("train", 3), ("dev", 2)), seed=9)
    (here / "own.csv").write_text("t,gold\n" + "".join(f"t{i},{i}\n" for i in range(6)))
    data = table_for(here / "own.csv", program, "main", like=like)
    assert (data.sizes, data.seed, data.name) == (like.sizes, 9, "rows")
    assert data.columns[1] == Field("gold", INT)
    (here / "own.csv").write_text("t,gold\na,1\nb,2\nc,3\nd,4\n")
    assert table_for(here / "own.csv", program, "main", like=like).sizes == (("train", 2), ("dev", 1), ("test", 1))


# -- errors ---------------------------------------------------------------------------------------------

INTS = (Field("text", STR), Field("n", INT))
BAD: dict[str, tuple[str, bytes | None, dict[str, Any]]] = {
    "missing file": ("rowz.csv", None, {"loc": Span("qa.lmp", 3, 1, 3, 8)}),
    "a folder": ("folder.csv", None, {}),
    "empty file": ("t.csv", b"", {}),
    "header only": ("t.csv", b"text,label\n", {}),
    "missing column": ("t.csv", b"text,lable\na,b\n", {}),
    "semicolons": ("t.csv", b"text;label\na;b\n", {}),
    "semicolons, commas within": ("t.csv", b"text;label\na, b;c\n", {}),
    "semicolons, quoted": ("t.csv", b'"text";"label"\n"a";"b"\n', {}),
    "tabs": ("t.csv", b"text\tlabel\r\na\tb\r\n", {}),
    "one column with a semicolon": ("t.csv", b"a;b\nc\n", {}),
    "missing split column": ("t.csv", b"text,label\na,b\n", {"split_column": "part"}),
    "twice in the header": ("t.csv", b"text,label,text\na,b,c\n", {}),
    "too many cells": ("t.csv", b"text,label\na,b\nc,d,e\n", {}),
    "open quote": ("t.csv", b'text,label\na,b\n"c,d\n', {}),
    "not UTF-8": ("t.csv", b"text,label\na,b\nc,\xe9\n", {}),
    "not a number": ("t.csv", b"text,n\na,1\nb,two\n", {"columns": INTS}),
    "not whole": ("t.csv", b"text,n\na,1.5\n", {"columns": INTS}),
    "not an option": ("t.csv", b"text,tone\na,good\nb,fine\n", {"columns": (Field("text", STR), Field("tone", TONE))}),
    "not true or false": ("t.csv", b"text,ok\na,maybe\n", {"columns": (Field("text", STR), Field("ok", BOOL))}),
    "bad list": ("t.csv", b"text,tags\na,p;q\n", {"columns": (Field("text", STR), Field("tags", ListOf(STR)))}),
    "bad JSON": ("t.jsonl", b'{"text": "a", "label": "b"}\n{"text": "a", label: 2}\n', {}),
    "no object": ("t.jsonl", b'["a", "b"]\n', {}),
    "key twice": ("t.jsonl", b'{"text": "a", "label": "b"}\n{"text": "a", "text": "b", "label": "c"}\n', {}),
    "missing field": ("t.jsonl", b'{"text": "a", "label": "b"}\n{"text": "c"}\n', {}),
    "wrong type": ("t.jsonl", b'{"text": "a", "n": "1"}\n', {"columns": INTS}),
    "too few rows": ("t.csv", b"text,label\na,b\n", {"sizes": (("train", 2), ("dev", 1))}),
    "unknown kind": ("t.xlsx", b"PK", {}),
}


def test_every_wrong_file_gets_its_exact_error(here: Path, golden: Callable[[Path, str], None]) -> None:
    (here / "rows.csv").write_text("text,label\na,b\n")
    (here / "qa.lmp").write_text("a\nb\ndataset rows\n")
    (here / "folder.csv").mkdir()
    shown = []
    for name, (path, content, more) in BAD.items():
        if content is not None:
            (here / path).write_bytes(content)
        with pytest.raises(DataError) as caught:
            load_dataset(dataset(path, **more))
        shown.append(f"== {name}\n{caught.value}\n")
    golden(GOLDEN, "\n".join(shown))


def test_an_empty_split_is_an_error_when_it_is_needed(here: Path) -> None:
    (here / "t.csv").write_text("split,text,label\ntrain,a,1\ntest,b,2\n")
    with pytest.raises(DataError, match=r"t.csv: split `dev` has no rows; splits: `train` \(1\), `test` \(1\)"):
        load_dataset(dataset("t.csv", split_column="split"), need=["train", "dev"])


def test_a_program_says_which_inputs_it_misses(here: Path) -> None:
    program = program_of("%t: str", "{label: str}")
    (here / "own.csv").write_text("tt,label\na,b\n")
    with pytest.raises(DataError, match=r"own.csv:1: the program needs `t`, but there is no such column"):
        table_for(here / "own.csv", program, "main")
    (here / "own.csv").write_text("t\na\n")
    with pytest.raises(DataError, match="there is no label column; the program gives `label`"):
        table_for(here / "own.csv", program, "main")
    (here / "t.csv").write_text("text,label\na,b\n")
    with pytest.raises(DataError, match="the program needs `question`, the dataset declares `text`, `label`"):
        load_dataset(dataset("t.csv"), inputs=["question"])


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "Exceeds the limit"),
        ("NaN", "NaN is no JSON value"),
        ("-1e999", "-1e999 is too large a number"),
        ('"\\ud800"', "half of a surrogate pair"),
    ],
    ids=["deep", "digits", "nan", "large", "surrogate"],
)
def test_json_beyond_what_can_be_kept_names_its_line(here: Path, value: str, why: str) -> None:
    (here / "t.jsonl").write_text(f'{{"text": "a", "label": "b"}}\n{{"text": "a", "label": {value}}}\n')
    with pytest.raises(DataError, match=rf"t.jsonl:2: not JSON: {why}"):
        load_dataset(dataset("t.jsonl"))


def test_a_cell_may_hold_a_document(here: Path) -> None:
    (here / "t.csv").write_text(f'text,label\n"{"word " * 100_000}",b\n')
    assert len(load_dataset(dataset("t.csv"))["all"][0].inputs["text"]) == 500_000


def test_a_key_that_stands_twice_within_a_value_is_an_error_too(here: Path) -> None:
    (here / "t.jsonl").write_text('{"text": "a", "label": {"n": 1, "n": 2}}\n')
    with pytest.raises(DataError, match=r"L0802.*t.jsonl:1: key `n` stands twice"):
        load_dataset(dataset("t.jsonl", columns=(Field("text", STR), Field("label", ANY))))
    (here / "c.jsonl").write_text('{"text": "a"}\n{"text": "b", "text": "c"}\n')
    with pytest.raises(RetrieverError, match=r"c.jsonl:2: key `text` stands twice"):
        build_retriever(DefRetriever.make(symbol="r", kind="bm25", source="c.jsonl", field="text"), here)
