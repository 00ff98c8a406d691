"""Train jobs on the bundled model: scores rise, adapters are files that serve anywhere, stops cost little."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lampc.ir import Assignment, Obj, freeze
from lampc.passes.optimize import TracedCall, TrainJob, TrainResult
from lampc.runtime.events import Event
from lampc.runtime.saved import save
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.training import train
from lampc.runtime.types import Row
from tests.runtime.tuning import unit

KINDS = {"red": "warm", "green": "cold", "blue": "cold", "yellow": "warm"}
WORDS = ("dog", "cat", "house", "tree", "road", "moon", "sun", "car")
ROWS = [Row(f"{w}-{c}", {"text": f"the {w} is {c}"}, {"label": k}, "", 0) for w in WORDS for c, k in KINDS.items()]
LEARN, TEST = ROWS[:20], ROWS[20:]
CALLS = tuple(TracedCall("p", freeze(dict(r.inputs)), freeze(dict(r.labels))) for r in LEARN)
OPTIONS = {"learning_rate": 3e-3, "num_train_epochs": 10}


def job(options: dict[str, Any] = OPTIONS, calls: tuple[TracedCall, ...] = CALLS, model: str = "main") -> TrainJob:
    return TrainJob(Assignment(), model, calls, freeze(options))


def trained(session: Session, options: dict[str, Any] = OPTIONS) -> TrainResult:
    result = train(session, unit().module, job(options))
    assert result.error is None, result.error
    return result


def candidate(result: TrainResult) -> Assignment:
    return Assignment().updated(**{"p.model": result.model})


def answers(session: Session, assignment: Assignment) -> list[Any]:
    outcomes = session.run(unit(), TEST, assignment=assignment)
    return [o.value["label"] if o.error is None and o.value is not None else None for o in outcomes]


def score(found: list[Any]) -> float:
    return sum(a == r.labels["label"] for a, r in zip(found, TEST, strict=True)) / len(TEST)


def test_the_score_rises_and_a_fresh_process_gives_the_same_answers(tmp_path: Path) -> None:
    told: list[Event] = []
    with Session(model="firefly", store=Store(tmp_path / "a.store")) as session:
        session.bus.subscribe(told.append)
        before = answers(session, Assignment())
        result = trained(session)
        after = answers(session, candidate(result))
        assert answers(session, Assignment()) == before  # the model itself is what it was
    assert score(before) < 0.5
    assert score(after) >= 0.9
    steps = [e.data for e in told if e.kind == "progress" and e.data["label"] == "train firefly"]
    assert [s["done"] for s in steps] == list(range(1, 31))
    assert {s["total"] for s in steps} == {30}
    assert result.report["last_loss"] < result.report["first_loss"] / 5
    saved = tmp_path / "tuned.lampc"
    save(saved, unit(), candidate(result))
    assert result.model in saved.read_text(encoding="utf-8")
    code = (
        "import json, sys; from pathlib import Path; from lampc.runtime.saved import load_saved;"
        "from lampc.runtime.session import Session; from tests.runtime.test_training import answers;"
        "s = load_saved(Path(sys.argv[1])); print(json.dumps(answers(Session(), s.assignment)))"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == after


def test_a_finished_adapter_is_found_and_further_training_begins_there(tmp_path: Path) -> None:
    few = {**OPTIONS, "max_steps": 4}
    with Session(model="firefly", store=Store(tmp_path / "a.store")) as session:
        first = trained(session, few)
        told: list[Event] = []
        session.bus.subscribe(told.append)
        assert trained(session, few) == first
        assert trained(session, {**few, "save_steps": 1}) == first  # when checkpoints are due changes nothing
        assert not told
        again = train(session, unit().module, job(few, model=first.model))
        assert again.error is None
        assert again.model != first.model
        assert again.report["first_loss"] < first.report["first_loss"]
        assert again.report["base"] == "firefly"
        named = trained(session, {**few, "output_dir": str(tmp_path / "mine")})
        assert named.model == str(tmp_path / "mine")
        other = train(session, unit().module, job({**few, "seed": 1, "output_dir": str(tmp_path / "mine")}))
        assert other.error is not None
        assert "something else is there; give another output_dir" in other.error


def test_programs_send_what_was_trained() -> None:
    from lampc.ir.adapters import bind_predictors
    from lampc.runtime.training.rendering import pairs_of

    sent: list[tuple[int, ...]] = []
    with Session(model="firefly") as session:
        model = session.models.get("main").model
        original = model.submit
        model.submit = lambda calls: (sent.extend(c.ids for c in calls), original(calls))[1]  # type: ignore[method-assign, func-returns-value]
        shown = Assignment().updated(**{"p.instruction": "Say warm or cold."})
        session.run(unit(), LEARN, assignment=shown)
        pairs = pairs_of(CALLS, bind_predictors(unit().module, shown), model.target)  # type: ignore[arg-type]
        assert {p.prompt for p in pairs} == set(sent)
        tokens = model.target.tokens
        assert tokens is not None
        assert {tokens.decode(list(p.answer), skip_special=False).strip() for p in pairs} == {
            "label: warm<|end|>",
            "label: cold<|end|>",
        }


def test_what_cannot_be_trained_is_said() -> None:
    from lampc.backend import load_engine
    from lampc.runtime.pool import firefly_folder
    from tests.runtime.tuning import engine

    def error(source: Any, given: TrainJob, **options: Any) -> str:
        with Session(model=source, model_options=options) as session:
            result = train(session, unit().module, given)
        assert result.error is not None
        return result.error

    assert "is an endpoint and cannot be trained" in error("http://127.0.0.1:9/v1", job(), model="m")
    assert "given as an engine" in error(engine(), job())
    assert "given as an engine" in error(load_engine(firefly_folder(), weight_dtype="int8", kv_tokens=256), job())
    assert "there are no calls to train `main` on" in error("firefly", job(calls=()))
    assert "has no option 'epochs'" in error("firefly", job({"epochs": 3}))
    failed = TracedCall("p", Obj({"text": "x"}), Obj(), error="it broke")
    assert "has no answer (it broke)" in error("firefly", job(calls=(failed,)))
    stranger = TracedCall("q", Obj({"text": "x"}), Obj({"label": "y"}))
    assert "is of `q`; the program has p" in error("firefly", job(calls=(stranger,)))


def test_an_adapter_whose_model_is_not_here_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/model"}')
    with Session(model=str(folder)) as session, pytest.raises(Exception, match="an adapter for somebody/model, and"):
        session.models.get("main")


def test_an_interrupted_training_goes_on_from_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lampc.backend.training import Trainer

    options = {**OPTIONS, "max_steps": 8, "save_steps": 3}
    made: list[int] = []
    step = Trainer._step

    def interrupted(self: Trainer, number: int) -> float:
        if number == 5 and 5 not in made:
            made.append(5)
            raise KeyboardInterrupt
        made.append(number)
        return step(self, number)

    monkeypatch.setattr(Trainer, "_step", interrupted)
    found = []
    for place in ("cut", "whole"):
        with Session(model="firefly", store=Store(tmp_path / place / "a.store")) as session:
            if place == "cut":
                with pytest.raises(KeyboardInterrupt):
                    trained(session, options)
            found.append(Path(trained(session, options).model) / "adapter_model.safetensors")
    assert made == [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, *range(8)]
    assert found[0].read_bytes() == found[1].read_bytes()


KILLED = """
import sys
from pathlib import Path
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from tests.runtime.test_training import trained
with Session(model="firefly", store=Store(Path(sys.argv[1]) / "a.store")) as session:
    session.bus.subscribe(lambda e: e.kind == "progress" and print(e.data["done"], flush=True))
    print(trained(session, {"max_steps": 12, "save_steps": 3}).model)
"""


def run_killed(folder: Path, kill_at: int) -> list[str]:
    """Lines of a training that is killed after so many steps, if that is not 0."""
    ran = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True)
    assert ran.stdout is not None
    lines = []
    for line in ran.stdout:
        lines.append(line.strip())
        if lines[-1] == str(kill_at):
            time.sleep(0.01 * kill_at)
            os.kill(ran.pid, signal.SIGKILL)
            break
    ran.wait(timeout=60)
    ran.stdout.close()
    return lines


@pytest.mark.slow
def test_a_kill_costs_the_steps_since_the_last_checkpoint_and_changes_nothing(tmp_path: Path) -> None:
    whole = run_killed(tmp_path / "whole", 0)
    assert whole[:-1] == [str(i) for i in range(1, 13)]
    run_killed(tmp_path / "cut", 5)
    second = run_killed(tmp_path / "cut", 0)
    assert 4 <= int(second[0]) <= 7  # from 3, or from 6 if the kill came late
    files = [Path(p) / "adapter_model.safetensors" for p in (whole[-1], second[-1])]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(p.name for p in (tmp_path / "cut" / "adapters").iterdir()) == [Path(second[-1]).name]
