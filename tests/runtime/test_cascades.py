"""Cascades on the bundled model: the oracle is asked less, what is promised holds on rows that nobody had seen."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import lampc
from lampc.frontend.lmp import compile_lmp
from lampc.frontend.lmp.emit import emit_lmp
from lampc.ir import Assignment, CompileError, Unit, freeze, parse_module
from lampc.ir.content import Cascade
from lampc.ir.prog import DefPredictor
from lampc.ir.requests import RequestOp
from lampc.passes.optimize import optimizer
from lampc.passes.optimize.cascade import cascades
from lampc.runtime import calibrate
from lampc.runtime.cli.explain import plan
from lampc.runtime.compile import specialise
from lampc.runtime.driver import optimize
from lampc.runtime.interp import interpret
from lampc.runtime.metrics import RowMetric
from lampc.runtime.models import ModelError
from lampc.runtime.pool import firefly_folder
from lampc.runtime.saved import load_saved, save
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Outcome, Row

WORDS = (
    *("red", "blue", "green", "cat", "dog", "tea", "cold", "warm", "late"),
    *("early", "broken", "fine", "good", "bad", "slow", "fast", "refund", "invoice"),
)


def rows(count: int, seed: int) -> list[Row]:
    rng = random.Random(seed)
    return [Row(f"{seed}/{i}", {"text": " ".join(rng.sample(WORDS, 5))}) for i in range(count)]


ANY = RowMetric("any", lambda row, outputs, trace: 1.0, "any")
TRAIN, FRESH = rows(150, 0), rows(300, 1)


def adapter(folder: Path, scale: float) -> Path:
    """A random adapter for the bundled model, which makes it answer differently: the more, the higher the scale."""
    noise, tensors = torch.Generator().manual_seed(0), {}
    for name, weight in load_file(firefly_folder() / "model.safetensors").items():
        if name.endswith(("q_proj.weight", "v_proj.weight")):
            n, k = weight.shape
            at = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{at}.lora_A.weight"] = 0.3 * torch.randn(4, k, generator=noise)
            tensors[f"{at}.lora_B.weight"] = 0.3 * torch.randn(n, 4, generator=noise)
    save_file(tensors, folder / "adapter_model.safetensors")
    known = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 4 * scale,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
    }
    known |= {"target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": "firefly"}
    (folder / "adapter_config.json").write_text(json.dumps(known))
    return folder


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter(tmp_path_factory.mktemp("small"), 0.05)


@pytest.fixture(scope="module")
def unit(proxy: Path, tmp_path_factory: pytest.TempPathFactory) -> Unit:
    return compile_lmp(
        f"""
model main = engine("firefly");
model small = engine("{proxy}");
model wild = engine("{adapter(tmp_path_factory.mktemp("wild"), 3.0)}");
signature Sort(text: str) -> (kind: "question" | "order" | "complaint") {{ \"\"\"Classify the message.\"\"\" }}
module Main(text: str) -> (kind: str) {{ use sort = Predict(Sort); let s = sort(text: text); return (kind: s.kind); }}
"""
    )


def always(threshold: float, proxy: str = "small") -> Assignment:
    return Assignment().updated(**{"sort.cascade": Cascade(proxy, threshold)})


def run(unit: Unit, data: list[Row], assignment: Assignment | None = None) -> tuple[list[Outcome], Any]:
    with Session() as session:
        found = session.run(unit, data, assignment=assignment)
        assert [o.error for o in found if o.error] == []
        used = session.usage_by_node
        for name in ("main", "small"):
            engine: Any = session.models.get(name, unit.module).model
            engine.engine.check()
        return found, {k: (u.calls, u.computed_tokens + u.generated_tokens) for k, u in used.items()}


def kinds(found: list[Outcome]) -> list[str]:
    return [o.value["kind"] for o in found if o.value]


def test_each_answer_is_that_of_the_model_that_was_to_give_it(unit: Unit, proxy: Path) -> None:
    small = kinds(run(unit, TRAIN, Assignment().updated(**{"sort.model": "small"}))[0])
    oracle = kinds(run(unit, TRAIN)[0])
    assert small != oracle
    everything, used = run(unit, TRAIN, always(0.0))
    assert kinds(everything) == small
    assert set(used) == {"sort/proxy"}
    nothing, used = run(unit, TRAIN, always(1.1))
    assert kinds(nothing) == oracle
    assert used["sort"][0] == used["sort/proxy"][0] == len(TRAIN)
    some, used = run(unit, TRAIN, always(0.4))
    sure = [o.trace[0].score is not None for o in some]
    assert 0 < sum(sure) < len(TRAIN)
    assert kinds(some) == [s if known else o for s, o, known in zip(small, oracle, sure, strict=True)]
    assert used["sort"][0] == len(TRAIN) - sum(sure)
    assert [len(o.trace) for o in some] == [1] * len(TRAIN), "a row's trace has one step, whoever answered"
    alone = [kinds(run(unit, [row], always(0.4))[0])[0] for row in TRAIN[:4]]
    assert alone == kinds(some)[:4]


def test_interpreter_and_executor_agree(unit: Unit) -> None:
    chosen = always(0.4)
    with Session() as session:
        wanted = [
            interpret(unit.module, r.inputs, runner=session.runner(unit), assignment=chosen, row=r.id)["kind"]
            for r in TRAIN[:20]
        ]
        assert session.usage_by_node["sort/proxy"].calls == 20
    assert kinds(run(unit, TRAIN[:20], chosen)[0]) == wanted


def test_requests_of_two_models_stay_requests(unit: Unit) -> None:
    with Session() as session:
        exe = session.executable(unit.module, None, always(0.5))
    assert any(isinstance(op, RequestOp) for op in exe.module.walk())
    text = str(exe.module)
    assert "cascade" in text
    assert str(parse_module(text)) == text


def calibrated(unit: Unit, session: Session, **options: Any) -> Any:
    steps = (optimizer("cascade", {"proxy": "small", "target": 0.92, "delta": 0.1, **options}),)
    return optimize(unit, session, steps=steps, train=TRAIN, select=[], metric=ANY)


def test_the_oracle_is_asked_less_and_what_is_promised_holds(unit: Unit, tmp_path: Path) -> None:
    with Session() as session:
        result = calibrated(unit, session)
    (cascade,) = cascades(result.assignment).values()
    record = dict(cascade.record)
    assert record["label"] == "G"
    assert record["bound"] >= 0.92
    assert record["labels"] <= len(TRAIN)
    plain, before = run(unit, FRESH)
    found, after = run(unit, FRESH, result.assignment)
    same = sum(a == b for a, b in zip(kinds(plain), kinds(found), strict=True)) / len(FRESH)
    print(f"{cascade.threshold=:.3f} {record['bound']=:.3f} agree {same:.3f}; oracle {before} -> {after}")
    assert same >= 0.92
    assert after["sort"][0] < 0.75 * before["sort"][0], "calls of the oracle"
    assert after["sort"][1] < 0.85 * before["sort"][1], "tokens of the oracle"

    save(tmp_path / "sort.lampc", unit, result.assignment)
    saved = load_saved(tmp_path / "sort.lampc")
    assert saved.assignment == result.assignment
    assert "cascade" in (tmp_path / "sort.lampc").read_text()
    again, _ = run(Unit(saved.module, saved.entry), FRESH[:40], saved.assignment)
    assert kinds(again) == kinds(found)[:40]


def test_a_search_goes_on_from_its_journal(unit: Unit, tmp_path: Path) -> None:
    with Store(tmp_path / "a") as store, Session(store=store) as session:
        first = calibrated(unit, session)
        asked = session.usage.calls - session.usage.stored_calls
    with Store(tmp_path / "a") as store, Session(store=store) as session:
        second = calibrated(unit, session)
        assert session.usage.calls == 0
    assert asked > 0
    assert first.assignment == second.assignment


def test_a_proxy_that_guesses_is_not_taken(unit: Unit) -> None:
    with Session() as session:
        result = calibrated(unit, session, proxy="wild")
    assert not cascades(result.assignment)
    assert "no cascade of `sort`" in result.history[-1].note


def test_source_files_say_cascades(unit: Unit) -> None:
    made = specialise(unit.module, always(0.25))
    for op in made.body.ops:
        if isinstance(op, DefPredictor):
            op.cascade = Cascade("small", 0.25, freeze({"promised": "accuracy", "bound": 0.93, "labels": 80}))
    text = emit_lmp(Unit(made, unit.entry))
    assert '@cascade(small, threshold: 0.25, promised: "accuracy", bound: 0.93, labels: 80)' in text
    wrong = ("@cascade(small)", "@cascade(threshold: 0.5)", "@cascade(small, threshold: true)", "@cascade(small, 0.5)")
    for attr in wrong:
        source = f"""model small = engine("firefly"); signature S(a: str) -> (b: str) {{ }}
        module M(a: str) -> (b: str) {{ use s = Predict(S) {attr}; return (b: s(a: a).b); }}"""
        with pytest.raises(CompileError, match="`@cascade` does not take these arguments"):
            compile_lmp(source)


def test_explain_says_what_is_known(
    unit: Unit, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = freeze({"promised": "accuracy", "bound": 0.93, "target": 0.9, "delta": 0.1, "errors": 2, "cases": 100,
                     "labels": 80, "stands": 0.6, "rows": 100})  # fmt: skip
    save(tmp_path / "sort.lampc", unit, Assignment().updated(**{"sort.cascade": Cascade("small", 0.25, record)}))
    monkeypatch.setattr(calibrate, "SECONDS", 0.3)
    plan(tmp_path / "sort.lampc", False, None, "", 4, None, None, {})
    said = capsys.readouterr().out
    assert "cascade        G  `sort`: `small` answers from p = 0.25 on: accuracy against the oracle >= 0.93" in said
    assert "sort/proxy" in said


def test_python_programs_have_cascades_too(proxy: Path, tmp_path: Path) -> None:
    class Sorts(lampc.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sort = lampc.Predict('text -> kind: Literal["question", "order", "complaint"]')

        def forward(self, text: str) -> Any:
            return self.sort(text=text)

    small = lampc.LM(str(proxy))
    with lampc.context(lm=lampc.LM("firefly")):
        examples = [lampc.Example(**r.inputs).with_inputs("text") for r in TRAIN]
        made = lampc.Cascade(small, target=0.8, delta=0.1).compile(Sorts(), trainset=examples)
        assert "answers from p =" in made.cascade
        assert made.sort.cascade is not None
        made.save(tmp_path / "sort.json")
        fresh = Sorts()
        fresh.load(tmp_path / "sort.json")
        assert fresh.sort.cascade.threshold == made.sort.cascade.threshold
        assert fresh.sort.cascade.record == made.sort.cascade.record
        texts = [r.inputs["text"] for r in FRESH[:10]]
        assert [fresh(text=t).kind for t in texts] == [made(text=t).kind for t in texts]
    with pytest.raises(TypeError, match="no option 'goal'"):
        lampc.Cascade(small, goal=1)


def test_a_model_that_does_not_tell_how_likely_its_answers_are_is_refused(unit: Unit) -> None:
    def code(messages: Any) -> str:
        return "kind: order"

    with lampc.context(lm=lampc.LM("firefly")):
        named = lampc.LM("code", engine=code)
        from lampc.ir.modelnames import model_name

        with Session() as session, pytest.raises(ModelError, match="does not tell how likely"):
            session.run(unit, TRAIN[:1], assignment=always(0.5, model_name(named)))
