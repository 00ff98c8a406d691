"""Modules to draw: one with every kind of region, a broken one, and one as wide as wanted."""

from __future__ import annotations

from pathlib import Path

from lampc.ir import STR, Builder, Module, Op, Region, Symbol, parse_module
from lampc.ir.prog import Apply, Const, Func, If, MakeList, Map, Pack, Predict, Return, Yield
from lampc.ir.types import BOOL, ListOf, Record

_FILE = Path(__file__).parent / "files" / "triage.lir"


def triage() -> Module:
    return parse_module(_FILE.read_text(encoding="utf-8"))


def broken() -> Module:
    """An op nobody registered, a value nobody defines, a missing terminator, attributes left out."""
    module = Module("broken")
    func = Func((), {"returns": STR}, [Region([("x", STR)])], symbol="f")
    stranger = Const.make(value="lost", type=STR)  # never added to the module
    func.body.append(Op([stranger.result], {"odd": 1}, [Region()], [STR], op_name="prog.teleport"))
    func.body.append(Op((), {}, (), [], op_name="prog.nothing"))
    func.body.append(Predict(func.body.args, {"predictor": Symbol("nobody")}, (), [STR]))
    module.add(func)
    return module


def wide(n: int) -> Module:
    """A function with `n` maps that each hold a branch."""
    module = Module("wide")
    func = Func.make(
        regions=[Region([("xs", ListOf(STR))])], symbol="f", returns=Record((("out", ListOf(ListOf(STR))),))
    )
    at = Builder(func.body)
    yes = at.add(Const.make(value=True, type=BOOL)).result
    maps = []
    for _ in range(n):
        body = Region([("x", STR), ("i", STR)])
        inner = Builder(body)
        arms = [Region(), Region()]
        for arm in arms:
            Builder(arm).add(Yield.make(body.args[0]))
        inner.add(If.make(yes, regions=arms))
        inner.add(Yield.make(body.ops[-1].result))
        maps.append(at.add(Map.make(func.body.args[0], regions=[body])).result)
    packed = at.add(Pack.make(at.add(MakeList.make(*maps)).result, names=("out",)))
    at.add(Return.make(packed.result))
    module.add(func)
    return module


def chain(n: int) -> Module:
    """A function of `n` ops in a row, each of which also uses the input."""
    module = Module("chain")
    func = Func.make(regions=[Region([("x", STR)])], symbol="f", returns=Record((("out", STR),)))
    at, last = Builder(func.body), func.body.args[0]
    for i in range(n // 2):
        step = at.add(Const.make(value=f"step {i} ", type=STR))
        last = at.add(Apply.make(func.body.args[0], last, step.result, fn="concat")).result
    at.add(Return.make(at.add(Pack.make(last, names=("out",))).result))
    module.add(func)
    return module
