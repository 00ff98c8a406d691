"""The tracer's floor: where ops go, constants, places, and undoing what was only tried."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from lampc.frontend.python.codes import Untraceable, untraceable, wrong
from lampc.frontend.python.declare import Tune
from lampc.frontend.python.kept import is_json, kept, predicted
from lampc.frontend.python.traced import Completions, Exit, Frame, Local, Traced, Unusable, WithIndex, as_json
from lampc.ir import CompileError, Key, Op, Region, Span, Symbol, Value, freeze, prog
from lampc.ir.types import ANY, INT, ListOf, Record, Type, type_of

MAX_OPS = 20_000
_T = TypeVar("_T")
_O = TypeVar("_O", bound=Op)


class WouldEmit(Exception):
    """Internal: what was tried without emitting would emit an op."""


@dataclass(slots=True)
class FunctionState:
    """One `prog.func` being traced: its name, and how often each callee has been called in it.

    `single` names the output where a plain value is returned, `plain` whether one was. With `raw` the
    function gives its value itself, not a record of outputs. `exact` says whether what it returns is a `Prediction`
    that the record has all of, `whole` whether it is always a plain value that the record has.
    """

    symbol: str
    max_iters: int
    single: str = "result"
    plain: bool = False
    raw: bool = False
    exact: bool = True
    whole: bool = True
    counts: dict[str, int] = field(default_factory=dict)

    def key(self, callee: str) -> Key:
        n = self.counts.get(callee, 0)
        self.counts[callee] = n + 1
        return Key((f"{callee}#{n}",))


class Base:
    """State of a trace and the small things that everything else is made of."""

    def __init__(self, context: Any, state: FunctionState, frame: Frame) -> None:
        self.context = context
        self.state = state
        self.frame = frame
        self.region = Region()
        self.quiet = False
        self.since = 0
        self.drawing: dict[str, Any] = {}  # defaults of sampling for the calls traced now

    # -- parts that the layers above define -------------------------------------------------------------

    def expr(self, node: ast.expr) -> Any:
        raise NotImplementedError

    def truth(self, value: Any, node: ast.AST) -> Any:
        raise NotImplementedError

    def block(self, statements: list[ast.stmt], after: frozenset[str]) -> Exit | None:
        raise NotImplementedError

    def call(self, function: Any, args: list[Any], kwargs: dict[str, Any], node: ast.AST) -> Any:
        raise NotImplementedError

    def assign(self, target: ast.expr, value: Any) -> None:
        raise NotImplementedError

    # -- places and errors --------------------------------------------------------------------------------

    def span(self, node: ast.AST) -> Span:
        return self.frame.at or self.frame.source.span(node)

    def stop(self, code: str, node: ast.AST, message: str, help: str = "") -> Untraceable:
        return untraceable(code, self.span(node), message, help)

    def fail(self, node: ast.AST, message: str, help: str = "") -> CompileError:
        return wrong("L0704", message, self.span(node), help)

    # -- ops ------------------------------------------------------------------------------------------------

    def emit(self, op: type[_O], *operands: Value, node: ast.AST, hint: str = "", **more: Any) -> _O:
        """Append an op at this place of the program."""
        if self.quiet:
            raise WouldEmit
        self.context.ops += 1
        if self.context.ops > MAX_OPS:
            raise self.stop("L0716", node, f"the program has more than {MAX_OPS} operations when loops are unrolled")
        made = op.make(*operands, loc=self.span(node), hint=hint, **more)
        self.region.append(made)
        return made

    def apply(self, fn: str, *args: Any, node: ast.AST, hint: str = "") -> Traced:
        """Apply a built-in function to values."""
        values = [self.lift(a, node) for a in args]
        return Traced(self.emit(prog.Apply, *values, node=node, hint=hint, fn=fn).result)

    def const(self, value: Any, node: ast.AST, type: Type | None = None) -> Value:
        wanted = type or type_of(value)
        return self.emit(prog.Const, node=node, value=freeze(value), type=wanted).result

    def lift(self, value: Any, node: ast.AST, type: Type | None = None) -> Value:
        """The IR value of anything. Raises Untraceable (L0713) for what the IR cannot hold."""
        match value:
            case Traced():
                return value.value
            case Completions():
                return self.first(value, node)
            case Tune():
                self.context.use(value)
                return self.emit(prog.Tune, node=node, hint=value.name, of=Symbol(value.name), type=value.type).result
            case Unusable():
                raise self.stop("L0714", node, value.why)
            case WithIndex():
                pairs = self.apply("enumerate", value.items, node=node)
                if value.start != 0:
                    raise self.stop("L0712", node, "`enumerate` with a start is followed only as what a loop runs over")
                return pairs.value
            case Local():
                raise self.stop("L0713", node, "a function cannot be a value of the program")
        if isinstance(value, tuple | list) and any(isinstance(v, Traced | Completions) for v in value):
            made = self.emit(prog.MakeList, *(self.lift(v, node) for v in value), node=node).result
            if isinstance(value, tuple):
                self.context.changed.add(made.serial)
            return made
        if isinstance(value, dict) and any(isinstance(v, Traced) for v in value.values()):
            return self.pack(value, node).value
        try:
            made = self.const(as_json(value), node, type)
        except TypeError:
            shown = getattr(value, "__qualname__", None) or f"{value.__class__.__name__} object"
            raise self.stop("L0713", node, f"`{shown}` is a Python object that the IR cannot hold") from None
        if not is_json(value):
            self.context.changed.add(made.serial)
        return made

    def pack(self, values: dict[str, Any], node: ast.AST, cls: type | None = None) -> Traced:
        """A record: a dict, or what stands for an object of `cls`."""
        if not all(isinstance(k, str) for k in values):
            raise self.stop("L0713", node, "the keys of a record are texts")
        lifted = [self.lift(v, node) for v in values.values()]
        made = self.emit(prog.Pack, *lifted, node=node, names=tuple(values)).result
        if cls is not None:
            self.context.classes[made.serial] = cls
        return Traced(made)

    def get(self, record: Any, name: str, node: ast.AST) -> Traced:
        """A field of a record."""
        value = self.lift(record, node)
        return Traced(self.emit(prog.FieldOf, value, node=node, hint=name, field=name).result)

    def record(self, value: Any, node: ast.AST) -> Value:
        """What a function gives back for the value that Python returns."""
        if self.state.raw:
            return self.lift(value, node)
        self.state.exact = self.state.exact and predicted(self.context, value)
        whole, self.state.whole = self.state.whole, False
        if isinstance(value, Traced) and isinstance(value.type, Record):
            return value.value
        if isinstance(value, Completions):
            return self.first(value, node)
        cls = type(value) if not isinstance(value, Traced) and hasattr(value, "toDict") else None
        if cls is not None:
            value = value.toDict()
        if isinstance(value, dict):
            return self.pack(value, node, cls).value
        self.state.plain = True
        lifted = self.lift(value, node)
        self.state.whole = whole and kept(self.context, lifted)
        return self.pack({self.state.single: Traced(lifted)}, node).value

    def first(self, completions: Completions, node: ast.AST) -> Value:
        zero = self.const(0, node, INT)
        return self.emit(prog.Apply, completions.rows, zero, node=node, fn="index").result

    # -- regions ----------------------------------------------------------------------------------------------

    @contextmanager
    def inside(self, region: Region) -> Iterator[Region]:
        """Emit into `region` meanwhile."""
        before, self.region = self.region, region
        try:
            yield region
        finally:
            self.region = before

    def attempt(self, try_: Callable[[], _T], otherwise: Callable[[Untraceable], _T]) -> _T:
        """`try_`, and if it cannot be traced, everything undone and `otherwise`."""
        mark, names, types = len(self.region.ops), dict(self.frame.names), dict(self.frame.types)
        counts, quiet = dict(self.state.counts), self.quiet
        region, frame = self.region, self.frame
        try:
            return try_()
        except Untraceable as e:
            self.region, self.frame, self.quiet = region, frame, quiet
            self.undo(mark)
            self.frame.names, self.frame.types, self.state.counts = names, types, counts
            return otherwise(e)

    def undo(self, mark: int) -> None:
        """Remove the ops after the first `mark` of this region."""
        for op in reversed(self.region.ops[mark:]):
            for nested in op.regions:
                nested.drop()
            op.drop_operands()
            op.parent = None
        del self.region.ops[mark:]

    def known(self, compute: Callable[[], _T]) -> tuple[bool, _T | None]:
        """(True, result) if `compute` needs no op at all, else (False, None), everything undone."""
        names, types, counts = dict(self.frame.names), dict(self.frame.types), dict(self.state.counts)
        region, frame, quiet, self.quiet = self.region, self.frame, self.quiet, True
        try:
            return True, compute()
        except (WouldEmit, Untraceable):
            self.region, self.frame = region, frame
            self.frame.names, self.frame.types, self.state.counts = names, types, counts
            return False, None
        finally:
            self.quiet = quiet


def item_type(t: Type) -> Type:
    """Type of the items of a list or text."""
    return t.item if isinstance(t, ListOf) else t if str(t) == "str" else ANY
