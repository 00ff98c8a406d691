"""The graph that every picture is drawn from: nodes in program order, nested in containers, and edges.

Total: broken IR is drawn as well, with its findings on the nodes they are about.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lampc.ir import Assignment, Module, Op, Region, Symbol, Value, verify
from lampc.ir.adapters import Bound, bind_predictors
from lampc.ir.effects import Trait
from lampc.runtime.pictures.describe import details, group_of, label_of, region_title

Counts = Mapping[str, Mapping[str, Any]]
"""What a run counted, by predictor (`classify`) or by call site (`classify#0`): name -> number."""


CHANGES = {
    "added": "new",
    "changed": "changed in place",
    "moved": "moved here",
    "left": "moved elsewhere",
    "merged": "merged into an equal one",
    "replaced": "replaced by others",
    "removed": "removed",
}
"""What `Node.change` may say."""
GONE = frozenset({"left", "merged", "replaced", "removed"})
"""Changes of nodes that are not there afterwards: ghosts."""
FRESH = frozenset({"added", "moved"})
"""Changes of nodes that were not there, or not in this place, before."""


@dataclass(slots=True)
class Node:
    """A box. `kind` is `op`, `region` or `arg`; containers (ops with regions, and regions) hold others.

    `group` chooses the colour; `details` are (title, text) pairs for whoever asks; `problems` are the
    verifier's findings. In a comparison `change` says what became of it (one of `CHANGES`, or empty), and `into` are
    the nodes that stand for it now.
    """

    id: str
    kind: str
    op: str
    label: str
    note: str = ""
    group: str = "value"
    parent: str = ""
    container: bool = False
    types: tuple[str, ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    counts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    change: str = ""
    into: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """`kind` is `data` (a value flows), `control` (an order, or the way back of a loop) or `ref` (a symbol is used).
    In a comparison `change` is `added`, `removed` or empty."""

    source: str
    target: str
    kind: str = "data"
    label: str = ""
    type: str = ""
    change: str = ""


@dataclass(slots=True)
class Picture:
    """A module as boxes and arrows. `findings` are those that belong to no node."""

    name: str
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def children(self) -> dict[str, list[Node]]:
        """Nodes by the id of what holds them ("" for the top), in program order."""
        out: dict[str, list[Node]] = {}
        for node in self.nodes:
            out.setdefault(node.parent, []).append(node)
        return out


@dataclass(frozen=True, slots=True)
class Step:
    """What a pass, or several, did: its name, its label (`lampc.passes.table.LABELS`), its counters, the picture."""

    name: str
    label: str
    counters: dict[str, int]
    picture: Picture


def picture(
    module: Module,
    *,
    assignment: Assignment | None = None,
    counts: Counts | None = None,
    definitions: bool = False,
    functions: Collection[str] | None = None,
) -> Picture:
    """The picture of a module. With `definitions`, predictors, models and tools are boxes of their own.

    `functions` are the functions to draw (all if None). Raises nothing: what cannot be described is drawn by
    its name.
    """
    return PictureMaker(module, assignment, counts or {}, definitions, functions).make()


def reachable(module: Module, entry: str) -> set[str]:
    """The functions that `entry` calls, itself included: what is left are metrics, tests and other programs."""
    functions = {op.symbol: op for op in module.body.ops if op.regions}
    found: set[str] = set()
    todo = [entry]
    while todo:
        name = todo.pop()
        if name in functions and name not in found:
            found.add(name)
            callees = (op.attrs.get("callee") for op in functions[name].walk())
            todo += [c.name for c in callees if isinstance(c, Symbol)]
    return found


class PictureMaker:
    """Makes one picture, see `picture`; `objects` are then the op, region or argument of each node."""

    def __init__(
        self,
        module: Module,
        assignment: Assignment | None,
        counts: Counts,
        definitions: bool,
        functions: Collection[str] | None,
    ) -> None:
        self.module = module
        self.counts = counts
        self.definitions = definitions
        self.functions = functions
        self.out = Picture(module.name)
        self.values: dict[int, str] = {}  # id(value) -> node
        self.ops: dict[int, Node] = {}
        self.symbols: dict[str, str] = {}
        self.drawn: set[Edge] = set()
        self.objects: dict[str, Op | Region | Value] = {}
        self.bound = self._bound(assignment)

    def _bound(self, assignment: Assignment | None) -> dict[str, Bound]:
        try:
            return bind_predictors(self.module, assignment)
        except Exception as e:  # broken IR is drawn, not refused
            self.out.findings.append(f"predictors cannot be read: {e}")
            return {}

    def make(self) -> Picture:
        tops = [o for o in self.module.body.ops if self.wanted(o)]
        for op in tops:
            self.node(op, "")
        for op in tops:
            self.edges(op)
        self.findings()
        return self.out

    def wanted(self, op: Op) -> bool:
        """Whether an op at the top of the module is drawn: functions asked for, strays, perhaps definitions."""
        if op.regions:
            return self.functions is None or op.symbol in self.functions
        return self.definitions or Trait.DEFINITION not in op.traits

    # -- nodes ------------------------------------------------------------------------------------

    def add(self, node: Node) -> Node:
        self.out.nodes.append(node)
        return node

    def fresh(self) -> str:
        return f"n{len(self.out.nodes)}"

    def node(self, op: Op, parent: str) -> None:
        label, note = label_of(op)
        made = self.add(
            Node(
                self.fresh(),
                "op",
                op.op_name,
                label,
                note,
                group_of(op),
                parent,
                bool(op.regions),
                tuple(str(v.type) for v in op.results),
                details(op, self.bound),
                self.counted(op),
            )
        )
        self.ops[id(op)] = made
        self.objects[made.id] = op
        if op.symbol:
            self.symbols.setdefault(op.symbol, made.id)
        for value in op.results:
            self.values[id(value)] = made.id
        for index, region in enumerate(op.regions):
            inside = made.id
            if len(op.regions) > 1:
                title = region_title(op, index)
                inside = self.add(Node(self.fresh(), "region", op.op_name, title, "", "region", made.id, True)).id
                self.objects[inside] = region
            self.region(region, inside)

    def region(self, region: Region, parent: str) -> None:
        for arg in region.args:
            made = self.add(
                Node(self.fresh(), "arg", "argument", arg.hint or f"#{arg.index}", "", "io", parent, False,
                     (str(arg.type),), (("Type", str(arg.type)),))
            )  # fmt: skip
            self.values[id(arg)] = made.id
            self.objects[made.id] = arg
        for op in region.ops:
            self.node(op, parent)

    def counted(self, op: Op) -> dict[str, Any]:
        key = op.attrs.get("key")
        path = getattr(key, "path", ())
        predictor = op.attrs.get("predictor")
        names = ["/".join(map(str, path)), str(path[-1]) if path else ""]
        if isinstance(predictor, Symbol):
            names.append(predictor.name)
        return next((dict(self.counts[n]) for n in names if n in self.counts), {})

    # -- edges ------------------------------------------------------------------------------------

    def edges(self, op: Op) -> None:
        node = self.ops[id(op)]
        for value in op.operands:
            self.link(value, node)
        for name in ("callee", "of", "tool", "retriever", "predictor"):
            symbol = op.attrs.get(name)
            if isinstance(symbol, Symbol) and symbol.name in self.symbols:
                self.out.edges.append(Edge(self.symbols[symbol.name], node.id, "ref", name))
        for region in op.regions:
            self.order(region)
            self.carried(op, region)
            for inner in region.ops:
                self.edges(inner)

    def link(self, value: Value, node: Node) -> None:
        source = self.values.get(id(value))
        if source is None:  # a value that nothing in the module defines
            lost = self.add(Node(self.fresh(), "arg", "unknown", "undefined value", "", "broken", node.parent))
            lost.problems.append("nothing in the module defines this value")
            source = self.values[id(value)] = lost.id
        edge = Edge(source, node.id, "data", value.hint, str(value.type))
        if edge not in self.drawn:  # an operand used twice by one op is one arrow
            self.drawn.add(edge)
            self.out.edges.append(edge)

    def order(self, region: Region) -> None:
        """Ops with effects keep their order within a row."""
        kept = [o for o in region.ops if Trait.CALLS in o.traits and o.attrs.get("effect", "effect") == "effect"]
        for a, b in itertools.pairwise(kept):
            self.out.edges.append(Edge(self.ops[id(a)].id, self.ops[id(b)].id, "control", "then"))

    def carried(self, op: Op, region: Region) -> None:
        """A loop's values go back to its arguments."""
        end = region.terminator
        if op.op_name == "prog.loop" and end is not None:
            for value, arg in zip(end.operands[1:], region.args[:-1], strict=False):
                back = Edge(
                    self.ops[id(end)].id, self.values[id(arg)], "control", value.hint or arg.hint, str(arg.type)
                )
                self.out.edges.append(back)

    # -- findings ---------------------------------------------------------------------------------

    def findings(self) -> None:
        try:
            found = verify(self.module)
        except Exception as e:  # IR too broken even for the verifier
            self.out.findings.append(f"the verifier gave up: {type(e).__name__}: {e}")
            return
        for finding in found:
            node = self.ops.get(id(finding.op))
            if node is None:
                self.out.findings.append(f"{finding.op.op_name}: {finding.message}")
            else:
                node.problems.append(finding.message)
