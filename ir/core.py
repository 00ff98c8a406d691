"""SSA values, mutable ops, single-block regions, modules.

A `Value` is defined once, by an op (as a result) or by a region (as an argument). An `Op` has operands,
attributes, results and regions; what it means is declared by its class (`lampc.ir.define`). A `Region`
holds one block: arguments and a list of ops, the last of which is a terminator. Values of enclosing
regions may be used inside (captured by dominance), never the other way round.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Self

from lampc.ir.attrs import Attr
from lampc.ir.effects import Trait
from lampc.ir.loc import UNKNOWN, Loc
from lampc.ir.types import Type

_serial = itertools.count()


class Value:
    """One SSA value. `hint` is the name that the printer tries to use; `uses` are (op, operand index)."""

    __slots__ = ("hint", "index", "owner", "serial", "type", "uses")

    def __init__(self, type: Type, owner: Op | Region, index: int, hint: str = "") -> None:
        self.type = type
        self.owner = owner
        self.index = index
        self.hint = hint
        self.uses: dict[tuple[int, int], Op] = {}
        self.serial = next(_serial)

    @property
    def users(self) -> list[Op]:
        """Ops that use this value, each once, in the order in which the uses were made."""
        return list({id(op): op for op in self.uses.values()}.values())

    def defining_op(self) -> Op | None:
        """The op whose result this is, or None for a region argument."""
        return self.owner if isinstance(self.owner, Op) else None

    def replace_by(self, other: Value) -> None:
        """Make every use of this value a use of `other`."""
        for (_, index), op in list(self.uses.items()):
            op.set_operand(index, other)

    def __repr__(self) -> str:
        return f"%{self.hint or self.serial}: {self.type}"


class Op:
    """An operation. Made through its declared class, or as a bare `Op` when its name is not registered."""

    name: ClassVar[str] = "unregistered"
    traits: ClassVar[frozenset[Trait]] = frozenset()
    gives_results: ClassVar[bool] = True

    def __init__(
        self,
        operands: Iterable[Value] = (),
        attrs: dict[str, Attr] | None = None,
        regions: Iterable[Region] = (),
        result_types: Iterable[Type] = (),
        *,
        symbol: str = "",
        loc: Loc = UNKNOWN,
        op_name: str = "",
    ) -> None:
        self.op_name = op_name or self.name
        self.symbol = symbol
        self.operands: list[Value] = []
        self.attrs: dict[str, Attr] = dict(attrs or {})
        self.loc = loc
        self.parent: Region | None = None
        self.regions: list[Region] = list(regions)
        for region in self.regions:
            region.parent = self
        for value in operands:
            self._add_operand(value)
        self.results: list[Value] = [Value(t, self, i) for i, t in enumerate(result_types)]

    @classmethod
    def make(
        cls,
        *operands: Value,
        regions: Iterable[Region] = (),
        types: Iterable[Type] | None = None,
        symbol: str = "",
        loc: Loc = UNKNOWN,
        hint: str = "",
        **attrs: Attr,
    ) -> Self:
        """Build an op of this class; result types are inferred unless given, default attributes left out.

        Raises ValueError if the class cannot infer its result types and none are given.
        """
        made = cls(operands, attrs, regions, (), symbol=symbol, loc=loc)
        for name, value in attrs.items():
            setattr(made, name, value)  # the declared property drops what equals the default
        inferred = tuple(types) if types is not None else made.infer()
        if inferred is None and not cls.gives_results:
            inferred = ()
        if inferred is None:
            raise ValueError(f"{cls.name}: give `types`, they do not follow from the operands")
        made.results = [Value(t, made, i) for i, t in enumerate(inferred)]
        if hint and made.results:
            made.results[0].hint = hint
        return made

    # -- operands ---------------------------------------------------------------------------------

    def _add_operand(self, value: Value) -> None:
        value.uses[(id(self), len(self.operands))] = self
        self.operands.append(value)

    def set_operand(self, index: int, value: Value) -> None:
        """Replace operand `index`, keeping use lists true."""
        del self.operands[index].uses[(id(self), index)]
        self.operands[index] = value
        value.uses[(id(self), index)] = self

    def set_operands(self, values: Iterable[Value]) -> None:
        """Replace all operands."""
        new = list(values)
        self.drop_operands()
        for value in new:
            self._add_operand(value)

    def drop_operands(self) -> None:
        for index, value in enumerate(self.operands):
            value.uses.pop((id(self), index), None)
        self.operands = []

    # -- structure --------------------------------------------------------------------------------

    @property
    def result(self) -> Value:
        """The single result. Raises ValueError if there is none or more than one."""
        (only,) = self.results
        return only

    def infer(self) -> tuple[Type, ...] | None:
        """Result types implied by operands and attributes, or None if the op carries them itself."""
        return None

    def check(self) -> list[str]:
        """Findings of this op's own rules (one sentence each), for the verifier."""
        return []

    def erase(self) -> None:
        """Take the op out of its region. Raises ValueError if a result is still used."""
        for value in self.results:
            if value.uses:
                raise ValueError(f"{self.op_name}: result {value!r} is still used by {value.users[0].op_name}")
        for region in self.regions:
            region.drop()
        self.drop_operands()
        if self.parent is not None:
            self.parent.remove(self)

    def parent_op(self) -> Op | None:
        return self.parent.parent if self.parent else None

    def walk(self) -> Iterator[Op]:
        """This op and every op nested in it, in program order."""
        yield self
        for region in self.regions:
            yield from region.walk()

    def clone(self, mapping: dict[Value, Value]) -> Op:
        """A deep copy whose operands are looked up in `mapping`, which gains the copied values."""
        copy = object.__new__(type(self))
        Op.__init__(
            copy,
            [mapping.get(v, v) for v in self.operands],
            self.attrs,
            (),
            [v.type for v in self.results],
            symbol=self.symbol,
            loc=self.loc,
            op_name=self.op_name,
        )
        for old, new in zip(self.results, copy.results, strict=True):
            new.hint = old.hint
            mapping[old] = new
        for region in self.regions:
            made = region.clone(mapping)
            made.parent = copy
            copy.regions.append(made)
        return copy

    def __repr__(self) -> str:
        return f"<{self.op_name} {'@' + self.symbol if self.symbol else ''}>"


class Region:
    """One block: typed arguments and ops. The last op is a terminator (except in a module)."""

    __slots__ = ("_near", "args", "ops", "parent")

    def __init__(self, args: Iterable[tuple[str, Type]] = (), parent: Op | None = None) -> None:
        self._near = 0
        self.args: list[Value] = [Value(t, self, i, hint) for i, (hint, t) in enumerate(args)]
        self.ops: list[Op] = []
        self.parent = parent

    def add_arg(self, type: Type, hint: str = "") -> Value:
        value = Value(type, self, len(self.args), hint)
        self.args.append(value)
        return value

    def append(self, op: Op) -> Op:
        return self.insert(len(self.ops), op)

    def insert(self, index: int, op: Op) -> Op:
        op.parent = self
        self.ops.insert(index, op)
        return op

    @property
    def terminator(self) -> Op | None:
        return self.ops[-1] if self.ops and Trait.TERMINATOR in self.ops[-1].traits else None

    def index(self, op: Op) -> int:
        """The place of an op. It is looked for around the place that was asked for last, so that who goes through a
        region in either direction, changing it, takes linear time. Raises ValueError if the op is not in the region."""
        ops, count = self.ops, len(self.ops)
        above = min(self._near, count)
        below = above - 1
        while above < count or below >= 0:
            if above < count and ops[above] is op:
                self._near = above
                return above
            if below >= 0 and ops[below] is op:
                self._near = below
                return below
            above, below = above + 1, below - 1
        raise ValueError(f"{op!r} is not in this region")

    def remove(self, op: Op) -> None:
        """Take an op out, which keeps its operands. Raises ValueError if it is not in the region."""
        del self.ops[self.index(op)]
        op.parent = None

    def walk(self) -> Iterator[Op]:
        for op in list(self.ops):
            if op.regions:
                yield from op.walk()
            else:
                yield op

    def drop(self) -> None:
        """Remove all ops (last first), so that their uses of outer values end."""
        for op in reversed(self.ops):
            for region in op.regions:
                region.drop()
            op.drop_operands()
            op.parent = None
        self.ops = []

    def clone(self, mapping: dict[Value, Value]) -> Region:
        copy = Region([(a.hint, a.type) for a in self.args])
        mapping.update(zip(self.args, copy.args, strict=True))
        for op in self.ops:
            copy.append(op.clone(mapping))
        return copy


class Module:
    """Module-level ops (functions and definitions, each with a symbol) and the program's name."""

    def __init__(self, name: str = "main", attrs: dict[str, Attr] | None = None) -> None:
        self.name = name
        self.attrs: dict[str, Attr] = dict(attrs or {})
        self.body = Region()

    def add(self, op: Op) -> Op:
        return self.body.append(op)

    def walk(self) -> Iterator[Op]:
        return self.body.walk()

    def lookup(self, symbol: str) -> Op | None:
        """The module-level op named `@symbol`, or None."""
        return next((op for op in self.body.ops if op.symbol == symbol), None)

    def clone(self) -> Module:
        copy = Module(self.name, self.attrs)
        copy.body = self.body.clone({})
        return copy

    def digest(self) -> str:
        """Digest of the module's text form, locations left out."""
        import hashlib

        return hashlib.blake2b(str(self).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def __str__(self) -> str:
        from lampc.ir.text.printer import print_module

        return print_module(self)

    def __eq__(self, other: object) -> bool:
        """Equal if the text forms are: same ops, attributes, structure and value names; not locations."""
        return isinstance(other, Module) and str(self) == str(other)

    __hash__ = None  # type: ignore[assignment]


class Builder:
    """Appends ops at one place, giving each the current location."""

    def __init__(self, region: Region, loc: Loc = UNKNOWN) -> None:
        self.region = region
        self.loc = loc

    def add(self, op: Op, hint: str = "") -> Any:
        """Append `op` (its location filled in if unknown) and return it; `hint` names its first result."""
        if op.loc == UNKNOWN:
            op.loc = self.loc
        if hint and op.results:
            op.results[0].hint = hint
        return self.region.append(op)


def walk_values(region: Region) -> Iterator[Value]:
    """Every value defined in `region` or nested in it."""
    yield from region.args
    for op in region.ops:
        yield from op.results
        for nested in op.regions:
            yield from walk_values(nested)


def ancestors(op: Op, stop: Callable[[Op], bool] = lambda op: False) -> Iterator[Op]:
    """Ops that enclose `op`, innermost first, up to and including the first for which `stop` holds."""
    current = op.parent_op()
    while current is not None:
        yield current
        if stop(current):
            return
        current = current.parent_op()
