"""A run that is over is gone: it leaves nothing that only the garbage collector can give back."""

from __future__ import annotations

import gc
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lampc
from lampc.backend import FakeEngine, load_engine
from lampc.frontend.lmp import compile_lmp
from lampc.frontend.python import load_python
from lampc.ir import Module, Unit
from lampc.runtime.calling_off import RunControl
from lampc.runtime.pool import firefly_folder
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.runtime.test_ahead import ALWAYS, DESK
from tests.runtime.test_try import ATTEMPTS
from tests.runtime.test_votes import voting
from tests.serve.test_programs import DYNAMIC

TIMES = 6
TABLE = compile_lmp(
    """
signature Label(row: str) -> (group: str @max(4)) { \"\"\"Label the row.\"\"\" }
signature Say(text: str) -> (done: bool) { \"\"\"Say if it is done.\"\"\" }
module Table(text: str) -> (groups: list[str], turns: int) {
  use label = Predict(Label);
  use say = Predict(Say);
  let groups = map row in ["one", "two", text] { let named = label(row: row); yield named.group; };
  loop (count: 0) max 3 { let s = say(text: text); let more = count + 1; next (count: more) until s.done; }
  return (groups: groups, turns: count);
}
"""
)
GATHERED = """
import lampc


class Best(lampc.Module):
    def __init__(self) -> None:
        super().__init__()
        self.say = lampc.Predict("text -> word")

    def forward(self, text: str) -> lampc.Prediction:
        (text,) = list({**{}, **{t: 1 for t in [text]}})
        found = lampc.Parallel()([(self.say, {"text": text}), (self.say, {"text": text + "?"})])
        return lampc.Prediction(word=found[0].word)


program = Best()
"""
CODE: dict[str, tuple[str, bool]] = {
    "plain code": (DYNAMIC, True),
    "plain code that fails": (DYNAMIC.replace("total = 0", "total = int(text[0:0])"), False),
    "several at once": (GATHERED, True),
}
PROGRAMS: dict[str, Unit | Module] = {
    "arms begun ahead": compile_lmp(DESK),
    "votes": voting(5),
    "attempts": ATTEMPTS,
}


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def left(run: Callable[[], object]) -> Counter[str]:
    """Objects in cycles, by their types, that runs leave each time; threads of earlier tests may end meanwhile."""
    found = _left(run)
    for _ in range(2):
        if found:
            found &= _left(run)
    return found


def _left(run: Callable[[], object]) -> Counter[str]:
    for _ in range(3):
        run()
    gc.collect()
    gc.disable()
    for _ in range(TIMES):
        run()
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    gc.enable()
    found = Counter(type(o).__qualname__ for o in gc.garbage)
    gc.garbage.clear()
    return found


def running(session: Session, program: Unit | Module, hear: Any = None, **inputs: Any) -> Callable[[], object]:
    """Runs of other rows each time, so that nothing is answered from what is kept."""
    numbers = itertools.count()

    def run() -> bool:
        row = {"text": f"message {next(numbers)}", **inputs}
        with RunControl(hear).running():
            (outcome,) = session.run(program, [Row("0", {k: v for k, v in row.items() if v is not None})])
        return outcome.error is None

    return run


@pytest.mark.parametrize("name", PROGRAMS)
def test_compiled_programs(name: str) -> None:
    with Session(model=FakeEngine(), speculate=ALWAYS) as session:
        assert left(running(session, PROGRAMS[name])) == Counter()


def test_answers_that_cannot_be_read() -> None:
    with Session(model=FakeEngine()) as session:
        run = running(session, TABLE)
        assert not run()
        assert set(left(run)) <= {"cell", "function", "tuple"}, "those of `ast.literal_eval`, which refers to itself"


@pytest.mark.parametrize("hear", [None, lambda *_: None])
def test_rows_whose_context_is_planned(hear: Any) -> None:
    with Session(model=load_engine(firefly_folder(), kv_tokens=4096)) as session:
        run = running(session, TABLE, hear)
        assert run()
        assert left(run) == Counter()


def test_rows_that_fail() -> None:
    with Session(model=FakeEngine()) as session:
        run = running(session, TABLE, text=None)
        assert not run()
        assert left(run) == Counter()


@pytest.mark.parametrize("name", CODE)
def test_code(name: str, tmp_path: Path) -> None:
    source, works = CODE[name]
    file = tmp_path / "code.py"
    file.write_text(source, encoding="utf-8")
    unit = load_python(str(file))
    assert unit.dynamic is not None
    with Session(model="firefly") as session:
        run = running(session, unit)
        assert run() == works
        assert left(run) == Counter()


def test_calls_outside_of_runs() -> None:
    numbers = itertools.count()
    with lampc.context(lm=lampc.LM("firefly")):
        say = lampc.Predict("text -> word")
        assert left(lambda: say(text=f"message {next(numbers)}")) == Counter()
