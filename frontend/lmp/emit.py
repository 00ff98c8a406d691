"""From a unit back to `.lmp` source: what both frontends make can be written as a file of this language.

The text is compiled again and compared, so what is returned means exactly the module it came from.
"""

from __future__ import annotations

from dataclasses import replace

from lampc.frontend.lmp import literals
from lampc.frontend.lmp.emit_body import Names, Writer, body_text
from lampc.frontend.lmp.emit_text import NotSayable, identifier, layout_text, sampling_text, type_text
from lampc.frontend.lmp.format import format_lmp
from lampc.frontend.lmp.signatures import REASONING
from lampc.ir import CompileError, Field, Op, Sampling, Signature, Unit, prog, thaw
from lampc.ir.adapters.arranged import parts_of
from lampc.ir.content import PARAMETERS, Cascade, DemoSet
from lampc.ir.types import Record
from lampc.ir.unit import Dataset, Metric, Optimize, Test


def emit_lmp(unit: Unit) -> str:
    """Canonical source of a unit. Raises NotSayable (L0620) for what the language has no words for, and CompileError
    with the reason for a Python program that could not be traced."""
    if unit.dynamic is not None:
        note = "only a program that can be traced can be written as `.lmp`; this one runs as plain Python"
        raise CompileError([replace(unit.dynamic, severity="error", notes=(*unit.dynamic.notes, note))])
    text = format_lmp(_Emitter(unit).run(), "<emitted>")
    from lampc.frontend.lmp.compile import compile_lmp

    try:
        again = compile_lmp(text, unit.path or "<emitted>")
    except CompileError as e:
        raise NotSayable(f"this program: {e.diagnostics[0].message}") from None
    for a, b in zip(str(unit.module).splitlines(), str(again.module).splitlines(), strict=False):
        if a != b:
            raise NotSayable(f"this line of the module: {a.strip()[:200]}")
    if str(unit.module) != str(again.module):
        raise NotSayable("all of this module")
    return text


class _Emitter:
    def __init__(self, unit: Unit) -> None:
        self.unit, self.module = unit, unit.module
        self.out: list[str] = []
        self.signatures: dict[tuple[Signature, DemoSet, DemoSet, tuple[str, ...]], str] = {}
        self.taken = {op.symbol for op in self.module.body.ops} | set(unit.datasets) | set(unit.metrics)
        self.hosts: dict[tuple[object, ...], str] = {}
        self.functions = {op.symbol: op for op in self.module.body.ops if isinstance(op, prog.Func)}
        special = {m.function for m in unit.metrics.values()}
        self.special = special | {s for t in unit.tests for s, _ in t.expects}
        self.prefixes = {s: self.prefix(op) for s, op in self.functions.items()}
        self.homes = self.owners()
        self.done: set[str] = set()

    def run(self) -> str:
        if self.module.name != "main" or self.module.attrs:
            raise NotSayable("the name or the attributes of this module")
        for op in self.module.body.ops:
            if isinstance(op, prog.DefPredictor | prog.DefTune):
                self.function(self.homes[op.symbol])
            elif isinstance(op, prog.Func):
                self.function(op.symbol)
            else:
                self.definition(op)
        for symbol, metric in self.unit.metrics.items():
            if metric.is_host:
                self.metric(symbol, metric)
        self.out += [dataset_text(d) for d in self.unit.datasets.values()]
        self.out += [self.optimize(o) for o in self.unit.optimizes]
        self.out += [self.test(t) for t in self.unit.tests]
        return "\n\n".join(self.out)

    # -- which function says what ------------------------------------------------------------------

    def owners(self) -> dict[str, str]:
        """The function that declares each predictor and tuned value; what none uses belongs to the entry."""
        out: dict[str, str] = {}
        for symbol, func in self.functions.items():
            for op in func.walk():
                if isinstance(op, prog.Predict):
                    out.setdefault(op.predictor.name, symbol)
                elif isinstance(op, prog.Tune):
                    out.setdefault(op.of.name, symbol)
        for op in self.module.body.ops:
            if isinstance(op, prog.DefPredictor | prog.DefTune) and op.symbol not in out:
                inside = [s for s, p in self.prefixes.items() if p and op.symbol.startswith(p)]
                home = max(inside, key=lambda s: len(self.prefixes[s]), default=self.unit.entry)
                if home not in self.functions:
                    raise NotSayable(f"`@{op.symbol}`, which no function uses", op)
                out[op.symbol] = home
        return out

    def prefix(self, func: Op) -> str:
        """What stands before the symbols of a function's predictors: its place in the function that calls it."""
        called = {op.callee.name for op in self.module.walk() if isinstance(op, prog.Call)}
        if func.symbol not in called:
            return ""
        for op in func.walk():
            if isinstance(op, prog.Predict | prog.Tune):
                symbol = op.predictor.name if isinstance(op, prog.Predict) else op.of.name
                return symbol.rpartition(".")[0] + "."
        for op in func.walk():
            if isinstance(op, prog.Call) and op.callee.name in self.functions:
                inner = self.prefix(self.functions[op.callee.name]).rstrip(".")
                return inner.rpartition(".")[0] + "."
        return ""

    def local(self, symbol: str, owner: str) -> str:
        """A symbol as its function writes it."""
        for head in (self.prefixes[owner], f"{owner}."):
            if head and head != "." and symbol.startswith(head):
                symbol = symbol[len(head) :]
                break
        return identifier(symbol)

    # -- items -------------------------------------------------------------------------------------

    def definition(self, op: Op) -> None:
        match op:
            case prog.DefModel():
                options = "".join(f", {identifier(k)}: {literals.show(thaw(v))}" for k, v in op.options.items())
                made = f"{identifier(op.kind)}({literals.quote(op.source)}{options})"
                self.out.append(f"model {identifier(op.symbol)} = {made};")
            case prog.DefRetriever():
                said = [literals.quote(op.source)] if op.source else []
                said += [] if op.field == "text" else [f"field: {literals.quote(op.field)}"]
                said += [] if op.k == 3 else [f"k: {op.k}"]
                made = f"{identifier(op.kind)}({', '.join(said)})"
                self.out.append(f"retriever {identifier(op.symbol)} = {made};")
            case prog.DefTool():
                head = f"tool {identifier(op.symbol)}{params_text(op.params)} -> {type_text(op.returns)}"
                self.out.append(f"{head}{effect_text(op.effect)} = {self.python(op.ref, op)};")
            case _:
                raise NotSayable(f"`{op.op_name}`", op)

    def python(self, ref: object, op: Op) -> str:
        from lampc.ir import HostRef

        assert isinstance(ref, HostRef)
        module, _, name = ref.target.partition(":")
        if not all(p.isidentifier() for p in (*module.split("."), *name.split("."))):
            raise NotSayable(f"a call of {ref.target}, which no other program can find", op)
        source = f" @source({literals.quote(ref.source)})" if ref.source else ""
        return f"python({literals.quote(ref.target)}){source}"

    def host(self, op: prog.Py) -> str:
        """The name of the declaration of a Python function that is called."""
        key = (op.ref, op.effect, op.returns)
        if key not in self.hosts:
            base = op.ref.target.rpartition(":")[2].rpartition(".")[2]
            name = self.free(base if base.isidentifier() else "function_")
            made = self.python(op.ref, op)
            self.hosts[key] = name
            self.out.append(f"function {name}(...) -> {type_text(op.returns)}{effect_text(op.effect)} = {made};")
        return self.hosts[key]

    def free(self, base: str) -> str:
        from lampc.frontend.lmp.env import FUNCTIONS, MAKERS, SCALARS

        name, n = base, 1
        while name in self.taken or name in FUNCTIONS or name in SCALARS or name in MAKERS or name in literals.RESERVED:
            n += 1
            name = f"{base}_{n}"
        self.taken.add(name)
        return name

    def signature(self, op: prog.DefPredictor) -> tuple[str, str]:
        """The maker and the declared name of a predictor's signature, declaring it if it is new."""
        sig: Signature = op.signature
        reasons = len(sig.outputs) > 1 and sig.outputs[0] == REASONING
        base = replace(sig, outputs=sig.outputs[1:]) if reasons else sig
        order = parts_of(op.layout)[1]
        key = (base, op.demos, op.keep.demos, order)
        if key not in self.signatures:
            proper = base.name if base.name.isidentifier() and base.name not in self.taken else ""
            name = self.free(proper or (base.name if base.name.isidentifier() else "Task"))
            self.signatures[key] = name
            self.out.append(signature_text(base, name, op.demos, op.keep.demos, order))
        return ("ChainOfThought" if reasons else "Predict"), self.signatures[key]

    def function(self, symbol: str) -> None:
        """Write a function and, before it, those that it calls."""
        if symbol in self.done:
            return
        self.done.add(symbol)
        func = self.functions[symbol]
        metric = next((m for m in self.unit.metrics.values() if m.function == symbol and not m.is_host), None)
        if metric is not None:
            self.metric(symbol, metric)
        elif symbol not in self.special:
            heads, names = self.heads(func)
            if "." not in symbol:
                self.out.append(self.module_text(func, heads, names, symbol))

    def heads(self, func: Op) -> tuple[list[str], Names]:
        """The `use` and `tune` lines of a function, in the order of their definitions."""
        symbol = func.symbol
        calls = dict.fromkeys(op.callee.name for op in func.walk() if isinstance(op, prog.Call))
        names = Names({}, {}, self.host)
        lines: list[tuple[int, str]] = []
        order = {op.symbol: i for i, op in enumerate(self.module.body.ops)}
        for callee in calls:
            self.function(callee)
            prefix = self.prefixes[callee]
            own = self.prefixes[symbol]
            use = prefix[len(own) :].rstrip(".") if prefix not in ("", ".") else callee.rpartition(".")[2].lower()
            names.uses[callee] = identifier(use)
            first = min((i for s, i in order.items() if prefix.strip(".") and s.startswith(prefix)), default=len(order))
            lines.append((first, f"use {identifier(use)} = {self.base_of(callee)}();"))
        for op in self.module.body.ops:
            if isinstance(op, prog.DefPredictor) and self.homes[op.symbol] == symbol:
                names.uses[op.symbol] = self.local(op.symbol, symbol)
                lines.append((order[op.symbol], self.use_text(op, names.uses[op.symbol])))
            elif isinstance(op, prog.DefTune) and self.homes[op.symbol] == symbol:
                name = names.tunes[op.symbol] = self.local(op.symbol, symbol)
                values = f"{literals.show(thaw(op.default))} in {literals.show(thaw(op.choices))}"
                lines.append((order[op.symbol], f"tune {name}: {type_text(op.type)} = {values};"))
        return [line for _, line in sorted(lines, key=lambda x: x[0])], names

    def base_of(self, callee: str) -> str:
        """The module that a callee is an instance of."""
        if "." not in callee:
            return callee
        wanted = self.shape(self.functions[callee])
        for symbol, func in self.functions.items():
            if "." not in symbol and symbol not in self.special and self.shape(func) == wanted:
                return symbol
        raise NotSayable(f"the second instance `@{callee}` of a module that no longer has a first")

    def shape(self, func: Op) -> str:
        """Text of a function as a module `X`, to find instances of one module."""
        heads, names = self.heads(func)
        return self.module_text(func, heads, names, "X")

    def use_text(self, op: prog.DefPredictor, name: str) -> str:
        maker, signature = self.signature(op)
        text = f"use {name} = {maker}({signature})"
        if op.model.name != "main":
            text += f" @model({identifier(op.model.name)})"
        text += cascade_text(op.cascade) + layout_text(op.layout)
        if replace(op.sampling, firm=()) != Sampling():
            raise NotSayable(f"sampling{sampling_text(op.sampling)} of the definition of `@{op.symbol}`", op)
        return text + frozen_text(op) + ";"

    def module_text(self, func: Op, heads: list[str], names: Names, name: str) -> str:
        assert isinstance(func, prog.Func)
        if not isinstance(func.returns, Record):
            raise NotSayable(f"`@{func.symbol}`, which returns no record", func)
        writer = Writer(func, names)
        params = params_text([Field(a.hint, a.type) for a in func.body.args])
        outputs = params_text([Field(n, t) for n, t in func.returns.fields])
        lines = body_text(writer, func.body, func.returns.names())
        doc = [literals.prose(func.doc)] if func.doc else []
        inner = "\n".join([*doc, *heads, *([""] if heads else []), *lines])
        return f"module {identifier(name)}{params} -> {outputs} {{\n{inner}\n}}"

    def metric(self, name: str, metric: Metric) -> None:
        fields = f" @fields({', '.join(map(identifier, metric.params))})" if metric.params else ""
        head = f"metric {identifier(metric.name)}"
        if metric.is_host:
            module, _, qualname = metric.function.partition(":")
            if not all(p.isidentifier() for p in (*module.split("."), *qualname.split("."))):
                raise NotSayable(f"the metric {metric.function}")
            made = f"python({literals.quote(metric.function)})"
            self.out.append(f"{head}(gold: any, pred: any) -> float{fields} = {made};")
            return
        func = self.functions[metric.function]
        assert isinstance(func, prog.Func)
        params = params_text([Field(a.hint, a.type) for a in func.body.args])
        *lets, end = body_text(Writer(func, Names({}, {}, self.host)), func.body, None)
        if any(not line.startswith("let ") for line in lets):
            raise NotSayable(f"metric `{metric.name}`, which is more than lets and an expression", func)
        body = " ".join([*lets, end.removeprefix("return ").removesuffix(";")])
        self.out.append(f"{head}{params} -> {type_text(func.returns)}{fields} = {{ {body} }};")

    def optimize(self, o: Optimize) -> str:
        steps = ", ".join(f"{identifier(n)}({_named(args, True)})" for n, args in o.steps)
        text = f"optimize {identifier(o.program)} with {steps} on {'.'.join(o.train)}"
        if o.select != o.train:
            text += f" select {'.'.join(o.select)}"
        text += f" by {identifier(o.metric)}"
        if o.budget:
            text += f" budget ({_named([(n, int(v) if v == int(v) else v) for n, v in o.budget])})"
        text += f" save {literals.quote(o.save)}" if o.save else ""
        return text + (f" resume {literals.quote(o.resume)}" if o.resume else "") + ";"

    def test(self, t: Test) -> str:
        lines = []
        predictors = {op.symbol for op in self.module.body.ops if isinstance(op, prog.DefPredictor)}
        for m in t.mocks:
            value = m.values if m.target in predictors else m.values.get("value")
            lines.append(f"mock {m.target} => {literals.show(value)};")
        lines.append(f"run {identifier(t.program)}({_named(t.arguments)});")
        for symbol, _ in t.expects:
            func = self.functions[symbol]
            *lets, end = body_text(Writer(func, Names({}, {}, self.host)), func.regions[0], None)
            if lets:
                raise NotSayable(f"an expectation of test {t.name!r} in one expression", func)
            lines.append(f"expect {end.removeprefix('return ').removesuffix(';').replace('outputs.', '')};")
        body = "\n".join(lines)
        return f"test {literals.quote(t.name)} {{\n{body}\n}}"


def _named(pairs: object, keys: bool = False) -> str:
    """`a: x, b: y`; with `keys` records inside may have any names."""
    assert isinstance(pairs, list | tuple)
    return ", ".join(f"{identifier(n)}: {literals.show(thaw(v), keys)}" for n, v in pairs)


def params_text(fields: object) -> str:
    """`(a: T, b: T)`, attributes included."""
    assert isinstance(fields, list | tuple)
    return "(" + ", ".join(field_text(f) for f in fields) + ")"


def field_text(f: Field) -> str:
    """A field's declaration. Raises NotSayable for what only Python says of a type: classes, defaults, limits."""
    if f.shape is not None or f.limits or f.default:
        what = f"the type `{f.shape.name}`" if f.shape is not None else "a default or a limit"
        raise NotSayable(f"{what} of field `{f.name}`, which Python says")
    text = f"{identifier(f.name)}: {type_text(f.type)}"
    if f.max_tokens:
        text += f" @max({f.max_tokens})"
    return text + (f" @constraints({literals.quote(f.constraints)})" if f.constraints else "")


def cascade_text(cascade: Cascade | None) -> str:
    """The cheap model that a predictor asks first, and the record of its threshold."""
    if cascade is None:
        return ""
    said = {"threshold": cascade.threshold, **thaw(cascade.record)}
    parts = [identifier(cascade.proxy), *(f"{identifier(n)}: {literals.show(v)}" for n, v in said.items())]
    return f" @cascade({', '.join(parts)})"


def effect_text(effect: str) -> str:
    return "" if effect == "effect" else f" @{effect}"


def frozen_text(op: prog.DefPredictor) -> str:
    """What of a predictor no optimizer changes."""
    around = [(n, text) for n, text in (("before", op.keep.before), ("after", op.keep.after)) if text]
    if op.frozen == PARAMETERS and not around:
        return " @frozen"
    parts = [*op.frozen, *(f"{n}: {literals.quote(text)}" for n, text in around)]
    return f" @frozen({', '.join(parts)})" if parts else ""


def signature_text(sig: Signature, name: str, demos: DemoSet, kept: DemoSet, order: tuple[str, ...]) -> str:
    """A signature's declaration; `order` is that of a prompt's blocks, () for the layout's own."""
    head = f"signature {identifier(name)}{params_text(sig.inputs)} -> {params_text(sig.outputs)}"
    if sig.name != name:
        head += f" @name({literals.quote(sig.name)})"
    lines = [literals.prose(sig.instruction)] if sig.instruction != sig.default_instruction() else []
    lines += [f"field {f.name} {literals.quote(f.desc)};" for f in (*sig.inputs, *sig.outputs) if f.desc]
    lines += [f"layout {', '.join(map(identifier, order))};"] if order else []
    for held, mark in ((kept, " @frozen"), (demos, "")):
        for demo in held.items:
            marks = f"{' @augmented' if demo.augmented else ''}{mark}"
            lines.append(f"demo {literals.show(thaw(demo.values))}{marks};")
    return "\n".join([head + " {", *lines, "}"])


def dataset_text(d: Dataset) -> str:
    """A dataset's declaration."""
    parts = [literals.quote(d.path)]
    if d.split_column:
        parts.append(f"split: {literals.quote(d.split_column)}")
    parts += [f"{s}: {n}" for s, n in d.sizes]
    parts += [f"seed: {d.seed}"] if d.seed else []
    return f"dataset {identifier(d.name)}: {params_text(d.columns)} = {identifier(d.kind)}({', '.join(parts)});"


__all__ = ["NotSayable", "emit_lmp"]
