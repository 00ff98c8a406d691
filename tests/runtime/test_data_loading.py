"""Loading examples: equal to DSPy's loader on clean files, and better named errors on others."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lampc
from lampc.datasets import DataLoader
from lampc.runtime.loading import LoadingError

ROWS = [
    {"question": "What, now?", "answer": 'a "b"\nc', "n": 1, "x": 0.5, "ok": True},
    {"question": "ü", "answer": "none", "n": -20, "x": 1e-3, "ok": False},
]
LOAD = DataLoader()


def plain(examples: Any) -> list[tuple[dict[str, Any], set[str]]]:
    return [(e.toDict(), e._input_keys) for e in examples]


@pytest.fixture
def theirs() -> Any:
    pytest.importorskip("datasets", reason="DSPy's loader needs the package datasets")
    from dspy.datasets import DataLoader as Theirs

    return Theirs()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def write(kind: str, path: Path) -> Path:
    import pandas

    frame = pandas.DataFrame(ROWS)
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=kind == "jsonl")
    return path


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet"])
@pytest.mark.usefixtures("offline")
def test_files_load_as_dspy_loads_them(kind: str, tmp_path: Path, theirs: Any) -> None:
    path = write(kind, tmp_path / f"rows.{kind}")
    name = f"from_{kind.rstrip('l')}" if kind == "jsonl" else f"from_{kind}"
    for fields in (None, ["answer", "n"]):
        inputs = () if fields else ("question", "n")
        ours = getattr(LOAD, name)(path, fields, inputs)
        assert plain(ours) == plain(getattr(theirs, name)(str(path), fields, inputs))
    assert plain(LOAD.from_pandas(_frame(), input_keys=("question",))) == [(r, {"question"}) for r in ROWS]


def _frame() -> Any:
    import pandas

    return pandas.DataFrame(ROWS)


@pytest.mark.usefixtures("offline")
def test_hugging_face_datasets(tmp_path: Path, theirs: Any) -> None:
    path = str(write("jsonl", tmp_path / "rows.jsonl"))
    files = {"data_files": {"train": path, "test": path}}
    ours = LOAD.from_huggingface("json", input_keys=("question",), **files)
    assert isinstance(ours, dict)
    wanted = theirs.from_huggingface("json", input_keys=("question",), **files)
    assert {k: plain(v) for k, v in ours.items()} == {k: plain(v) for k, v in wanted.items()}
    one = LOAD.from_huggingface("json", data_files=path, split="train", fields=("n",))
    assert [e.toDict() for e in one] == [{"n": 1}, {"n": -20}]  # type: ignore[union-attr]
    both = LOAD.from_huggingface("json", split=["train", "test"], **files)
    assert sorted(both) == ["test", "train"]
    import datasets

    loaded = datasets.Dataset.from_list(ROWS)
    assert plain(LOAD.from_huggingface(loaded, input_keys=("n",))) == [(r, {"n"}) for r in ROWS]


def test_what_is_missing_is_none(tmp_path: Path) -> None:
    import pandas

    (tmp_path / "a.csv").write_text("q,n,f,t\nNA,1,,x\n,,2.5,\n", "utf-8-sig")
    assert [e.toDict() for e in LOAD.from_csv(tmp_path / "a.csv")] == [
        {"q": "NA", "n": 1, "f": None, "t": "x"},
        {"q": None, "n": None, "f": 2.5, "t": None},
    ]
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"b": [1, {"c": null}]}\n')
    assert [e.toDict() for e in LOAD.from_json(tmp_path / "a.jsonl")] == [
        {"a": 1, "b": None},
        {"a": None, "b": [1, {"c": None}]},
    ]
    frame = pandas.DataFrame({"n": [1, 2], "x": [0.5, float("nan")]})
    assert [e.toDict() for e in LOAD.from_pandas(frame)] == [{"n": 1, "x": 0.5}, {"n": 2, "x": None}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "a.csv:1: the first line names the columns, each once; it is []"),
        ("a.csv", b"a,a\n1,2\n", "each once; it is ['a', 'a']"),
        ("a.csv", b"a,b\n1,2\n3\n", "a.csv: row 2 has 1 cells, the header 2"),
        ("a.csv", b'a\n"x"y\n', "a.csv:2: the row that ends here cannot be read"),
        ("a.csv", b"a\n\xff\n", "a.csv: not UTF-8 at byte 2: save it as UTF-8"),
        ("a.json", b'[{"a": 1}, 3]', "a.json: item 2 is no object"),
        ("a.json", b'[{"a": 1},\n{"a" 2}]', "a.json:2: not JSON"),
        ("a.json", b'{"a": 1}\n{"a": }\n', "a.json:2: not JSON"),
        ("a.parquet", b"PAR0", "a.parquet: not a Parquet file"),
        ("a.csv", b"text,label\n1,2\n", "a.csv has no column `question`; there are text, label"),
    ],
)
def test_faults_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LoadingError) as caught:
        getattr(LOAD, f"from_{name.partition('.')[2]}")(tmp_path / name, input_keys=("question",))
    assert said in str(caught.value)
    with pytest.raises(LoadingError, match=r"tuples of names: write \('question',\)"):
        LOAD.from_pandas(_frame(), input_keys="question")
    with pytest.raises(FileNotFoundError):
        LOAD.from_csv(tmp_path / "gone.csv")


@given(st.integers(0, 40), st.integers(0, 99), st.sampled_from([0.75, 0.5, 10, 3]), st.sampled_from([None, 0.25, 5]))
def test_splits_are_those_of_dspy(total: int, seed: int, train: Any, test: Any) -> None:
    from dspy.datasets import DataLoader as Theirs

    rows = [lampc.Example(i=i) for i in range(total)]
    before = random.getstate()
    try:
        wanted: Any = Theirs().train_test_split(list(rows), train, test, seed)  # type: ignore[arg-type]
    except ValueError:
        wanted = ValueError
    random.setstate(before)
    try:
        found: Any = LOAD.train_test_split(rows, train, test, seed)
    except ValueError:
        assert wanted is ValueError or train > total
        return
    assert random.getstate() == before
    assert found == wanted


def test_samples_and_bad_sizes() -> None:
    rows = [lampc.Example(i=i) for i in range(9)]
    random.seed(3)
    wanted = random.sample(rows, 4)
    random.seed(3)
    assert LOAD.sample(rows, 4) == wanted
    with pytest.raises(LoadingError, match="not tuple"):
        LOAD.sample(tuple(rows), 2)
    for size in (0.0, 1.5, -1, True, "x"):
        with pytest.raises(LoadingError, match="`train_size` is a number of examples, or a share"):
            LOAD.train_test_split(rows, size)  # type: ignore[arg-type]
    with pytest.raises(LoadingError, match="10 rows to train on and 0 to test on are more than the 9"):
        LOAD.train_test_split(rows, 10, 0)
    assert json.dumps([e.toDict() for e in LOAD.train_test_split(rows, 2, 3)["train"]])


def test_from_rm() -> None:
    class Store:
        def get_objects(self, num_samples: int, fields: list[str]) -> list[dict[str, int]]:
            return [dict.fromkeys(fields, i) for i in range(num_samples)]

    from lampc.ir.settings import settings

    with pytest.raises(LoadingError, match="get_objects"):
        LOAD.from_rm(2, ["a"], ["a"])
    with settings.context(rm=Store()):
        assert plain(LOAD.from_rm(2, ["a"], ["a"])) == [({"a": 0}, {"a"}), ({"a": 1}, {"a"})]


def test_public_data_sets_are_said_to_be_loaded_by_name() -> None:
    with pytest.raises(AttributeError, match=r"from_huggingface\('openai/gsm8k'"):
        lampc.datasets.GSM8K  # noqa: B018
    assert not hasattr(lampc.datasets, "MATH")
