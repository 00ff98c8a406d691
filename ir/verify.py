"""The verifier: collects every finding, each with the op it is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args, get_origin

from lampc.ir.attrs import Symbol
from lampc.ir.builtins import BUILTINS
from lampc.ir.core import Module, Op, Region, Value
from lampc.ir.define import OPS, REQUIRED, SPECS
from lampc.ir.diag import CompileError, Diagnostic, Label
from lampc.ir.effects import Trait
from lampc.ir.types import assignable


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong and the op it is about."""

    message: str
    op: Op

    def diagnostic(self) -> Diagnostic:
        from lampc.ir.text.printer import print_op

        span = self.op.loc.origin()
        shown = print_op(self.op).splitlines()[0]
        label = Label(span) if span else None
        return Diagnostic("L0910", f"{self.op.op_name}: {self.message}", label, notes=(f"in: {shown[:300]}",))


def verify(module: Module) -> list[Finding]:
    """All findings, in program order; an empty list means that the module is well formed."""
    return _Verifier(module).run()


def check(module: Module) -> None:
    """Raise CompileError (L0910, one diagnostic per finding) if the module is not well formed."""
    findings = verify(module)
    if findings:
        raise CompileError([f.diagnostic() for f in findings])


class _Verifier:
    def __init__(self, module: Module) -> None:
        self.module = module
        self.findings: list[Finding] = []
        self.keys: dict[object, Op] = {}
        self.symbols: dict[str, Op] = {}
        self.declared: dict[str, dict[str, Any]] = {}  # types of attributes by op and name
        self.misshapen: set[Op | None] = set()
        """Ops whose accessors cannot be trusted: no rule may look at them."""

    def run(self) -> list[Finding]:
        symbols = self.symbols
        for op in self.module.body.ops:
            if Trait.DEFINITION not in op.traits and op.op_name in OPS:
                self.say("only definitions stand at the top of a module", op)
            if not op.symbol:
                self.say("a definition has a symbol", op)
            elif op.symbol in symbols:
                self.say(f"`@{op.symbol}` is defined twice", op)
            symbols[op.symbol] = op
        for op in self.module.body.ops:
            self.keys = {}
            self.op(op, set())
        return self.findings

    def say(self, message: str, op: Op) -> None:
        self.findings.append(Finding(message, op))

    def region(self, region: Region, visible: set[Value]) -> None:
        inner = visible | set(region.args)
        for index, op in enumerate(region.ops):
            if Trait.TERMINATOR in op.traits and index != len(region.ops) - 1:
                self.say("a terminator stands last in its region", op)
            if Trait.DEFINITION in op.traits:
                self.say("a definition stands at the top of the module", op)
            self.op(op, inner)
            inner |= set(op.results)

    def op(self, op: Op, visible: set[Value]) -> None:
        for i, value in enumerate(op.operands):
            if value not in visible:
                self.say(f"operand {i} ({value!r}) is not visible here", op)
            if value.uses.get((id(op), i)) is not op:
                self.say(f"operand {i} does not know of this use", op)
        for region in op.regions:
            if region.parent is not op:
                self.say("a region does not know its op", op)
            self.region(region, visible)
        spec = SPECS.get(op.op_name)
        if spec is None:
            self.say("this op is not registered", op)
            return
        if self.shape(op) and self.attributes(op):
            if not any(r.terminator in self.misshapen for r in op.regions):
                self.rules(op)
        else:
            self.misshapen.add(op)

    def shape(self, op: Op) -> bool:
        """Counts of operands, results and regions."""
        spec = SPECS[op.op_name]
        before = len(self.findings)
        for what, have, fixed, tail in (
            ("operands", len(op.operands), spec.operands, spec.variadic),
            ("results", len(op.results), spec.results, spec.variadic_results),
            ("regions", len(op.regions), spec.regions, spec.variadic_regions),
        ):
            if have < len(fixed) or (have > len(fixed) and not tail):
                self.say(f"{len(fixed)}{' or more' if tail else ''} {what} declared, {have} found", op)
        for name, _, default in spec.attributes:
            if default is REQUIRED and name not in op.attrs:
                self.say(f"attribute `{name}` is missing", op)
        return len(self.findings) == before

    def attributes(self, op: Op) -> bool:
        """Names and types of attributes; gives whether all are of their types."""
        declared = self.declared.get(op.op_name)
        if declared is None:
            declared = {name: hint for name, hint, _ in SPECS[op.op_name].attributes}
            self.declared[op.op_name] = declared
        fit = True
        for name, value in op.attrs.items():
            if name not in declared:
                self.say(f"attribute `{name}` is not declared", op)
            elif not _fits(value, declared[name]):
                fit = False
                self.say(f"attribute `{name}` is no {_shown(declared[name])}", op)
            undeclared_default = name == "model" and value == Symbol("main")
            if isinstance(value, Symbol) and not undeclared_default and value.name not in self.symbols:
                self.say(f"`@{value.name}` is not defined", op)
        if fit and op.op_name == "prog.apply":
            builtin = BUILTINS.get(op.attrs["fn"])
            if builtin is None:
                self.say(f"there is no built-in function `{op.attrs['fn']}`", op)
            elif not builtin.arity[0] <= len(op.operands) <= builtin.arity[1]:
                self.say(f"`{builtin.name}` does not take {len(op.operands)} operands", op)
        key = op.attrs.get("key")
        if Trait.SAMPLES in op.traits and key is not None:
            if key in self.keys and self.keys[key].op_name == op.op_name:
                self.say("two sampling ops have the same key: their draws would be equal", op)
            self.keys[key] = op
        return fit

    def rules(self, op: Op) -> None:
        for message in op.check():
            self.say(message, op)
        inferred = op.infer()
        if inferred is None:
            return
        if len(inferred) != len(op.results):
            self.say(f"{len(inferred)} results follow from the operands, {len(op.results)} found", op)
            return
        for i, (want, value) in enumerate(zip(inferred, op.results, strict=True)):
            if not assignable(want, value.type):
                self.say(f"result {i} is {value.type}, but {want} follows from the operands", op)


def _fits(value: Any, hint: Any) -> bool:
    """Whether an attribute is of its declared type."""
    if hint is Any or type(value) is hint:
        return True
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(v, get_args(hint)[0]) for v in value)
    if hint in (int, float):
        return isinstance(value, hint) and not isinstance(value, bool)
    return isinstance(value, hint)


def _shown(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"list of {_shown(get_args(hint)[0])}"
    return str(getattr(hint, "__name__", hint))  # a union has no name
