"""`prog.*`: what a program means. Typed LM calls, retrieval, tools, Python, and structured control flow."""

from __future__ import annotations

from lampc.ir.attrs import Attr, Obj, Symbol
from lampc.ir.builtins import result_type
from lampc.ir.content import Cascade, Field, HostRef, Kept, Key, Part, Sampling, Signature
from lampc.ir.content import DemoSet as Demos
from lampc.ir.control import Argmax, Assert, If, Loop, Map, Match, Next, Return, Try, Vote, Yield
from lampc.ir.core import Op
from lampc.ir.define import Body, Operand, Operands, Result, op
from lampc.ir.effects import EFFECTS, Trait
from lampc.ir.types import ANY, FLOAT, INT, STR, ListOf, MapOf, Record, Type, assignable, join, possible

# -- definitions --------------------------------------------------------------------------------------


@op("prog.func", traits=[Trait.DEFINITION])
class Func(Op):
    """A function `@name`: a region whose arguments are the parameters; ends in `prog.return`.

    `defaults` are values, by name, of inputs that a row may leave out; they are taken as they stand.
    """

    returns: Type
    doc: str = ""
    defaults: Obj = Obj()
    body: Body

    def check(self) -> list[str]:
        end = self.body.terminator
        if not isinstance(end, Return):
            return ["a function ends with `prog.return`"]
        if not possible(end.value.type, self.returns):
            return [f"returns {end.value.type}, declared {self.returns}"]
        return []


@op("prog.def_predictor", traits=[Trait.DEFINITION])
class DefPredictor(Op):
    """A predictor `@name` and the starting values of its parameters.

    `layout` names an adapter (`compact`, `chat`); `frozen` lists parameters that no optimizer may change, `keep` is
    what stays in the prompt whatever instruction and demos are chosen, `cascade` a cheap model that is asked first. One
    that `joins` others has no parameters of its own: its instruction and demos are made of theirs.
    """

    signature: Signature
    demos: Demos = Demos()
    layout: str = "compact"
    model: Symbol = Symbol("main")
    sampling: Sampling = Sampling()
    frozen: tuple[str, ...] = ()
    keep: Kept = Kept()
    joins: tuple[Part, ...] = ()
    cascade: Cascade | None = None


@op("prog.def_model", traits=[Trait.DEFINITION])
class DefModel(Op):
    """A model `@name`: `kind` is `engine` (a checkpoint folder or `firefly`) or `endpoint` (a URL)."""

    kind: str = "engine"
    source: str = "firefly"
    options: Obj = Obj()


@op("prog.def_retriever", traits=[Trait.DEFINITION])
class DefRetriever(Op):
    """A retriever `@name` over the rows of `source` (JSONL or CSV); `field` is what is searched and returned.

    One of kind `bound` has no source: whoever runs the program says what is searched. `@name.k` and `@name.store`
    (another store, by name) are parameters.
    """

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
        return (t.item if isinstance(t, MapOf) else ANY,)

    def check(self) -> list[str]:
        t = self.record.type
        item = t.item if isinstance(t, ListOf) else t
        if isinstance(item, Record) and item.fields and item.get(self.field) is None:
            return [f"{t} has no field `{self.field}`"]
        if not isinstance(item, Record) and item != ANY and not isinstance(t, MapOf):
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
            if not assignable(v.type, f.type) and f.type != STR  # a prompt writes any value as text
        ]


@op("prog.continue", traits=[Trait.SAMPLES])
class Continue(Predict):
    """Ask a model to fill further outputs where an earlier call of it ended: its prompt, what it wrote, and then the
    task and the inputs of this call, as one more message. `after` is the answer of the earlier call."""

    predictor: Symbol
    signature: Signature
    sampling: Sampling = Sampling()
    key: Key
    after: Operand
    inputs: Operands
    out: Result

    def check(self) -> list[str]:
        found = super().check()
        if not isinstance(self.after.defining_op(), Predict):
            found.append("the first operand is the answer of a call")
        return found


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


FOUND = Record((("passages", ListOf(STR)), ("indices", ListOf(INT)), ("scores", ListOf(FLOAT))))
"""What a retrieval gives in detail."""


@op("prog.retrieve", traits=[Trait.PURE])
class Retrieve(Op):
    """The `k` best passages (second operand, else the retriever's own k) for a query: list[str].

    With `detail` a record of them, their places in the corpus, and their scores.
    """

    retriever: Symbol
    detail: bool = False
    query: Operand
    rest: Operands
    out: Result

    def infer(self) -> tuple[Type, ...]:
        return (FOUND if self.detail else ListOf(STR),)


@op("prog.tool", traits=[Trait.CALLS])
class Tool(Op):
    """Call a tool. `effect` is copied from its definition.

    With `observed` the only operand is a record of arguments by name, which are checked and cast as the tool
    declares them, and an error is a result too: the text that an agent is told.
    """

    tool: Symbol
    effect: str = "effect"
    returns: Type = ANY
    observed: bool = False
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


__all__ = [
    "Apply", "Argmax", "Assert", "Call", "Const", "DefModel", "DefPredictor",
    "DefRetriever", "DefTool", "DefTune", "FieldOf", "Func", "If", "Loop", "MakeList", "Map", "Match",
    "Next", "Pack", "Predict", "Py", "Retrieve", "Return", "Tool", "Try", "Tune", "Vote", "Yield",
]  # fmt: skip
