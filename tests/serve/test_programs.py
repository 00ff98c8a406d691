"""Programs as endpoints: typed inputs and outputs, streams, the same values as without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.frontend.python import load_python
from lampc.runtime.serve import Program, Server
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.serve.conftest import EXAMPLES, example, served

DYNAMIC = '''
import lampc


class Say(lampc.Signature):
    """Say the number."""

    text: str = lampc.InputField()
    number: int = lampc.OutputField()


class Twice(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.say = lampc.Predict(Say)

    def forward(self, text: str) -> lampc.Prediction:
        total = 0
        for word in list({**{}, **{w: 1 for w in text.split()}}):
            total += self.say(text=word).number
        return lampc.Prediction(total=total)


program = Twice()
'''


DEFAULTS = """
from dataclasses import dataclass

import lampc


@dataclass
class Wish:
    words: int
    unit: str = None
    style: str = "short"


class Say(lampc.Signature):
    text: str = lampc.InputField()
    wish: Wish = lampc.InputField()
    size: int = lampc.InputField(default=None)
    number: str = lampc.OutputField()


class Told(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.say = lampc.Predict(Say)

    def forward(self, **given: object) -> lampc.Prediction:
        return self.say(**given)


program = Told()
"""


def post(server: Server, name: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/programs/{name}", json=body, timeout=60, trust_env=False)


def events(answer: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_the_same_outputs_as_without_a_server(server: Server) -> None:
    for name, inputs in (
        ("Classifier", {"text": "the invoice is wrong"}),
        ("TwoHop", {"question": "where does the boss of cora live ?"}),
    ):
        program = example("01_classify" if name == "Classifier" else "03_two_hop")
        with Session(model="firefly", base=EXAMPLES) as session:
            (outcome,) = session.run(program.unit, [Row("0", inputs)])
        got = post(server, name, inputs=inputs)
        assert got.status_code == 200
        assert got.json() == {"program": name, "outputs": outcome.value}


def test_a_stream_tells_each_field(server: Server) -> None:
    inputs = {"question": "where does the boss of dora live ?"}
    *pieces, last = events(post(server, "TwoHop", inputs=inputs, stream=True))
    told: dict[int, str] = {}
    for piece in pieces:
        assert (piece["predictor"], piece["field"]) == ("read", "answer")
        told[piece["call"]] = told.get(piece["call"], "") + piece["text"]
    assert list(told.values()) == [last["outputs"]["bridge"], last["outputs"]["answer"]]


def test_types_are_said_and_checked(server: Server) -> None:
    found = httpx.get(f"{server.url}/programs/Classifier", trust_env=False).json()
    assert found["inputs"]["properties"] == {"text": {"type": "string"}}
    assert found["outputs"]["properties"]["label"]["enum"] == ["network", "hardware", "billing", "account"]

    def refused(status: int, param: str | None, **body: Any) -> str:
        got = post(server, body.pop("name", "Classifier"), **body)
        assert got.status_code == status
        assert got.json()["error"]["param"] == param
        return str(got.json()["error"]["message"])

    assert "missing" in refused(400, "inputs.text", inputs={})
    assert "wanted: str" in refused(400, "inputs.text", inputs={"text": 3})
    assert "has no input 'txt'" in refused(400, "inputs.txt", inputs={"text": "a", "txt": "b"})
    assert "no field" in refused(400, "input", input={"text": "a"})
    assert "there are Classifier, TwoHop" in refused(404, None, name="Other", inputs={})


def test_what_has_a_default_is_not_required(tmp_path: Path) -> None:
    file = tmp_path / "told.py"
    file.write_text(DEFAULTS, encoding="utf-8")
    unit = load_python(str(file))
    assert unit.dynamic is None
    with served(Program("Told", unit)) as server:
        told = httpx.get(f"{server.url}/programs/Told", trust_env=False).json()["inputs"]
        page = httpx.get(f"{server.url}/openapi.json", trust_env=False).json()["paths"]["/programs/Told"]["post"]
        asked = page["requestBody"]["content"]["application/json"]["schema"]["properties"]["inputs"]
        for inputs in (told, asked):
            assert inputs["required"] == ["text", "wish"]
            assert inputs["properties"]["wish"]["required"] == ["words"]
            assert inputs["properties"]["size"]["default"] is None
        good: dict[str, Any] = {"text": "three", "wish": {"words": 1}}
        for given in (
            good,
            {**good, "size": None},
            {**good, "size": 2},
            {"text": "a", "wish": {"words": 1, "unit": None}},
        ):
            assert post(server, "Told", inputs=given).status_code == 200
        for param, given in (
            ("inputs.size", {**good, "size": "x"}),
            ("inputs.wish.words", {"text": "a", "wish": {"unit": None}}),
            ("inputs.wish.style", {"text": "a", "wish": {"words": 1, "unit": None, "style": 3}}),
        ):
            assert post(server, "Told", inputs=given).json()["error"]["param"] == param


def test_a_program_that_was_not_traced(tmp_path: Path) -> None:
    file = tmp_path / "twice.py"
    file.write_text(DYNAMIC, encoding="utf-8")
    unit = load_python(str(file))
    assert unit.dynamic is not None
    with Session(model="firefly") as session:
        (outcome,) = session.run(unit, [Row("0", {"text": "three four"})])
    with served(Program("Twice", unit)) as server:
        got = post(server, "Twice", inputs={"text": "three four"})
        assert got.json() == {"program": "Twice", "outputs": outcome.value}
        *pieces, last = events(post(server, "Twice", inputs={"text": "five six"}, stream=True))
        assert last["outputs"]["total"] == sum(int(p["text"]) for p in pieces)


def test_a_program_that_fails_says_where(tmp_path: Path) -> None:
    file = tmp_path / "fails.py"
    file.write_text(DYNAMIC.replace("total = 0", "total = int(text)"), encoding="utf-8")
    with served(Program("Twice", load_python(str(file)))) as server:
        got = post(server, "Twice", inputs={"text": "x"})
        assert got.status_code == 422
        message = got.json()["error"]["message"]
        assert "fails.py" in message
        assert str(tmp_path) not in message
        assert post(server, "Twice", inputs={"text": "x"}, stream=True).json() == got.json()


NUMBERS = (
    "module Numbers(x: float?, many: list[float]) -> (x: float?, many: list[float]) { return (x: x, many: many); }"
)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    unit = compile_lmp(NUMBERS, "numbers.lmp")
    with served(Program("Numbers", unit)) as server:
        for inputs, place in ((f'"x": {number}, "many": []', "x"), (f'"many": [1.5, {number}]', "many[1]")):
            body = f'{{"inputs": {{{inputs}}}}}'
            head = {"content-type": "application/json"}
            got = httpx.post(f"{server.url}/programs/Numbers", content=body, headers=head, trust_env=False)
            assert got.status_code == 400
            assert got.json()["error"]["param"] == f"inputs.{place}"
            assert "no JSON value" in got.json()["error"]["message"]
        assert post(server, "Numbers", inputs={"many": [1e300, 2]}).status_code == 200


def test_one_name_for_two_programs() -> None:
    with pytest.raises(ValueError, match="one name"), served(example("01_classify"), example("01_classify")):
        pass
