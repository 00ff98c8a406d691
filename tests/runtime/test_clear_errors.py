"""Broken input, through the command line: one clear error that names file and line or row, and nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lampc.frontend.lmp import compile_lmp
from lampc.runtime.cli.app import app
from lampc.runtime.failures import RowFailure
from lampc.runtime.interp import interpret
from lampc.runtime.store import Store
from tests.backend.checkpoints import save_checkpoint

SOURCE = '''signature Label(text: str) -> (label: str @max(4)) { """Complete the task.""" }
module Classify(text: str) -> (label: str) {
  use classify = Predict(Label);
  let out = classify(text: text);
  return (label: out.label);
}
dataset words: (text: str, label: str) = csv("words.csv", split: "split");
metric em(gold: str, pred: str) -> float = { METRIC };
optimize Classify with bootstrap(max_bootstrapped_demos: 1), instructions(pool: ["Say it."])
  on words.train select words.dev by em save "tuned.lampc" resume "runs/a";
'''
TABLE = "text,label,split\na cat,cat,train\na dog,dog,train\na hen,hen,dev\na cow,cow,dev\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a.lmp").write_text(SOURCE.replace("METRIC", "exact_match(gold, pred)"))
    (tmp_path / "words.csv").write_text(TABLE)
    save_checkpoint(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def failing(*arguments: str, code: int = 1) -> str:
    """Output of a command that must fail, without a traceback."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.output


def test_a_truncated_checkpoint_names_the_file(folder: Path) -> None:
    weights = folder / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "model/model.safetensors" in failing("run", "a.lmp", "--input", "text=a", "--model", "model")


def test_an_unknown_architecture_is_named_with_the_known_ones(folder: Path) -> None:
    config = folder / "model" / "config.json"
    config.write_text(config.read_text().replace("LlamaForCausalLM", "ImaginaryLM"))
    said = failing("run", "a.lmp", "--input", "text=a", "--model", "model")
    assert "ImaginaryLM" in said
    assert "LlamaForCausalLM" in said


def test_a_missing_model_folder_says_what_may_stand_there(folder: Path) -> None:
    said = failing("run", "a.lmp", "--input", "text=a", "--model", "nowhere")
    assert "nowhere" in said
    assert "firefly" in said


def test_a_context_that_is_too_long_names_row_line_and_limit(folder: Path) -> None:
    said = failing("run", "a.lmp", "--input", "text=" + "cat " * 300, "--model", "model")
    assert "a.lmp:4" in said
    assert "256" in said
    assert "row 0" in said


def test_wrong_columns_name_file_line_and_the_column_meant(folder: Path) -> None:
    (folder / "mine.csv").write_text("txt,label,split\na,b,train\n")
    said = failing("optimize", "a.lmp", "--data", "mine.csv", "--model", "model")
    assert "mine.csv:1" in said
    assert "rename column `txt` to `text`" in said


def test_a_bad_row_names_its_line(folder: Path) -> None:
    (folder / "words.csv").write_text(TABLE + "a,b\n")
    assert "words.csv:6" in failing("optimize", "a.lmp", "--model", "model")


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "words.csv").unlink()
    assert "words.csv" in failing("optimize", "a.lmp", "--model", "model")
    assert "nothing.lmp" in failing("check", "nothing.lmp")


def test_a_metric_that_raises_names_the_row_and_loses_no_call(folder: Path) -> None:
    (folder / "a.lmp").write_text(SOURCE.replace("METRIC", 'float(pred + "x")'))
    said = failing("optimize", "a.lmp", "--model", "model")
    assert "words.csv:4" in said
    assert "em" in said
    with Store(next((folder / "runs" / "a").glob("*.store"))) as store:
        assert store.count("call") >= 2  # what the model had answered is kept


def test_an_endpoint_that_is_not_there_is_named(folder: Path) -> None:
    assert "http://127.0.0.1:9" in failing("run", "a.lmp", "--input", "text=a", "--model", "http://127.0.0.1:9/v1")


def test_an_unknown_option_is_a_usage_error(folder: Path) -> None:
    assert "--input" in failing("run", "a.lmp", "--inputt", "text=a", code=2)


def test_a_metric_that_is_not_a_number_is_an_error(folder: Path) -> None:
    (folder / "odd.py").write_text("def score(gold, pred):\n    return float('nan')\n")
    said = failing("optimize", "a.lmp", "--metric", "odd:score", "--model", "model")
    assert "finite number" in said


def test_outputs_do_not_overwrite_the_program_or_its_data(folder: Path) -> None:
    said = failing("run", "a.lmp", "--data", "words.csv", "--out", "words.csv", "--model", "model")
    assert "give another file" in said
    assert (folder / "words.csv").read_text() == TABLE
    assert ".lampc" in failing("optimize", "a.lmp", "--save", "a.lmp", "--model", "model")
    assert "give another file" in failing("graph", "a.lmp", "--to", "dot", "--output", "./a.lmp")
    assert (folder / "a.lmp").read_text().startswith("signature")
    (folder / "facts.jsonl").write_text('{"text": "uma lives in madrid"}\n')
    program = 'retriever facts = bm25("facts.jsonl", field: "text");\nmodule Look(text: str) -> (found: list[str]) {\n'
    (folder / "look.lmp").write_text(program + "  return (found: facts(text));\n}\n")
    assert "give another file" in failing("run", "look.lmp", "--data", "words.csv", "--out", "facts.jsonl")
    assert (folder / "facts.jsonl").read_text().startswith('{"text"')


OVERFLOWING = {
    "arithmetic.lmp": (
        "module M(x: float) -> (y: float) {\n  return (y: x * 10.0);\n}\n",
        "arithmetic.lmp:2",
        "too large",
    ),
    "constant.lmp": ("module M() -> (y: float) {\n  let y = 1e308 * 10.0;\n  return (y: y);\n}\n", "2:11", "too large"),
    "called.py": (
        "import lampc\n\ndef far(x):\n    return {'at': [x, float('inf')]}\n\n"
        "@lampc.program\ndef main(x: float) -> dict:\n    return {'y': far(x)}\n",
        "called.py:7",
        "output `y.at[1]` is inf, which is no JSON value",
    ),
    "eager.py": (
        "import lampc\n\n@lampc.program\ndef main(x: float):\n    with open(__file__):\n"
        "        return float(x) * 10 - float(x) * 10\n",
        "eager.py:3",
        "output `result` is nan, which is no JSON value",
    ),
    "object.py": (
        "import lampc\n\n@lampc.program\ndef main(x: float):\n    return object()\n",
        "object.py:3",
        "output `result` is a Python object of type object, which is no JSON value",
    ),
}


@pytest.mark.parametrize("name", OVERFLOWING)
def test_a_number_that_json_cannot_hold_is_an_error_with_its_place(folder: Path, name: str) -> None:
    text, place, why = OVERFLOWING[name]
    (folder / name).write_text(text)
    said = failing("run", name, *(["--input", "x=1e308"] if "x: float" in text else []))
    assert place in said
    assert why in said
    if "x: float" not in text:
        return
    (folder / "xs.csv").write_text("x\n1e308\n")
    failing("run", name, "--data", "xs.csv", "--out", "out.jsonl")
    assert why in json.loads((folder / "out.jsonl").read_text(), parse_constant=pytest.fail)["error"]


def test_the_interpreter_refuses_infinite_outputs_as_the_executor_does() -> None:
    module = compile_lmp("module M(x: float) -> (y: float) { return (y: x); }", "a.lmp").module
    with pytest.raises(RowFailure, match="output `y` is inf") as caught:
        interpret(module, {"x": float("inf")})
    assert "a.lmp:1" in caught.value.row_error("").where


def test_types_are_named_as_programs_write_them(folder: Path) -> None:
    text = 'module M(x: float?, c: list[("a" | "b")?]) -> (y: float) {\n  return (y: coalesce(x, 0.5));\n}\n'
    (folder / "t.lmp").write_text(text)
    said = failing("run", "t.lmp", "--input", "x=much")
    assert "--input x: expected float, got 'much'; a float? is wanted" in said
    assert 'its inputs: x: float?, c: list[("a" | "b")?]' in failing("run", "t.lmp", "--input", "z=1")
    assert '(list[("a" | "b")?])' in failing("run", "t.lmp", "--input", "x=1")
    (folder / "u.lmp").write_text(text.replace("coalesce(x, 0.5)", "x + 1"))
    assert "float? and int cannot be added" in failing("check", "u.lmp")


def test_an_input_given_twice_is_an_error(folder: Path) -> None:
    twice = ["--input", "text=a", "--input", "text=b"]
    assert "--input text: given twice" in failing("run", "a.lmp", *twice)
    assert "--input text: given twice" in failing("render", "a.lmp", "classify", *twice)
    (folder / "r.lmp").write_text("module M(r: {a: int}) -> (y: int) {\n  return (y: r.a);\n}\n")
    assert "--input r: key `a` stands twice" in failing("run", "r.lmp", "--input", 'r={"a": 1, "a": 2}')
