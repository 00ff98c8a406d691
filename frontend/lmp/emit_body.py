"""Functions of the IR back to statements of `.lmp`.

An op becomes part of an expression if its value is used once, further down in the same region, and if
compiling the expression would make the ops in the same order; every other value gets a `let` under the
name that the printer gives it (`_3` for a value without a name, which compiles to one without a name).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lampc.frontend.lmp import literals
from lampc.frontend.lmp.emit_text import (
    NotSayable,
    Part,
    arm_text,
    identifier,
    if_text,
    operator_text,
    paren,
    record_text,
    sampling_text,
    type_text,
)
from lampc.frontend.lmp.layout import LEVEL
from lampc.ir import Op, Region, Value, prog, thaw
from lampc.ir.harmless import harmless
from lampc.ir.text.printer import Namer
from lampc.ir.types import BOOL, type_of


@dataclass(slots=True)
class Names:
    """How a function's calls are written: names of predictors, callees and Python functions."""

    uses: dict[str, str]
    tunes: dict[str, str]
    hosts: Callable[[prog.Py], str]


@dataclass(slots=True)
class Pending:
    """An op that waits to become part of an expression: its text and how tightly that holds together."""

    value: Value
    text: str
    level: int
    literal: bool = False
    harmless: bool = True


class Writer:
    """Writes one function."""

    def __init__(self, func: Op, names: Names) -> None:
        self.func, self.names = func, names
        self.printed = Namer()
        self.called: dict[Value, str] = {}
        self._name_all(func)
        self.counts: dict[str, int] = {}

    def _name_all(self, op: Op) -> None:
        """Name values in the order in which the printer does."""
        for value in (*op.operands, *op.results):
            self.printed.name(value)
        for region in op.regions:
            for arg in region.args:
                self.printed.name(arg)
            for inner in region.ops:
                self._name_all(inner)

    def name(self, value: Value) -> str:
        if value in self.called:
            return self.called[value]
        text = self.printed.name(value)
        return f"_{text}" if text[0].isdigit() else identifier(text)


class _Lines:
    """One region being written."""

    def __init__(self, writer: Writer, region: Region) -> None:
        self.w, self.source = writer, region
        self.lines: list[str] = []
        self.pending: list[Pending] = []
        self.free: set[Value] = set()
        self.taken_harmless = True

    def run(self, ops: Sequence[Op]) -> None:
        for op in ops:
            self.op(op)

    def flush(self) -> None:
        """Give every waiting value a name."""
        for p in self.pending:
            kind = f": {type_text(p.value.type)}" if p.literal else ""
            self.lines.append(f"let {self.w.name(p.value)}{kind} = {p.text};")
        self.pending = []

    def take(self, values: Sequence[Value], *, literals_fold: bool = False) -> list[tuple[str, int]]:
        """Texts and levels of operands, in the order in which they are evaluated.

        Waiting values are used in place if compiling would make their ops in the order that they have;
        else all that waits gets names. With `literals_fold`, operands that are all literals get names too.
        """
        waiting = {p.value: p for p in self.pending}
        used = [waiting[v] for v in values if v in waiting]
        order = [p for p in used if not p.literal] + [p for p in used if p.literal]
        folds = literals_fold and bool(values) and len(used) == len(values) and all(p.literal for p in used)
        if folds or order != self.pending[len(self.pending) - len(order) :]:
            self.flush()
            self.taken_harmless = True
            return [(self.w.name(v), 10) for v in values]
        if order:
            del self.pending[-len(order) :]
        self.taken_harmless = all(p.harmless for p in order)
        return [(waiting[v].text, waiting[v].level) if v in waiting else (self.w.name(v), 10) for v in values]

    def texts(self, values: Sequence[Value], **how: bool) -> list[str]:
        return [t for t, _ in self.take(values, **how)]

    def give(self, op: Op, text: str, level: int, hint: str = "", *, literal: bool = False) -> None:
        """Let the single result of `op` wait, or bind it now."""
        value = op.result
        once = len(value.uses) == 1 and value.users[0].parent is self.source
        if (once or value in self.free) and value.hint == hint:
            self.pending.append(Pending(value, text, level, literal, self.taken_harmless and harmless(op)))
            return
        self.flush()
        if literal:
            self.lines.append(f"let {self.w.name(value)}: {type_text(value.type)} = {text};")
        elif (
            not value.uses
            and value.hint == hint == ""
            and isinstance(op, prog.Tool | prog.Py | prog.Call | prog.Predict)
        ):
            self.lines.append(f"{text};")
        else:
            self.lines.append(f"let {self.w.name(value)} = {text};")

    # -- ops ---------------------------------------------------------------------------------------

    def op(self, op: Op) -> None:
        match op:
            case prog.Const():
                self.constant(op)
            case prog.Tune():
                self.taken_harmless = True
                name = self.w.names.tunes[op.of.name]
                self.give(op, name, 10, name)
            case prog.FieldOf():
                ((text, level),) = self.take([op.record], literals_fold=True)
                self.give(op, f"{paren(text, level, 10)}.{identifier(op.field)}", 10, op.field)
            case prog.Pack():
                texts = self.texts(op.values, literals_fold=True)
                self.give(op, record_text(op.names, texts), 10)
            case prog.MakeList():
                if not op.items:
                    raise NotSayable("an empty `prog.list`", op)
                self.give(op, f"[{', '.join(self.texts(op.items, literals_fold=True))}]", 10)
            case prog.Apply():
                if op.fn in ("and", "or") and any(p.value is op.args[-1] and not p.harmless for p in self.pending):
                    self.flush()  # written in place it would run only where the left side leaves it open
                text, level = operator_text(op.fn, self.take(op.args, literals_fold=True))
                self.give(op, text, level)
            case prog.Vote() | prog.Argmax():
                word = "vote" if isinstance(op, prog.Vote) else "argmax"
                self.give(op, f"{word}({self.texts([op.items])[0]})", 10)
            case prog.Predict():
                self.predict(op)
            case prog.Call():
                self.key(op, op.callee.name)
                args = self.texts(op.args)
                params = [a.hint for a in self.callee(op).regions[0].args]
                self.give(op, f"{self.use(op, op.callee.name)}{record_text(params, args)}", 10)
            case prog.Retrieve():
                query, *rest = self.texts([op.query, *op.rest])
                self.give(op, f"{op.retriever.name}({query}{''.join(f', k: {k}' for k in rest)})", 10)
            case prog.Tool():
                self.give(op, f"{op.tool.name}({', '.join(self.texts(op.args))})", 10)
            case prog.Py():
                self.host(op)
            case prog.Assert():
                test = self.texts([op.condition])[0]
                self.flush()
                message = "" if op.message == "assertion failed" else f", {literals.quote(op.message)}"
                self.lines.append(f"assert {test}{message};")
            case prog.If() | prog.Match() | prog.Map():
                self.branch(op)
            case prog.Loop():
                from lampc.frontend.lmp.emit_loop import loop

                loop(self, op)
            case _:
                raise NotSayable(f"`{op.op_name}`", op)

    def constant(self, op: prog.Const) -> None:
        self.taken_harmless = True
        plain = thaw(op.value)
        try:
            text = literals.show(plain)
        except literals.BadLiteral as e:
            raise NotSayable(f"this constant: {e}", op) from None
        level = 7 if text.startswith("-") else 10
        if op.type == type_of(plain):
            self.give(op, text, level, literal=True)
            return
        self.flush()
        self.lines.append(f"let {self.w.name(op.result)}: {type_text(op.type)} = {text};")

    def key(self, op: prog.Predict | prog.Call, callee: str) -> None:
        n = self.w.counts.get(callee, 0)
        self.w.counts[callee] = n + 1
        if op.key.path != (f"{callee}#{n}",):
            raise NotSayable(f"the key {'/'.join(op.key.path)!r} of a call, where source gives `{callee}#{n}`", op)

    def use(self, op: Op, symbol: str) -> str:
        if symbol not in self.w.names.uses:
            raise NotSayable(f"`@{symbol}`, which belongs to another module", op)
        return self.w.names.uses[symbol]

    def callee(self, op: prog.Call) -> Op:
        region = self.w.func.parent
        found = next((o for o in region.ops if o.symbol == op.callee.name), None) if region else None
        if found is None or not found.regions:
            raise NotSayable(f"a call of `@{op.callee.name}`", op)
        return found

    def predict(self, op: prog.Predict) -> None:
        self.key(op, op.predictor.name)
        names = [f.name for f in op.signature.inputs]
        if isinstance(op, prog.Continue) and any(p.value is op.after for p in self.pending):
            self.flush()  # it is said by name
        text = self.use(op, op.predictor.name) + record_text(names, self.texts(op.inputs))
        drawn = sampling_text(op.sampling)
        if isinstance(op, prog.Continue):
            drawn += f" @continue({self.w.name(op.after)})"
        self.give(op, text + drawn, 9 if drawn else 10)

    def host(self, op: prog.Py) -> None:
        texts = self.texts(op.args)
        first = len(texts) - len(op.keywords)
        parts = texts[:first] + [f"{identifier(k)}: {t}" for k, t in zip(op.keywords, texts[first:], strict=True)]
        self.give(op, f"{self.w.names.hosts(op)}({', '.join(parts)})", 10)

    # -- regions -----------------------------------------------------------------------------------

    def part(self, region: Region) -> Part:
        """A region that ends in a plain yield."""
        inner = _Lines(self.w, region)
        inner.run(region.ops[:-1])
        end = region.ops[-1]
        if not isinstance(end, prog.Yield):
            raise NotSayable("a region without `prog.yield`", end)
        gives = inner.take(end.values)
        inner.flush()
        return Part(inner.lines, [t for t, _ in gives], gives[0][1] if gives else 0)

    def branch(self, op: prog.If | prog.Match | prog.Map) -> None:
        ((head, held),) = self.take([op.operands[0]])
        short = _short_cut(op) if isinstance(op, prog.If) else None
        if short is not None and isinstance(op, prog.If):
            part = self.part(op.then if short == "and" else op.orelse)
            if not part.lines:
                own = LEVEL[short]
                text = f"{paren(head, held, own + 1)} {short} {paren(part.gives[0], part.level, own)}"
                self.give(op, text, own)
                return
            text, level = (
                if_text(head, *((part, Part([], ["false"])) if short == "and" else (Part([], ["true"]), part))),
                0,
            )
        elif isinstance(op, prog.Map):
            text, level = f"map {self.arguments(op)} in {head} {{ {self.mapped(op.body)} }}", 0
        elif isinstance(op, prog.If):
            text, level = if_text(head, self.part(op.then), self.part(op.orelse)), 0
        else:
            text, level = self.match(op, head), 0
        if len(op.results) == 1:
            self.give(op, text, level)
            return
        self.flush()
        if not op.results:
            self.lines.append(text)
            return
        self.lines.append(f"let {', '.join(map(self.w.name, op.results))} = {text};")

    def match(self, op: prog.Match, head: str) -> str:
        arms = []
        for i, region in enumerate(op.arms):
            pattern = literals.show(thaw(op.cases[i])) if i < len(op.cases) else "_"
            arms.append(f"{pattern} => {arm_text(self.part(region))}")
        return f"match {head} {{ {' '.join(arms)} }}"

    def arguments(self, op: prog.Map) -> str:
        item, index = op.body.args
        return self.w.name(item) + (f", {self.w.name(index)}" if index.uses or index.hint else "")

    def mapped(self, region: Region) -> str:
        """The body of a map, a filter among them."""
        inner = _Lines(self.w, region)
        *ops, end = region.ops
        if not isinstance(end, prog.Yield):
            raise NotSayable("a map without `prog.yield`", end)
        if len(end.values) == 1:
            inner.run(ops)
            value = inner.texts(end.values)[0]
            inner.flush()
            return " ".join([*inner.lines, f"yield {value};"])
        value_, keep = end.values
        kept = ops[-1] if ops else None
        if isinstance(kept, prog.If) and _is_filter(kept, value_, keep):
            inner.free.add(keep)
            inner.run(ops[:-1])
            test = inner.texts([keep])[0]
            inner.flush()
            body = self.part(kept.then)
            inner.lines.append(f"if {test} {{ {' '.join([*body.lines, f'yield {body.gives[0]};'])} }}")
            return " ".join(inner.lines)
        inner.run(ops)
        if any(p.value is value_ for p in inner.pending):
            inner.flush()
        test = inner.texts([keep])[0]
        inner.flush()
        return " ".join([*inner.lines, f"if {test} {{ yield {self.w.name(value_)}; }}"])


def _short_cut(op: prog.If) -> str | None:
    """`and` or `or` if a branch is what these compile to where the right side must not always run."""
    if len(op.results) != 1 or op.result.type != BOOL or op.operands[0].type != BOOL:
        return None
    for word, side, other in (("and", op.then, op.orelse), ("or", op.orelse, op.then)):
        plain = len(other.ops) == 2 and isinstance(other.ops[0], prog.Const) and len(other.ops[1].operands) == 1
        if plain and thaw(other.ops[0].attrs["value"]) is (word == "or") and not all(map(harmless, side.ops[:-1])):
            return word
    return None


def _is_filter(op: prog.If, value: Value, keep: Value) -> bool:
    """Whether a branch computes what a filter keeps: its other side gives nothing."""
    if op.operands[0] is not keep or len(op.results) != 1 or op.result is not value or len(value.uses) != 1:
        return False
    other = op.orelse.ops
    nothing = len(other) == 2 and isinstance(other[0], prog.Const) and other[0].value is None
    return (
        nothing
        and value.hint == ""
        and len(keep.uses) == 2
        and len(op.then.ops) > 1
        and other[0].results[0].type == value.type
    )


def body_text(writer: Writer, region: Region, outputs: Sequence[str] | None) -> list[str]:
    """The statements of a function, its `return` last. `outputs` are those of a module, None for other functions."""
    lines = _Lines(writer, region)
    *ops, end = region.ops
    if not isinstance(end, prog.Return | prog.Yield):
        raise NotSayable("a function without `prog.return`", end)
    value: Any = end.operands[0]
    made = value.defining_op()
    once = bool(ops) and made is ops[-1] and len(value.uses) == 1 and value.hint == ""
    if once and isinstance(made, prog.Pack) and outputs is not None and made.names == tuple(outputs):
        lines.run(ops[:-1])
        given = record_text(made.names, lines.texts(made.values))
        lines.flush()
        return [*lines.lines, f"return {given};"]
    if once and isinstance(made, prog.If) and outputs is not None:
        lines.run(ops[:-1])
        test = lines.texts([made.operands[0]])[0]
        lines.flush()
        then = body_text(writer, made.then, outputs)
        rest = body_text(writer, made.orelse, outputs)
        return [*lines.lines, f"if {test} {{ {' '.join(then)} }}", *rest]
    lines.run(ops)
    given = lines.texts([value])[0]
    lines.flush()
    return [*lines.lines, f"return {given};"]


__all__ = ["Names", "Writer", "body_text"]
