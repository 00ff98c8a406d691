"""Before and after passes in one picture: what is gone stays as a ghost, in its place.

Passes change a module in place, so an op that is the same object before and after is the same box. What became of the
others is known from the rewriter (`lampc.ir.rewrite.watched`): merged into an equal one, or replaced by other values.
What left without either was removed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from lampc.ir import Assignment, Module, Op, Region, Value
from lampc.ir.rewrite import Change, watched
from lampc.passes.manager import PassContext, Pipeline, RunOptions
from lampc.runtime.pictures.graph import Edge, Node, Picture, PictureMaker, Step


def compare(
    module: Module,
    pipeline: Pipeline,
    shown: Collection[str],
    ctx: PassContext | None = None,
    *,
    together: bool = False,
    assignment: Assignment | None = None,
    definitions: bool = False,
    functions: Collection[str] | None = None,
) -> list[Step]:
    """Run a pipeline on `module`, changing it, as far as the last of the passes in `shown`; gives what these did.

    `together` makes one step of all from the first shown to the last. Raises what the pipeline raises.
    """
    places = [i for i, item in enumerate(pipeline.passes) if item.name in shown]
    if not places:
        return []
    if together:
        parts = [(places[0], places[-1] + 1)]
    else:
        parts = [(i, i + 1) for i in places]

    def drawn() -> PictureMaker:
        maker = PictureMaker(module, assignment, {}, definitions, functions)
        maker.make()
        return maker

    options = RunOptions(crash_dir=None)
    at, steps = 0, []
    for first, end in parts:
        Pipeline(pipeline.passes[at:first]).run(module, ctx, options)
        items = pipeline.passes[first:end]
        before = drawn()
        with watched() as changes:
            report = Pipeline(items).run(module, ctx, options)
        counters = report.counters() if len(items) > 1 else dict(report.rows[0].counters)
        name, label = ", ".join(p.name for p in items), ", ".join(dict.fromkeys(p.label for p in items))
        picture = union(before, drawn(), changes)
        steps.append(Step(name, label, {k: v for k, v in counters.items() if v}, picture))
        at = end
    return steps


def union(before: PictureMaker, after: PictureMaker, changes: Sequence[Change]) -> Picture:
    """Both pictures in one, with `change` and `into` of nodes and edges."""
    return _Union(before, after, changes).make()


_Object = Op | Region | Value


class _Union:
    def __init__(self, before: PictureMaker, after: PictureMaker, changes: Sequence[Change]) -> None:
        self.before, self.after = before, after
        self.was = {id(o): n for n, o in before.objects.items()}  # object -> node
        self.now = {id(o): n for n, o in after.objects.items()}
        self.fate = {id(c.op): c for c in changes}
        self.out = Picture(after.out.name, findings=list(after.out.findings))
        self.old: dict[str, str] = {}  # node before -> node of the union
        self.new: dict[str, str] = {}

    def make(self) -> Picture:
        kids = self.before.out.children(), self.after.out.children()
        self._place("", ("", ""), kids)
        lost = [(n, self.old) for n in self.before.out.nodes if n.id not in self.old]
        lost += [(n, self.new) for n in self.after.out.nodes if n.id not in self.new]
        for node, names in lost:  # an undefined value has no object: it is told apart by nothing
            self._add(node, names.get(node.parent, ""), "removed" if names is self.old else "added", names)
        for node in self.out.nodes:
            node.into = tuple(dict.fromkeys(self.new[n] for n in node.into if n in self.new))
        self._edges()
        return self.out

    # -- nodes ------------------------------------------------------------------------------------

    def _place(
        self, parent: str, inside: tuple[str, str], kids: tuple[dict[str, list[Node]], dict[str, list[Node]]]
    ) -> None:
        """Add what a container holds before (`inside[0]`) or after (`inside[1]`), `-` if it is not there then."""
        first = [n for n in kids[0].get(inside[0], []) if n.id in self.before.objects]
        second = [n for n in kids[1].get(inside[1], []) if n.id in self.after.objects]
        at = {self._object(0, n): i for i, n in enumerate(first)}
        stays = {o for n in second if (o := self._object(1, n)) in at}
        done = 0
        order: list[tuple[Node | None, Node | None]] = []
        for node in second:
            found = at.get(self._object(1, node))
            if found is not None:
                while done < found:
                    if self._object(0, first[done]) not in stays:
                        order.append((first[done], None))
                    done += 1
                done = max(done, found + 1)
            order.append((first[found] if found is not None else None, node))
        order += [(n, None) for n in first[done:] if self._object(0, n) not in stays]
        for old, new in order:
            made = self._node(parent, old, new)
            self._place(made, (old.id if old else "-", new.id if new else "-"), kids)

    def _object(self, side: int, node: Node) -> int:
        return id((self.before, self.after)[side].objects[node.id])

    def _node(self, parent: str, old: Node | None, new: Node | None) -> str:
        if old is not None and new is not None:
            made = self._add(new, parent, "changed" if _differ(old, new) else "", self.new)
            self.old[old.id] = made.id
            if made.change:
                made.details += tuple((f"Before: {t}", d) for t, d in old.details if (t, d) not in new.details)
            return made.id
        if new is not None:
            moved = self._object(1, new) in self.was
            return self._add(new, parent, "moved" if moved else "added", self.new).id
        assert old is not None
        made = self._add(old, parent, "removed", self.old)
        thing = self.before.objects[old.id]
        if id(thing) in self.now:
            made.change, made.into = "left", (self.now[id(thing)],)
        elif id(thing) in self.fate:
            made.change = self.fate[id(thing)].kind
            made.into = tuple(dict.fromkeys(self._ends(self.fate[id(thing)])))
        return made.id

    def _ends(self, change: Change) -> list[str]:
        """The nodes after the passes that stand for an op: a value may have been replaced again since."""
        found: list[str] = []
        todo, seen = list(change.into), set[int]()
        while todo:
            value = todo.pop(0)
            op = value.defining_op()
            node = self.after.values.get(id(value)) if op is None else self.now.get(id(op))
            if node is not None:
                found.append(node)
            elif op is not None and id(op) in self.fate and id(op) not in seen:
                seen.add(id(op))
                todo += self.fate[id(op)].into
        return found

    def _add(self, node: Node, parent: str, change: str, names: dict[str, str]) -> Node:
        made = replace(node, id=f"n{len(self.out.nodes)}", parent=parent, change=change)
        names[node.id] = made.id
        self.out.nodes.append(made)
        return made

    # -- edges ------------------------------------------------------------------------------------

    def _edges(self) -> None:
        was = dict.fromkeys(_renamed(self.before.out.edges, self.old))
        now = dict.fromkeys(_renamed(self.after.out.edges, self.new))
        self.out.edges += [e if e in was else replace(e, change="added") for e in now]
        self.out.edges += [replace(e, change="removed") for e in was if e not in now]


def _renamed(edges: Sequence[Edge], names: dict[str, str]) -> list[Edge]:
    return [replace(e, source=names[e.source], target=names[e.target]) for e in edges]


def _differ(old: Node, new: Node) -> bool:
    """Whether a box says something else; where it comes from does not count."""
    told: Callable[[Node], object] = lambda n: (n.label, n.note, n.types, [d for d in n.details if d[0] != "Source"])  # noqa: E731
    return told(old) != told(new)
