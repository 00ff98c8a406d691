"""Every example program gives the same tokens however it is run: together or alone, in chunks or not, with
the prefix cache or without, on the paged engine, the naive one or in the reference interpreter, resumed or not."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from lampc.frontend.lmp import compile_lmp
from lampc.ir import Unit
from lampc.runtime.failures import RowFailure
from lampc.runtime.interp import interpret
from lampc.runtime.session import Session
from lampc.runtime.store import Store
from lampc.runtime.types import Row, TraceStep

EXAMPLES = Path(__file__).parents[2] / "examples"
WAYS: dict[str, dict[str, Any]] = {
    "one by one": {"max_live": 1},
    "without cache": {"prefix_cache": False},
    "in chunks": {"model_options": {"chunk": 16, "max_batch_tokens": 48}},
    "naive": {"engine": "naive"},
}
Results = list[tuple[Any, list[str]]]


def column(file: str, name: str, count: int) -> list[str]:
    with (EXAMPLES / "data" / file).open(encoding="utf-8", newline="") as f:
        return [row[name] for row in csv.DictReader(f)][:count]


def inputs_of(name: str) -> list[dict[str, Any]]:
    match name:
        case "01_classify":
            return [{"text": t} for t in column("01_tickets.csv", "text", 4)]
        case "02_reason":
            return [{"question": t} for t in column("02_stories.csv", "question", 3)]
        case "03_two_hop":
            return [{"question": t} for t in column("questions.csv", "question", 3)]
        case "04_table":
            rows = column("04_rows.csv", "row", 5)
            return [{"rows": rows[:3]}, {"rows": rows[2:]}, {"rows": []}]
        case "06_trade" | "07_continue":
            return [{"text": t} for t in column("01_tickets.csv", "text", 7)[4:]]
        case "05_branch_loop":
            return [{"text": t} for t in column("05_requests.csv", "text", 4)]
    raise KeyError(name)


NAMES = sorted(p.stem for p in EXAMPLES.glob("*.lmp"))


def unit_of(name: str) -> Unit:
    path = EXAMPLES / f"{name}.lmp"
    return compile_lmp(path.read_text(encoding="utf-8"), str(path))


def rows_of(name: str) -> list[Row]:
    return [Row(str(i), x) for i, x in enumerate(inputs_of(name))]


def run(name: str, **options: Any) -> Results:
    """Value (or error) and texts of all calls, row by row."""
    with Session(base=EXAMPLES, **options) as session:
        outcomes = session.run(unit_of(name), rows_of(name))
    return [(o.value if o.error is None else o.error.message, [s.text for s in o.trace]) for o in outcomes]


def reference(name: str, **options: Any) -> Results:
    """The same by the interpreter, one call at a time."""
    out: Results = []
    unit = unit_of(name)
    for row in rows_of(name):
        trace: list[TraceStep] = []
        with Session(base=EXAMPLES, **options) as session:
            try:
                value = interpret(
                    unit.module,
                    row.inputs,
                    entry=unit.entry,
                    runner=session.runner(unit.module),
                    row=row.id,
                    base=EXAMPLES,
                    trace=trace,
                )
            except RowFailure as e:
                value = e.message
        out.append((value, [s.text for s in trace]))
    return out


@pytest.mark.parametrize("name", NAMES)
def test_every_way_gives_the_same_tokens(name: str) -> None:
    wanted = run(name, model="firefly")
    for way, options in WAYS.items():
        assert run(name, model="firefly", **options) == wanted, way


@pytest.mark.parametrize("name", NAMES)
def test_the_interpreter_gives_the_same_values(name: str) -> None:
    executed, interpreted = run(name, model="firefly"), reference(name, model="firefly")
    assert [v for v, _ in executed] == [v for v, _ in interpreted]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_ends_the_same_and_repeats_no_call(name: str, tmp_path: Path) -> None:
    wanted = run(name, model="firefly")

    class Cut(Exception):
        pass

    class CutStore(Store):
        def put(self, *args: Any, **kwargs: Any) -> None:
            super().put(*args, **kwargs)
            if self.count("call") >= 2:
                raise Cut

    with CutStore(tmp_path / "s") as store, pytest.raises(Cut):
        run(name, model="firefly", store=store)
    with Store(tmp_path / "s") as store:
        before = store.count("call")
        assert before == 2
        with Session(base=EXAMPLES, model="firefly", store=store) as session:
            session.run(unit_of(name), rows_of(name))
            computed = session.usage.calls - session.usage.stored_calls
        assert store.count("call") == before + computed
        assert run(name, model="firefly", store=store) == wanted
