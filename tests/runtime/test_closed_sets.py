"""Labels of programs in one step: whatever a program's sets, layouts and draws are, the answers are the same."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from lampc.backend import load_engine
from lampc.ir import parse_module
from lampc.ir.adapters.constrained import closed_outputs
from lampc.ir.content import Field, Signature
from lampc.ir.kv import Generate
from lampc.ir.types import BOOL, INT, STR, Choice, ListOf, Maybe
from lampc.passes.table import STANDARD
from lampc.runtime.compile import Executable, lower
from lampc.runtime.pool import firefly_folder
from lampc.runtime.session import Session
from lampc.runtime.types import Row

WORDS = ("very", "good", "bad", "billing", "refund", "invoice", "tech", "login", "other", "Mathematical", "Physics")
ROWS = [Row(str(i), {"text": f"message {i} is about a bill of {i * 7} that came twice"}) for i in range(4)]


def options(rng: random.Random) -> str:
    made = {" ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 3))) for _ in range(rng.randint(2, 7))}
    return f"!choice{json.dumps(sorted(made | {'very good', 'very bad'}))}"


def program(rng: random.Random, layout: str, temperature: float, n: int) -> Any:
    """A call, or `n` samples of it, whose outputs are labels and a truth value."""
    fields = [("kind", options(rng)), ("sure", "!bool"), ("tone", options(rng))]
    rng.shuffle(fields)
    outputs = ", ".join(f'#field<name = "{name}", type = {type_}>' for name, type_ in fields)
    record = "{" + ", ".join(f"{name}: {type_[1:]}" for name, type_ in fields) + "}"
    signature = (
        f'#signature<inputs = [#field<name = "text", type = !str>], outputs = [{outputs}], instruction = "Sort it.">'
    )
    sampling = f"#sampling<temperature = {temperature}, max_tokens = 200>"
    return parse_module(f"""module @test {{
      prog.def_predictor @p() {{signature = {signature}, layout = "{layout}"}} : ()
      prog.func @main() {{returns = !list[{record}]}} do (%text: str) {{
        %items = prog.const() {{value = {list(range(n))}, type = !list[int]}} : (list[int])
        %all = prog.map(%items) do (%item: int, %i: int) {{
          %r = prog.predict(%text) {{key = #key<path = ["p#0"]>, predictor = @p, signature = {signature},
            sampling = {sampling}}} : ({record})
          prog.yield(%r) : ()
        }} : (list[{record}])
        prog.return(%all) : ()
      }} : ()
    }}""")


def answers(module: Any, rows: int, pipeline: str = STANDARD) -> tuple[list[Any], int, int]:
    """Outcomes, steps of the engine, and calls that were marked."""
    engine: Any = load_engine(firefly_folder(), kv_tokens=1 << 14, branch_rows=rows)
    with Session(model=engine, seed=3) as session:
        made = session.executable(module, None)
        target = session.models.get("main", module).target
        found = Executable(lower(module, lambda _: target, None, pipeline), None)
        spot = next(key for key, value in session._executables.items() if value is made)
        session._executables[spot] = found
        marked = sum(bool(op.closed) for op in found.module.walk() if isinstance(op, Generate))
        outcomes = session.run(module, ROWS)
        engine.check()
        return [(o.value, str(o.error)) for o in outcomes], engine.stats().steps, marked


@pytest.mark.parametrize(
    ("layout", "temperature", "n"),
    [("chat", 1.0, 3), ("compact", 0.0, 1), ("json", 1.0, 2), ("xml", 0.0, 1)],
)
def test_with_the_pass_and_without_it_programs_answer_the_same(layout: str, temperature: float, n: int) -> None:
    rng = random.Random(f"{layout}{n}")
    module = program(rng, layout, temperature, n)
    mine, steps, marked = answers(module, 64)
    without, more, unmarked = answers(module, 64, STANDARD.replace("closed-sets,", ""))
    assert (marked, unmarked) == (1, 0)
    assert mine == without == answers(module, 0)[0]
    assert all(error == "None" for _, error in mine)
    assert steps <= more


def test_what_counts_as_closed() -> None:
    outputs = {
        "why": STR,
        "label": Choice(("x", "y")),
        "sure": BOOL,
        "maybe": Maybe(BOOL),
        "n": INT,
        "several": ListOf(BOOL),
        "nothing": Maybe(INT),
    }
    signature = Signature((Field("a", STR),), tuple(Field(name, type_) for name, type_ in outputs.items()))
    closed = ("label", "sure", "maybe")
    for layout in ("chat", "json", "baml", "compact", "xml"):
        assert closed_outputs(signature, layout) == closed
    assert closed_outputs(signature, "two_step") == ()
