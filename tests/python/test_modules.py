"""Modules: names of predictors, copies, state, Example and Prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.frontend.python.given import demo_set
from lampc.frontend.python.module import predictor_symbols
from lampc.frontend.python.options import sampling_of
from lampc.ir import Sampling


class Inner(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ask = lampc.Predict("q -> a")


class Outer(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cot = lampc.ChainOfThought("q -> a")
        self.steps = [lampc.Predict("q -> a"), lampc.Predict("q -> b")]
        self.table = {"k": lampc.Predict("q -> c")}
        self.sub = Inner()
        self.again = self.sub.ask

    def forward(self, q: str) -> lampc.Prediction:
        return lampc.Prediction(a=self.cot(q=q).a)


NAMES = ["cot.predict", "steps[0]", "steps[1]", "table['k']", "sub.ask"]


def test_names() -> None:
    m = Outer()
    assert [n for n, _ in m.named_predictors()] == NAMES
    assert [n for n, _ in predictor_symbols(m)] == ["cot", "steps.0", "steps.1", "table.k", "sub.ask"]
    assert [n for n, _ in m.cot.predict.named_predictors()] == ["self"]
    assert [n for n, _ in m.named_sub_modules()][:4] == ["self", "self.cot", "self.sub", "self.again"]
    assert len(m.predictors()) == len(m.parameters()) == 5


def test_a_compiled_part_is_frozen() -> None:
    m = Outer()
    m.sub._compiled = True
    del m.again
    assert [n for n, _ in m.named_predictors()] == NAMES[:4]


def test_copies_share_nothing() -> None:
    m = Outer()
    m.cot.predict.demos = [lampc.Example(q="1", a="2")]
    copy = m.deepcopy()
    copy.cot.predict.demos.append(lampc.Example(q="3", a="4"))
    copy.steps[0].lm = "big"
    assert len(m.cot.predict.demos) == 1
    assert m.steps[0].lm is None
    assert m.reset_copy().cot.predict.demos == []
    assert copy.cot.predict.signature is m.cot.predict.signature


def test_map_and_models() -> None:
    m = Outer()
    m.set_model("big")
    assert m.get_lm() == "big"
    m.map_named_predictors(lambda p: lampc.Predict(p.signature, temperature=0.5))
    assert all(p.config == {"temperature": 0.5} for p in m.predictors()[:4])
    m.steps[0].lm = "small"
    with pytest.raises(ValueError, match="different models"):
        m.get_lm()


def test_state_goes_to_json_and_back(tmp_path: Path) -> None:
    m = Outer()
    m.cot.predict.demos = [lampc.Example(q="1", a="2", augmented=True)]
    m.sub.ask.signature = m.sub.ask.signature.with_instructions("Say it.")
    m.save(tmp_path / "state.json")
    state = json.loads((tmp_path / "state.json").read_text())
    assert list(state) == [*NAMES, "metadata"]
    assert state["cot.predict"]["demos"] == [{"q": "1", "a": "2", "augmented": True}]
    assert state["sub.ask"]["signature"]["instructions"] == "Say it."
    other = Outer()
    other.load(tmp_path / "state.json")
    assert other.dump_state() == m.dump_state()
    with pytest.raises(ValueError, match=r"end the name in \.json"):
        m.save(tmp_path / "state.pkl")


def test_broken_state_changes_nothing(tmp_path: Path) -> None:
    m = Outer()
    state = m.dump_state()
    state["cot.predict"]["signature"]["instructions"] = "New."
    del state["sub.ask"]
    with pytest.raises(KeyError, match=r"sub\.ask"):
        m.load_state(state)
    assert m.cot.predict.signature.instructions != "New."
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json: not a saved state"):
        m.load(tmp_path / "bad.json")


def test_example() -> None:
    e = lampc.Example(q="1", a="2").with_inputs("q")
    assert (e.q, e["a"], "q" in e, len(e)) == ("1", "2", True, 2)
    assert e.inputs().toDict() == {"q": "1"}
    assert e.labels().toDict() == {"a": "2"}
    assert e.without("q").toDict() == {"a": "2"}
    assert e.copy(a="3").toDict() == {"q": "1", "a": "3"}
    assert e == lampc.Example(q="1", a="2")
    assert lampc.Example(e, c=1).inputs().keys() == ["q"]
    with pytest.raises(ValueError, match="with_inputs"):
        lampc.Example(q="1").inputs()
    with pytest.raises(AttributeError, match="there are q, a"):
        _ = e.missing


def test_prediction() -> None:
    p = lampc.Prediction.from_completions({"a": ["x", "y"]})
    assert p.a == "x"
    assert p.completions.a == ["x", "y"]
    assert p.completions[1].a == "y"
    scores = [lampc.Prediction(score=0.5), lampc.Prediction(score=1.0)]
    assert sum(scores) == 1.5
    assert scores[0] < scores[1]
    with pytest.raises(ValueError, match="no `score`"):
        float(p)


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, (1, Sampling())),
        ({"temperature": 1, "max_tokens": 5}, (1, Sampling(1.0, max_tokens=5))),
        ({"n": 3}, (3, Sampling(0.7, firm=("spread",)))),
        ({"n": 3, "temperature": 0.9, "stop": "x"}, (3, Sampling(0.9, stop=("x",)))),
    ],
)
def test_sampling(config: dict[str, Any], wanted: Any) -> None:
    assert sampling_of(config) == wanted


def test_demos_become_data() -> None:
    found = demo_set([lampc.Example(q=["x"], a=1, augmented=True), {"q": "y", "dspy_uuid": "z"}])
    assert found.items[0].augmented
    assert dict(found.items[0].values) == {"q": ("x",), "a": 1}
    assert dict(found.items[1].values) == {"q": "y"}
    odd = demo_set([{"q": {1.5j}}]).items[0].values
    assert dict(odd) == {"q": ("1.5j",)}
    with pytest.raises(TypeError, match="no option `temprature`"):
        lampc.Predict("q -> a", temprature=1)


def test_vote_and_argmax() -> None:
    assert lampc.vote(["b", "a", "a", "b"]) == "b"
    assert lampc.majority([1, 2, 2]) == 2
    assert lampc.argmax([1, 3, 3]) == 1
    with pytest.raises(ValueError, match="at least one"):
        lampc.vote([])


def test_tuned_values_behave_like_values() -> None:
    k = lampc.tune("k", 4, [2, 4])
    assert (k + 1, 10 - k, k > 3, list(range(k)), f"{k:d}" if False else str(k)) == (5, 6, True, [0, 1, 2, 3], "4")
    with pytest.raises(ValueError, match="none of the choices"):
        lampc.tune("k", 3, [2, 4])
