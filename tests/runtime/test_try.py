"""`prog.try`: what fails in it does not fail the row, in the interpreter and in the executor alike."""

from __future__ import annotations

import random
from typing import Any

import pytest

from lampc.backend import FakeEngine
from lampc.ir import Module, parse_module, print_module
from lampc.runtime.failures import RowFailure
from lampc.runtime.interp import interpret
from lampc.runtime.session import Session
from lampc.runtime.types import Row
from tests.runtime.programs import module, predict

NUMBER = f"""%p = prog.predict(%text) {predict("0", "temperature = 0.9, max_tokens = 12")} : ({{label: str}})
             %l = prog.field(%p) {{field = "label"}} : (str)
             %n = prog.apply(%l) {{fn = "len"}} : (int)"""


def both(program: Module, text: str, row: str = "0") -> tuple[Any, Any]:
    """(value or message) in the interpreter, then in the executor."""
    with Session(model=FakeEngine()) as session:
        try:
            wanted: Any = interpret(program, {"text": text}, runner=session.runner(program), row=row)
        except RowFailure as e:
            wanted = e.message
    with Session(model=FakeEngine()) as session:
        (outcome,) = session.run(program, [Row(row, {"text": text})])
    assert outcome.usage.calls >= 0
    return wanted, outcome.error.message if outcome.error else outcome.value


ATTEMPTS = module(
    f"""%numbers = prog.const() {{type = !list[int], value = [0, 1, 2, 3, 4, 5]}} : (list[int])
        %rows = prog.map(%numbers) do (%x: int, %i: int) {{
          %v, %e = prog.try() do () {{
            {NUMBER}
            %m = prog.apply(%n, %x) {{fn = "add"}} : (int)
            %two = prog.const() {{type = !int, value = 3}} : (int)
            %rest = prog.apply(%m, %two) {{fn = "mod"}} : (int)
            %odd = prog.apply(%rest) {{fn = "bool"}} : (bool)
            prog.assert(%odd) {{message = "a third"}} : ()
            prog.yield(%m) : ()
          }} : (int, opt[str])
          %row = prog.pack(%v, %e) {{names = ["n", "error"]}} : ({{n: int, error: opt[str]}})
          prog.yield(%row) : ()
        }} : (list[{{n: int, error: opt[str]}}])
        %ns = prog.field(%rows) {{field = "n"}} : (list[int])
        %bound = prog.const() {{type = !int, value = 100}} : (int)
        %best = prog.apply(%ns, %bound) {{fn = "best"}} : (int)
        %r = prog.pack(%rows, %best) {{names = ["rows", "best"]}} :
          ({{rows: list[{{n: int, error: opt[str]}}], best: int}})
        prog.return(%r) : ()""",
    returns="{rows: list[{n: int, error: opt[str]}], best: int}",
)


def test_attempts_fail_alone() -> None:
    wanted, got = both(ATTEMPTS, "some words")
    assert got == wanted
    errors = [r["error"] for r in got["rows"]]
    assert set(errors) == {None, "a third"}
    assert all((r["n"] is None) == (r["error"] == "a third") for r in got["rows"])
    assert got["rows"][got["best"]]["n"] == max(r["n"] for r in got["rows"] if r["n"] is not None)


def test_the_text_form_goes_round() -> None:
    text = print_module(ATTEMPTS)
    assert print_module(parse_module(text)) == text


class Maker:
    """Random programs of tries, maps, loops and branches in which assertions fail."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.n = 0

    def name(self) -> str:
        self.n += 1
        return f"%v{self.n}"

    def block(self, depth: int, value: str, counter: str) -> tuple[str, str]:
        """(ops, name of an int) computed from an int and a loop's index."""
        out, lines = value, []
        for _ in range(self.random.randint(1, 3)):
            text, out = self.op(depth, out, counter)
            lines.append(text)
        return "\n".join(lines), out

    def op(self, depth: int, value: str, counter: str) -> tuple[str, str]:
        r, out = self.random, self.name()
        kind = r.choice(["call", "fail", "add", "try", "map", "loop"] if depth else ["call", "fail", "add"])
        if kind == "call":
            p, field = self.name(), self.name()
            key = predict(str(self.n), "temperature = 0.8, max_tokens = 8")
            text = f"""{p} = prog.predict(%text) {key} : ({{label: str}})
                {field} = prog.field({p}) {{field = "label"}} : (str)
                {out} = prog.apply({field}) {{fn = "len"}} : (int)"""
            more, total = self.add(out, value)
            return text + "\n" + more, total
        if kind == "add":
            return self.add(value, counter)
        if kind == "fail":
            bound, ok = self.name(), self.name()
            n = r.randint(1, 12)
            text = f"""{bound} = prog.const() {{type = !int, value = {n}}} : (int)
                {out} = prog.apply({value}, {bound}) {{fn = "mod"}} : (int)
                {ok} = prog.apply({out}) {{fn = "bool"}} : (bool)
                prog.assert({ok}) {{message = "{self.n}"}} : ()"""
            return text, value
        body, last = self.block(depth - 1, value, counter)
        if kind == "try":
            error, seven = self.name(), self.name()
            text = f"""{out}, {error} = prog.try() do () {{ {body}\nprog.yield({last}) : () }} : (int, opt[str])"""
            none, value2 = self.name(), self.name()
            text += f"""\n{seven} = prog.const() {{type = !int, value = 7}} : (int)
                {none} = prog.apply({out}, {seven}) {{fn = "coalesce"}} : (int)
                {value2} = prog.apply({none}, {seven}) {{fn = "add"}} : (int)"""
            return text, value2
        index, item = self.name(), self.name()
        inner, inner_last = self.block(depth - 1, item, index)
        if kind == "map":
            items, listed = self.name(), self.name()
            text = f"""{items} = prog.const() {{type = !list[int], value = [3, 4, 5]}} : (list[int])
                {listed} = prog.map({items}) do ({item}: int, {index}: int) {{ {inner}
                  prog.yield({inner_last}) : () }} : (list[int])
                {out} = prog.apply({listed}) {{fn = "sum"}} : (int)"""
            return text, out
        stop = self.name()
        text = f"""{out} = prog.loop({value}) {{max = 3}} do ({item}: int, {index}: int) {{ {inner}
              {stop} = prog.const() {{type = !bool, value = false}} : (bool)
              prog.next({stop}, {inner_last}) : () }} : (int)"""
        return text, out

    def add(self, a: str, b: str) -> tuple[str, str]:
        out = self.name()
        return f"""{out} = prog.apply({a}, {b}) {{fn = "add"}} : (int)""", out

    def program(self) -> Module:
        body, last = self.block(3, "%start", "%start")
        return module(
            f"""%start = prog.apply(%text) {{fn = "len"}} : (int)
                {body}
                %r = prog.pack({last}) {{names = ["n"]}} : ({{n: int}})
                prog.return(%r) : ()""",
            returns="{n: int}",
        )


@pytest.mark.parametrize("seed", range(60))
def test_random_programs_mean_the_same_in_both(seed: int) -> None:
    program = Maker(seed).program()
    wanted, got = both(program, "word " * (seed % 5 + 1), str(seed))
    assert got == wanted
