"""`prog.*`: what a program means. Typed LM calls, retrieval, tools, Python, and structured control flow."""

from __future__ import annotations

from lampc.ir.attrs import Attr, Obj, Symbol
from lampc.ir.builtins import result_type
from lampc.ir.content import DemoSet as Demos
from lampc.ir.content import Field, HostRef, Key, Sampling, Signature
from lampc.ir.core import Op
from lampc.ir.define import Bodies, Body, Operand, Operands, Result, Results, op
from lampc.ir.effects import EFFECTS, Trait
from lampc.ir.types import ANY, BOOL, INT, STR, Choice, ListOf, Record, Type, assignable, join

# -- definitions --------------------------------------------------------------------------------------


@op("prog.func", traits=[Trait.DEFINITION])
class Func(Op):
    """A function `@name`: a region whose arguments are the parameters; ends in `prog.return`."""

    returns: Type
    doc: str = ""
    body: Body

    def check(self) -> list[str]:
        end = self.body.terminator
        if not isinstance(end, Return):
            return ["a function ends with `prog.return`"]
        if not assignable(end.value.type, self.returns):
            return [f"returns {end.value.type}, declared {self.returns}"]
        return []


@op("prog.def_predictor", traits=[Trait.DEFINITION])
class DefPredictor(Op):
    """A predictor `@name` and the starting values of its parameters.

    `layout` names an adapter (`compact`, `chat`); `frozen` lists parameters that no optimizer may change.
    """

    signature: Signature
    demos: Demos = Demos()
    layout: str = "compact"
    model: Symbol = Symbol("main")
    sampling: Sampling = Sampling()
    frozen: tuple[str, ...] = ()


@op("prog.def_model", traits=[Trait.DEFINITION])
class DefModel(Op):
    """A model `@name`: `kind` is `engine` (a checkpoint folder or `firefly`) or `endpoint` (a URL)."""

    kind: str = "engine"
    source: str = "firefly"
    options: Obj = Obj()


@op("prog.def_retriever", traits=[Trait.DEFINITION])
class DefRetriever(Op):
    """A retriever `@name` over the rows of `source` (JSONL or CSV); `field` is what is searched and returned."""

    kind: str = "bm25"
    source: str
    field: str = "text"
    k: int = 3


@op("prog.def_tool", traits=[Trait.DEFINITION])
class DefTool(Op):
    """A tool `@name`: a Python function with declared types and effect."""

    ref: HostRef
    params: tuple[Field, ...] = ()
    returns: Type = ANY
    effect: str = "effect"


@op("prog.def_tune", traits=[Trait.DEFINITION])
class DefTune(Op):
    """A parameter `@name` of the program that an optimizer may choose out of `choices`."""

    type: Type
    default: Attr
    choices: tuple[Attr, ...]


# -- values -------------------------------------------------------------------------------------------


@op("prog.const", traits=[Trait.PURE])
class Const(Op):
    """A constant."""

    value: Attr
    type: Type
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (self.type,)


@op("prog.tune", traits=[Trait.PURE])
class Tune(Op):
    """The value of the parameter `@of` under the candidate that runs."""

    of: Symbol
    type: Type
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (self.type,)


@op("prog.field", traits=[Trait.PURE])
class FieldOf(Op):
    """A field of a record; of a list of records, the list of that field (a column)."""

    record: Operand
    field: str
    out: Result

    def infer(self) -> tuple[Type, ...]:
        t = self.record.type
        if isinstance(t, Record):
            return (t.get(self.field) or ANY,)
        if isinstance(t, ListOf) and isinstance(t.item, Record):
            return (ListOf(t.item.get(self.field) or ANY),)
        return (ANY,)

    def check(self) -> list[str]:
        t = self.record.type
        item = t.item if isinstance(t, ListOf) else t
        if isinstance(item, Record) and item.fields and item.get(self.field) is None:
            return [f"{t} has no field `{self.field}`"]
        if not isinstance(item, Record) and item != ANY:
            return [f"{t} has no fields"]
        return []


@op("prog.pack", traits=[Trait.PURE])
class Pack(Op):
    """A record of the operands, named in order."""

    names: tuple[str, ...]
    values: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (Record(tuple((n, v.type) for n, v in zip(self.names, self.values, strict=False))),)

    def check(self) -> list[str]:
        return [] if len(self.names) == len(self.values) else ["as many names as operands are needed"]


@op("prog.list", traits=[Trait.PURE])
class MakeList(Op):
    """A list of the operands."""

    items: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (ListOf(join([v.type for v in self.items])),)


@op("prog.apply", traits=[Trait.PURE])
class Apply(Op):
    """A built-in function of values (`lampc.ir.builtins`): arithmetic, comparison, strings, lists."""

    fn: str
    args: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (result_type(self.fn, [v.type for v in self.args]),)


# -- calls --------------------------------------------------------------------------------------------


@op("prog.predict", traits=[Trait.SAMPLES])
class Predict(Op):
    """Ask a model to fill the outputs of a predictor's signature. Operands follow the signature's inputs.

    `sampling` stands here, not in the definition, so that equal calls can be told from unequal ones.
    """

    predictor: Symbol
    signature: Signature
    sampling: Sampling = Sampling()
    key: Key
    inputs: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (self.signature.record(),)

    def check(self) -> list[str]:
        fields = self.signature.inputs
        if len(fields) != len(self.inputs):
            return [f"{len(fields)} inputs declared, {len(self.inputs)} given"]
        return [
            f"input `{f.name}` is {f.type}, got {v.type}"
            for f, v in zip(fields, self.inputs, strict=True)
            if not assignable(v.type, f.type)
        ]


@op("prog.call", traits=[Trait.CALLS])
class Call(Op):
    """Call a function of this module. Its effect is taken to be any until the call is inlined."""

    callee: Symbol
    key: Key
    returns: Type
    effect: str = "effect"
    args: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (self.returns,)


@op("prog.retrieve", traits=[Trait.PURE])
class Retrieve(Op):
    """The `k` best passages (second operand, else the retriever's own k) for a query: list[str]."""

    retriever: Symbol
    query: Operand
    rest: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (ListOf(STR),)


@op("prog.tool", traits=[Trait.CALLS])
class Tool(Op):
    """Call a tool. `effect` is copied from its definition."""

    tool: Symbol
    effect: str = "effect"
    returns: Type = ANY
    args: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (self.returns,)

    def check(self) -> list[str]:
        return [] if self.effect in EFFECTS else [f"effect is one of {', '.join(EFFECTS)}"]


@op("prog.py", traits=[Trait.CALLS])
class Py(Op):
    """Call a Python function with these values; operands after the first `positional` are keywords."""

    ref: HostRef
    effect: str = "effect"
    returns: Type = ANY
    keywords: tuple[str, ...] = ()
    args: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (self.returns,)

    def check(self) -> list[str]:
        return [] if self.effect in EFFECTS else [f"effect is one of {', '.join(EFFECTS)}"]


# -- control flow -------------------------------------------------------------------------------------


@op("prog.map", traits=[Trait.PURE])
class Map(Op):
    """Run the region for every item, in any order. Region arguments: the item, its index.

    The region ends in `prog.yield(value)` or, to filter, `prog.yield(value, keep)`. Calls inside are
    keyed by the index, so the result does not depend on the order. Pure itself; its body may not be.
    """

    items: Operand
    body: Body
    out: Result

    def infer(self) -> tuple[Type, ...] | None:
        end = self.body.terminator
        return (ListOf(end.operands[0].type),) if end and end.operands else None

    def check(self) -> list[str]:
        end = self.body.terminator
        if not isinstance(end, Yield) or len(end.values) not in (1, 2):
            return ["the region of a map ends with `prog.yield` of a value and perhaps a keep flag"]
        if len(self.body.args) != 2:
            return ["the region of a map takes the item and its index"]
        return []


@op("prog.loop", traits=[Trait.PURE])
class Loop(Op):
    """Run the region at least once and at most `max` times, carrying values.

    Region arguments: the carried values, then the iteration's index. The region ends in
    `prog.next(stop, carried..., visible...)`; results are the carried values, then the visible ones, as
    of the last iteration.
    """

    max: int
    init: Operands
    body: Body
    outs: Results

    def infer(self) -> tuple[Type, ...] | None:
        end = self.body.terminator
        return tuple(v.type for v in end.operands[1:]) if end and end.operands else None

    def check(self) -> list[str]:
        end = self.body.terminator
        if not isinstance(end, Next):
            return ["the region of a loop ends with `prog.next`"]
        found = []
        if self.max < 1:
            found.append("`max` is at least 1")
        if len(self.body.args) != len(self.init) + 1:
            found.append("the region of a loop takes the carried values and the index")
        elif len(end.values) < len(self.init):
            found.append(f"{len(self.init)} values are carried, {len(end.values)} passed on")
        else:
            found += [
                f"carried value {i} is {arg.type}, got {v.type}"
                for i, (arg, v) in enumerate(zip(self.body.args, end.values, strict=False))
                if i < len(self.init) and not assignable(v.type, arg.type)
            ]
        return found


@op("prog.if", traits=[Trait.PURE])
class If(Op):
    """Run one of two regions; each ends in `prog.yield` of as many values as there are results."""

    condition: Operand
    then: Body
    orelse: Body
    outs: Results

    def infer(self) -> tuple[Type, ...] | None:
        return _joined(self)

    def check(self) -> list[str]:
        return _arms(self)


@op("prog.match", traits=[Trait.PURE])
class Match(Op):
    """Run the region whose case equals the value; with one region more than cases, the last is the default."""

    value: Operand
    cases: tuple[Attr, ...]
    arms: Bodies
    outs: Results

    def infer(self) -> tuple[Type, ...] | None:
        return _joined(self)

    def check(self) -> list[str]:
        found = _arms(self)
        if len(self.arms) not in (len(self.cases), len(self.cases) + 1):
            found.append(f"{len(self.cases)} cases, {len(self.arms)} regions")
        t = self.value.type
        if isinstance(t, Choice) and len(self.arms) == len(self.cases):
            found += [f"case {o!r} is not handled" for o in t.options if o not in self.cases]
        return found


@op("prog.vote", traits=[Trait.PURE])
class Vote(Op):
    """The most frequent item of a list; the earliest of those that tie."""

    items: Operand
    out: Result

    def infer(self) -> tuple[Type, ...]:
        t = self.items.type
        return (t.item if isinstance(t, ListOf) else ANY,)


@op("prog.argmax", traits=[Trait.PURE])
class Argmax(Op):
    """Index of the largest item of a list; the earliest of those that tie."""

    items: Operand
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (INT,)


@op("prog.assert", traits=[])
class Assert(Op):
    """Fail the row with `message` if the condition does not hold."""

    message: str = "assertion failed"
    condition: Operand


@op("prog.return", traits=[Trait.TERMINATOR])
class Return(Op):
    """Give back the value of the function."""

    value: Operand


@op("prog.yield", traits=[Trait.TERMINATOR])
class Yield(Op):
    """Give values to the enclosing op."""

    values: Operands


@op("prog.next", traits=[Trait.TERMINATOR])
class Next(Op):
    """End an iteration: whether to stop, the carried values, the values visible after the loop."""

    stop: Operand
    values: Operands

    def check(self) -> list[str]:
        return [] if self.stop.type in (BOOL, ANY) else ["`stop` is a bool"]


def _joined(op: Op) -> tuple[Type, ...] | None:
    ends = [r.terminator for r in op.regions]
    if any(e is None for e in ends):
        return None
    columns = zip(*([v.type for v in e.operands] for e in ends if e is not None), strict=False)
    return tuple(join(list(c)) for c in columns)


def _arms(op: Op) -> list[str]:
    found = []
    for i, region in enumerate(op.regions):
        end = region.terminator
        if not isinstance(end, Yield):
            found.append(f"region {i} ends with `prog.yield`")
        elif len(end.values) != len(op.results):
            found.append(f"region {i} yields {len(end.values)} values, {len(op.results)} are wanted")
        if region.args:
            found.append(f"region {i} takes no arguments")
    return found


__all__ = [
    "Apply", "Argmax", "Assert", "Call", "Const", "DefModel", "DefPredictor",
    "DefRetriever", "DefTool", "DefTune", "FieldOf", "Func", "If", "Loop", "MakeList", "Map", "Match",
    "Next", "Pack", "Predict", "Py", "Retrieve", "Return", "Tool", "Tune", "Vote", "Yield",
]  # fmt: skip
