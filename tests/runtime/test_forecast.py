"""A run foreseen: what does not hang on answers is exact, what does is learnt from earlier runs, costs are near."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Assignment, Unit
from lampc.ir.adapters import bind_predictors
from lampc.runtime import calibrate
from lampc.runtime.accounts import Accounts
from lampc.runtime.experience import Experience, Known, remember
from lampc.runtime.forecast import Forecast, forecast
from lampc.runtime.guesses import Guesses, answer_text, guessed
from lampc.runtime.models import ModelCall
from lampc.runtime.session import Session
from lampc.runtime.types import Row

PROGRAM = """
type Kind = "question" | "order" | "complaint";
signature Sort(text: str) -> (kind: Kind) { \"\"\"Classify the text as question, order or complaint.\"\"\" }
signature Note(text: str, kind: str) -> (note: str @max(12), urgent: bool) { \"\"\"Write a note.\"\"\" }
module Main(text: str) -> (kind: Kind, notes: list[str]) {
  use sort = Predict(Sort);
  use note = Predict(Note);
  let found = sort(text: text);
  let notes = map w in split(text, " ") {
    let made = note(text: w, kind: found.kind);
    yield made.note;
  };
  return (kind: found.kind, notes: notes);
}
"""
ROWS = [Row(str(i), {"text": f"we take {word} pens"}) for i, word in enumerate(("two", "nine", "no", "more"))]
DATA = Path(__file__).parent


@pytest.fixture
def unit() -> Unit:
    return compile_lmp(PROGRAM)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "SECONDS", 0.5)


@pytest.fixture
def session() -> Iterator[Session]:
    with Session(model="firefly", model_options={"kv_tokens": 1 << 14}) as made:
        yield made


def foreseen(session: Session, unit: Unit, folder: Path) -> Forecast:
    found = forecast(session, unit.module, ROWS, unit.entry, Assignment(), folder)
    assert found is not None
    return found


def test_a_forecast_asks_no_model_and_counts_as_the_run_does(session: Session, unit: Unit, tmp_path: Path) -> None:
    planned = foreseen(session, unit, tmp_path)
    assert session.usage.calls == 0
    exe = session.executable(unit.module, unit.entry)
    with Accounts(session.bus, [session.models.get("main").model]) as accounts:
        outcomes = session.run(unit, ROWS)
    used = session.usage_by_node
    sort, note = planned.nodes["sort"], planned.nodes["note"]
    assert (sort.usage.calls, note.usage.calls) == (used["sort"].calls, used["note"].calls) == (4, 16)
    assert sort.usage.prompt_tokens == used["sort"].prompt_tokens
    assert sort.usage.computed_tokens == used["sort"].computed_tokens
    assert planned.nodes["sort"].rows == accounts.node("sort", used["sort"]).rows == 4
    assert planned.failed == 0
    assert planned.seconds > 0
    assert sum(n.seconds for n in planned.nodes.values()) == pytest.approx(planned.seconds)
    assert sum(accounts.node(n, u).seconds for n, u in used.items()) == pytest.approx(accounts.seconds)
    assert 0 < planned.held <= 1 << 14
    assert planned.kv_bytes == planned.held * session.target(unit.module).info.kv_bytes_per_token
    assert planned.bound <= planned.usage.computed_tokens
    remember(session, exe.module, bind_predictors(exe.module), outcomes, tmp_path)
    again = foreseen(session, unit, tmp_path)
    total = used["note"].generated_tokens
    assert again.nodes["note"].usage.generated_tokens == pytest.approx(total, rel=0.4)


def test_a_program_on_an_endpoint_has_no_steps_to_foresee(unit: Unit, tmp_path: Path) -> None:
    with Session(model=lambda messages: "x") as session:
        assert forecast(session, unit.module, ROWS, unit.entry, Assignment(), tmp_path) is None
    with Session(model="firefly", engine="naive") as session:
        assert forecast(session, unit.module, ROWS, unit.entry, Assignment(), tmp_path) is None


def encode(text: str) -> list[int]:
    return list(text.encode())


def test_guesses_are_of_the_declared_length_and_learn(unit: Unit) -> None:
    bounds = bind_predictors(unit.module)
    declared, ids = guessed(bounds["note"], str.split)  # type: ignore[arg-type]
    assert len(declared["note"].split()) == 12
    assert len(ids) > 12
    known = Known(10, 400)
    _, ids = guessed(bounds["note"], encode, known)
    assert len(ids) == pytest.approx(40, abs=8)
    for _ in range(9):
        known.see(bounds["sort"], {"kind": "order"})
    known.see(bounds["sort"], {"kind": "question"})
    guesses = Guesses(bounds, encode, lambda bound: known if bound.name == "sort" else Known())
    calls = [ModelCall(None, None, 0, (i,), node="sort") for i in range(200)]  # type: ignore[arg-type]
    kinds = [bytes(guesses.tokens(call)).decode() for call in calls]
    orders = sum("order" in kind for kind in kinds)
    assert 150 < orders < 200
    assert not any("complaint" in kind for kind in kinds)
    assert guesses.tokens(calls[3]) == guesses.tokens(calls[3])
    assert guesses.tokens(ModelCall(None, None, 0, (1,), node="unknown")) == ()  # type: ignore[arg-type]


def test_answers_are_read_back_as_they_were_guessed(unit: Unit) -> None:
    from lampc.ir.adapters import adapter

    for bound in bind_predictors(unit.module).values():
        values, _ = guessed(bound, encode)
        assert adapter(bound.layout).parse(bound.signature, answer_text(bound, values)) == values


def test_experience_survives_its_file(unit: Unit, tmp_path: Path) -> None:
    bound = bind_predictors(unit.module)["sort"]
    first = Experience(tmp_path)
    known = first.meet(bound, "m")
    known.calls, known.tokens = 4, 12
    known.see(bound, {"kind": "order"})
    known.see(bound, {"kind": ["a", "b", "c"]})
    first.save()
    again = Experience(tmp_path).of(bound, "m")
    assert (again.mean, again.options["kind"]["order"], again.items("kind")) == (3.0, 1, 3)
    assert Experience(tmp_path).of(bound, "other").mean is None
    first.path.write_text(json.dumps({"x": [1]}))
    assert Experience(tmp_path).of(bound, "m").mean is None
