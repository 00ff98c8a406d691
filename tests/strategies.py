"""Hypothesis strategies for programs and modules.

`programs()` are verified modules that `tests.passes.twin` can run; `modules(level)` lowers them;
`broken_modules()` hold ops that no verifier would pass, for the printer.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from lampc.ir import Symbol, freeze, prog
from lampc.ir.content import DemoSet, Field, HostRef, Key, Sampling, Signature
from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.define import OPS, SPECS
from lampc.ir.types import BOOL, FLOAT, INT, STR, Choice, ListOf, Type
from lampc.passes import PassContext, Pipeline, RunOptions
from tests.content import Draw, attributes, demos_for, locations, names, texts, types, values_of, words
from tests.fakes import TEMPLATES, FakeTarget

LOG: list[Any] = []
"""What `log` was called with: effects, in order."""


def log(value: Any) -> Any:
    """A function with an effect."""
    LOG.append(value)
    return value


def shout(value: Any) -> Any:
    """A function without effects."""
    return str(value).upper()


_POOL: tuple[Signature, ...] = (
    Signature((Field("text", STR),), (Field("label", STR),), "Label it.", "Label"),
    Signature((Field("text", STR), Field("n", INT)), (Field("flag", BOOL), Field("words", ListOf(STR))), "Judge.", "J"),
    Signature((Field("texts", ListOf(STR)),), (Field("kind", Choice(("a", "b"))), Field("n", INT)), "Sort.", "Sort"),
)
_PURE: tuple[tuple[str, tuple[Type, ...], Type], ...] = (
    ("concat", (STR, STR), STR), ("lower", (STR,), STR), ("str", (INT,), STR), ("replace", (STR, STR, STR), STR),
    ("len", (STR,), INT), ("len", (ListOf(STR),), INT), ("add", (INT, INT), INT), ("mul", (INT, INT), INT),
    ("div", (INT, INT), FLOAT), ("mod", (INT, INT), INT), ("not", (BOOL,), BOOL), ("and", (BOOL, BOOL), BOOL),
    ("eq", (STR, STR), BOOL), ("lt", (INT, INT), BOOL), ("in", (STR, ListOf(STR)), BOOL),
    ("index", (ListOf(STR), INT), STR), ("split", (STR,), ListOf(STR)), ("unique", (ListOf(STR),), ListOf(STR)),
    ("join", (STR, ListOf(STR)), STR), ("add", (ListOf(STR), ListOf(STR)), ListOf(STR)), ("pow", (INT, INT), INT),
)  # fmt: skip
_VALUE_TYPES: tuple[Type, ...] = (STR, STR, INT, BOOL, ListOf(STR), Choice(("a", "b")))
_HERE = __name__


class _Writer:
    """Writes ops into regions, drawing what to write; `scope` are the values that can be used."""

    def __init__(self, draw: Draw, functions: list[prog.Func], greedy: bool) -> None:
        self.draw, self.functions, self.greedy = draw, functions, greedy
        self.sites = 0

    def key(self, name: str) -> Key:
        self.sites += 1
        return Key((f"{name}#{self.sites}",))

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def put(self, region: Region, op: Op, scope: list[Value]) -> Value:
        if op.results and self.draw(st.booleans()):
            op.results[0].hint = self.pick("x", "y", "x_1", "ünï", "")
        region.append(op)
        scope += op.results
        return op.results[0]

    def value(self, t: Type, region: Region, scope: list[Value]) -> Value:
        """A value of type `t`: one in scope, or a new constant."""
        known = [v for v in scope if v.type == t]
        known = [v for v in known if not isinstance(v.owner, prog.Const)] or known
        if known and self.pick(True, True, True, True, True, False):
            return known[-self.draw(st.integers(1, min(4, len(known))))]
        small = {STR: words, INT: st.integers(-1, 3), ListOf(STR): st.lists(words, max_size=3)}
        made = self.draw(small.get(t, values_of(t)))
        return self.put(region, prog.Const.make(value=freeze(made), type=t), scope)

    def body(self, region: Region, scope: list[Value], depth: int) -> list[Value]:
        """Write a few ops; gives the scope inside the region."""
        inner = [*scope, *region.args]
        for _ in range(self.draw(st.integers(1, 6 if depth else 3))):
            self.statement(region, inner, depth)
        return inner

    def statement(self, region: Region, scope: list[Value], depth: int) -> None:
        kinds = ["predict"] * 4 + ["apply"] * 2 + ["again"] * 2 + ["record", "list", "rare", "py"]
        kinds += ["if", "match", "map", "map", "loop", "loop", "call"] if depth else []
        getattr(self, self.draw(st.sampled_from(kinds)))(region, scope, depth)

    def again(self, region: Region, scope: list[Value], depth: int) -> None:
        """An op equal to one that stands above, if there is a simple one."""
        ops = [op for op in region.ops if not op.regions and op.results]
        ops = [op for op in ops if isinstance(op, prog.Predict)] or ops
        if not ops:
            return self.apply(region, scope, depth)
        copy = self.pick(*ops).clone({})
        if "key" in copy.attrs:
            copy.attrs["key"] = self.key("again")
        self.put(region, copy, scope)

    def apply(self, region: Region, scope: list[Value], depth: int) -> None:
        fn, params, result = self.pick(*_PURE)
        args = [self.value(t, region, scope) for t in params]
        self.put(region, prog.Apply.make(*args, fn=fn, types=[result]), scope)

    def predict(self, region: Region, scope: list[Value], depth: int) -> None:
        i = self.draw(st.integers(0, len(_POOL) - 1))
        signature = _POOL[i]
        args = [self.value(f.type, region, scope) for f in signature.inputs]
        hot = not self.greedy and self.pick(False, False, True)
        sampling = Sampling(temperature=0.7) if hot else Sampling()
        call = prog.Predict.make(
            *args, predictor=Symbol(f"p{i}"), signature=signature, sampling=sampling, key=self.key(f"p{i}")
        )
        record = self.put(region, call, scope)
        for f in signature.outputs:
            if self.draw(st.booleans()):
                self.put(region, prog.FieldOf.make(record, field=f.name), scope)

    def record(self, region: Region, scope: list[Value], depth: int) -> None:
        parts = [self.value(self.pick(*_VALUE_TYPES), region, scope) for _ in range(self.draw(st.integers(1, 3)))]
        made = self.put(region, prog.Pack.make(*parts, names=tuple("abc"[: len(parts)])), scope)
        self.put(region, prog.FieldOf.make(made, field="a"), scope)

    def list(self, region: Region, scope: list[Value], depth: int) -> None:
        items = [self.value(STR, region, scope) for _ in range(self.draw(st.integers(1, 3)))]
        made = self.put(region, prog.MakeList.make(*items), scope)
        if self.draw(st.booleans()):
            self.put(region, prog.Apply.make(made, self.value(INT, region, scope), fn="index", types=[STR]), scope)

    def rare(self, region: Region, scope: list[Value], depth: int) -> None:
        kind = self.pick("tune", "retrieve", "vote", "argmax", "assert")
        if kind == "tune":
            self.put(region, prog.Tune.make(of=Symbol("t"), type=INT), scope)
        elif kind == "retrieve":
            rest = [self.value(INT, region, scope)] if self.draw(st.booleans()) else []
            query = self.value(STR, region, scope)
            self.put(region, prog.Retrieve.make(query, *rest, retriever=Symbol("wiki")), scope)
        elif kind in ("vote", "argmax"):
            op = prog.Vote if kind == "vote" else prog.Argmax
            self.put(region, op.make(self.value(ListOf(STR), region, scope)), scope)
        else:
            region.append(prog.Assert.make(self.value(BOOL, region, scope), message="must hold"))

    def py(self, region: Region, scope: list[Value], depth: int) -> None:
        name, effect = self.pick(("shout", "pure"), ("log", "effect"))
        arg = self.value(STR, region, scope)
        self.put(region, prog.Py.make(arg, ref=HostRef(f"{_HERE}:{name}"), effect=effect, returns=STR), scope)

    def arm(self, scope: list[Value], types: list[Type], depth: int) -> Region:
        region = Region()
        inner = self.body(region, scope, depth - 1)
        region.append(prog.Yield.make(*[self.value(t, region, inner) for t in types]))
        return region

    def results(self) -> list[Type]:
        return [self.pick(*_VALUE_TYPES) for _ in range(self.draw(st.integers(0, 2)))]

    def add_all(self, region: Region, op: Op, scope: list[Value]) -> None:
        region.append(op)
        scope += op.results

    def if_(self, region: Region, scope: list[Value], depth: int) -> None:
        types = self.results()
        arms = [self.arm(scope, types, depth) for _ in range(2)]
        self.add_all(region, prog.If.make(self.value(BOOL, region, scope), regions=arms, types=types), scope)

    def match(self, region: Region, scope: list[Value], depth: int) -> None:
        types = self.results()
        value = self.value(self.pick(STR, INT, Choice(("a", "b"))), region, scope)
        cases = {STR: ("red", "a"), INT: (0, 1)}.get(value.type, ("a", "b"))
        arms = [self.arm(scope, types, depth) for _ in range(len(cases) + 1)]
        self.add_all(region, prog.Match.make(value, cases=cases, regions=arms, types=types), scope)

    def map(self, region: Region, scope: list[Value], depth: int) -> None:
        items = self.value(ListOf(STR), region, scope)
        inside = Region([("item", STR), ("i", INT)])
        inner = self.body(inside, scope, depth - 1)
        out = self.value(self.pick(*_VALUE_TYPES), inside, inner)
        keep = [self.value(BOOL, inside, inner)] if self.draw(st.booleans()) else []
        inside.append(prog.Yield.make(out, *keep))
        self.add_all(region, prog.Map.make(items, regions=[inside]), scope)

    def loop(self, region: Region, scope: list[Value], depth: int) -> None:
        carried, visible = self.results(), self.results()
        init = [self.value(t, region, scope) for t in carried]
        inside = Region([*(("c", t) for t in carried), ("i", INT)])
        inner = self.body(inside, scope, depth - 1)
        out = [self.value(t, inside, inner) for t in (*carried, *visible)]
        inside.append(prog.Next.make(self.value(BOOL, inside, inner), *out))
        self.add_all(region, prog.Loop.make(*init, max=self.draw(st.integers(1, 3)), regions=[inside]), scope)

    def call(self, region: Region, scope: list[Value], depth: int) -> None:
        if not self.functions:
            return self.apply(region, scope, depth)
        func = self.pick(*self.functions)
        args = [self.value(a.type, region, scope) for a in func.body.args]
        key = self.key(func.symbol)
        self.put(region, prog.Call.make(*args, callee=Symbol(func.symbol), key=key, returns=func.returns), scope)

    def function(self, symbol: str, depth: int) -> prog.Func:
        region = Region([("text", STR), ("items", ListOf(STR))])
        inner = self.body(region, [], depth)
        outs = [v for v in inner if isinstance(v.owner, Op) and not v.uses] or region.args
        outs = outs[-self.draw(st.integers(1, 9)) :]
        made = prog.Pack.make(*outs, names=tuple("abcdefghi"[: len(outs)]))
        region.append(made)
        region.append(prog.Return.make(made.result))
        return prog.Func.make(returns=made.result.type, regions=[region], symbol=symbol)


setattr(_Writer, "if", _Writer.if_)


@st.composite
def programs(draw: Draw, *, greedy: bool = False) -> Module:
    """Verified programs of text and items: `program`, the last function, may call one other."""
    module = Module("generated")
    module.add(prog.DefModel.make(symbol="main"))
    for i, signature in enumerate(_POOL):
        given = DemoSet(tuple(draw(st.lists(demos_for(signature), max_size=1))))
        layout = draw(st.sampled_from(["compact", "chat"]))
        module.add(prog.DefPredictor.make(signature=signature, demos=given, layout=layout, symbol=f"p{i}"))
    module.add(prog.DefTune.make(type=INT, default=1, choices=(1, 2), symbol="t"))
    module.add(prog.DefRetriever.make(source="wiki.jsonl", symbol="wiki"))
    functions: list[prog.Func] = []
    if draw(st.booleans()):
        functions.append(_Writer(draw, [], greedy).function("helper", 1))
    functions.append(_Writer(draw, functions[:], greedy).function("program", 2))
    for func in functions:
        module.add(func)
    return module


LEVELS = {"prog": "", "prompt": "lower-prompts", "kv": "inline,lower-prompts,lower-kv,share-prefix"}


@st.composite
def modules(draw: Draw, level: str) -> Module:
    """Verified modules of one level: `prog`, `prompt` or `kv`."""
    module: Module = draw(programs())
    target = FakeTarget(TEMPLATES[draw(st.sampled_from(sorted(TEMPLATES)))])
    Pipeline.parse(LEVELS[level]).run(module, PassContext(target), RunOptions(crash_dir=None))
    return module


@st.composite
def broken_modules(draw: Draw) -> Module:
    """Modules of ops with any name, attributes, operands from anywhere, and regions without ends."""
    module = Module(draw(texts), {n: draw(attributes) for n in draw(st.lists(names, max_size=1))})
    seen: list[Value] = []

    def op(depth: int) -> Op:
        regions = []
        for _ in range(draw(st.integers(0, 1 if depth else 0))):
            region = Region([(draw(texts), draw(types)) for _ in range(draw(st.integers(0, 2)))])
            seen.extend(region.args)
            for _ in range(draw(st.integers(0, 2))):
                region.append(op(depth - 1))
            regions.append(region)
        operands = draw(st.lists(st.sampled_from(seen), max_size=2)) if seen else []
        attrs = draw(st.dictionaries(names, st.one_of(attributes, st.just(object())), max_size=1))
        name = draw(st.sampled_from(["odd.op", "prog.return", "prog.yield", "prog.next", *sorted(OPS)]))
        known = [n for n, _, _ in SPECS[name].attributes] if name in SPECS else []
        attrs |= {n: draw(attributes) for n in known if draw(st.booleans())}
        results = draw(st.lists(types, max_size=2))
        made = object.__new__(OPS.get(name, Op))
        Op.__init__(made, operands, attrs, regions, results, symbol=draw(texts), loc=draw(locations), op_name=name)
        seen.extend(made.results)
        return made

    for _ in range(draw(st.integers(0, 3))):
        module.add(op(2))
    return module
