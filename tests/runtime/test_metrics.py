"""Metrics: built in, of the module, Python of two forms; and what happens when one raises."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lampc.ir import Unit, parse_module
from lampc.ir.unit import Metric
from lampc.runtime.metrics import MetricError, build_metric
from lampc.runtime.types import Row, TraceStep

ROW = Row("7", {"text": "t"}, {"label": "The Cat!", "who": "me"}, "t.csv", 8)
MODULE = parse_module(
    """module @main {
      prog.func @same() {returns = !float} do (%gold: str, %pred: str) {
        %e = prog.apply(%gold, %pred) {fn = "exact_match"} : (float)
        prog.return(%e) : ()
      } : ()
      prog.func @pair() {returns = !{score: bool}} do (%gold: {label: str, who: str}, %pred: {label: str, who: str}) {
        %g = prog.field(%gold) {field = "who"} : (str)
        %p = prog.field(%pred) {field = "who"} : (str)
        %e = prog.apply(%g, %p) {fn = "eq"} : (bool)
        %r = prog.pack(%e) {names = ["score"]} : ({score: bool})
        prog.return(%r) : ()
      } : ()
      prog.func @lone() {returns = !float} do (%gold: str) {
        %f = prog.apply(%gold) {fn = "float"} : (float)
        prog.return(%f) : ()
      } : ()
      prog.func @broken() {returns = !float} do (%gold: str, %pred: str) {
        %f = prog.apply(%gold) {fn = "float"} : (float)
        prog.return(%f) : ()
      } : ()
    }"""
)
UNIT = Unit(MODULE, "same", metrics={"mine": Metric("mine", "same"), "pair": Metric("pair", "pair")})


def score(metric: Any, outputs: dict[str, Any], trace: list[TraceStep] | None = None) -> float:
    return build_metric(metric, UNIT)(ROW, outputs, trace)


def test_built_in_metrics_compare_labels_with_the_outputs_of_their_name() -> None:
    assert score("exact_match", {"label": "cat"}) == 1.0
    assert score("exact_match", {"label": "cats"}) == 0.0
    assert score("f1", {"label": "cat sat"}) == pytest.approx(2 / 3)
    assert score("exact_match", {"label": "cat", "who": "you"}) == 0.5  # the mean over two labels
    one = Row("0", {}, {"gold": "x"})
    assert build_metric("exact_match")(one, {"answer": "x"}) == 1.0  # one label, one output: no name is needed


def test_fields_of_other_names_are_said_by_params() -> None:
    metric = Metric("m", "exact_match", ("who", "author"))
    assert score(metric, {"author": "me", "label": "x"}) == 1.0
    with pytest.raises(MetricError, match="the output has no field `author`; it has label"):
        score(metric, {"label": "x"})
    with pytest.raises(MetricError, match=r"no label has the name of an output \(labels: label, who; outputs: z\)"):
        score("exact_match", {"z": 1})


def test_functions_of_the_module_are_interpreted() -> None:
    assert score("mine", {"label": "cat"}) == 1.0
    assert score("pair", {"label": "x", "who": "me"}) == 1.0
    assert score("pair", {"label": "The Cat!", "who": "you"}) == 0.0
    with pytest.raises(MetricError, match=r"metric `b` failed on row 7 \(t.csv:8\): float\('The Cat!'\)"):
        score(Metric("b", "broken"), {"label": "x"})


def test_python_functions_of_gold_and_pred() -> None:
    assert score(lambda gold, pred: gold == pred, {"label": "The Cat!"}) == 1.0

    def of_one(gold: str, pred: str, *, scale: float = 2.0) -> float:
        return scale * len(pred)

    assert score(of_one, {"label": "abc"}) == 6.0


def test_python_functions_as_dspy_has_them() -> None:
    seen: list[Any] = []

    def metric(example: Any, prediction: Any, trace: Any = None) -> Any:
        seen.append(trace)
        assert example.inputs().toDict() == {"text": "t"}
        assert example["who"] == "me"
        return prediction.label == example.label

    assert score(metric, {"label": "The Cat!"}) == 1.0
    step = TraceStep("p", {"text": "t"}, {"label": "x"})
    assert score(metric, {"label": "x"}, [step]) == 0.0
    assert seen[0] is None
    ((name, inputs, outputs),) = seen[1]
    assert (name, inputs, outputs.label) == ("p", {"text": "t"}, "x")

    class Scored:
        score = 0.25

    assert score(lambda example, pred, trace=None: Scored(), {"label": "x"}) == 0.25


def test_host_references_are_found_beside_the_source(tmp_path: Path) -> None:
    (tmp_path / "my_metric_module.py").write_text("def close(gold, pred):\n    return gold[0] == pred[0]\n")
    metric = build_metric("my_metric_module:close", UNIT, tmp_path)
    assert metric(ROW, {"label": "Tx"}) == 1.0
    with pytest.raises(MetricError, match="has no function `far`"):
        build_metric("my_metric_module:far", UNIT, tmp_path)
    with pytest.raises(MetricError, match="there is no module `nowhere_at_all`"):
        build_metric("nowhere_at_all:far", UNIT, tmp_path)


def test_metrics_that_cannot_be_used_are_named() -> None:
    with pytest.raises(MetricError, match=r"there is no metric `exact_mach` \(did you mean `exact_match`\?\); known:"):
        build_metric("exact_mach", UNIT)
    with pytest.raises(MetricError, match="the module has no function `gone`"):
        build_metric(Metric("m", "gone"), UNIT)
    with pytest.raises(MetricError, match=r"takes \(gold, pred\), not 1 parameters"):
        build_metric(Metric("m", "lone"), UNIT)
    with pytest.raises(MetricError, match=r"takes \(gold, pred\) or \(example, prediction, trace=None\)"):
        build_metric(lambda gold: 1.0)


def test_a_metric_that_gives_no_number_is_named_with_its_row() -> None:
    with pytest.raises(MetricError, match=r"failed on row 7 \(t.csv:8\): a metric gives a finite .*, got 'yes'") as e:
        score(lambda gold, pred: "yes", {"label": "x"})
    assert e.value.row == "7"


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (np.float32(0.5), 0.5),
        (np.bool_(True), 1.0),
        (np.int64(2), 2.0),
        (Fraction(1, 4), 0.25),
        ({"score": np.True_}, 1.0),
    ],
)
def test_numbers_of_any_kind_are_scores(given: Any, wanted: float) -> None:
    assert score(lambda example, pred, trace=None: given, {"label": "x"}) == wanted
    assert score(lambda example, pred, trace=None: given, {"label": "x"}, []) == wanted


@pytest.mark.parametrize(("given", "wanted"), [(None, 0.0), ("yes", 1.0), ([], 0.0)])
def test_whether_a_run_is_a_good_one_is_a_matter_of_truth(given: Any, wanted: float) -> None:
    """As where demos are bootstrapped in DSPy; without a trace a metric gives a number."""
    assert score(lambda example, pred, trace=None: given, {"label": "x"}, []) == wanted
    with pytest.raises(MetricError, match="finite number"):
        score(lambda example, pred, trace=None: given, {"label": "x"})


def test_identities_differ_where_scores_may() -> None:
    names = {build_metric(m, UNIT).identity for m in ("exact_match", "f1", "mine", "pair")}
    names |= {build_metric(Metric("m", "exact_match", ("who", "label"))).identity}
    names |= {build_metric(lambda gold, pred: 1.0).identity, build_metric(lambda gold, pred: 2.0).identity}
    assert len(names) == 7
