"""What a block of Python reads, sets and jumps: syntax only, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

MUTATORS = frozenset(
    {"append", "extend", "insert", "clear", "sort", "reverse", "remove", "pop", "update", "setdefault"}
)
"""Methods that change a list or dict in place."""


_NONE: frozenset[str] = frozenset()


def live_before(block: Sequence[ast.stmt], after: frozenset[str], loop: frozenset[str] = _NONE) -> frozenset[str]:
    """Names that may be read, before being set, by `block` or by what follows (`after`).

    `loop` are those live where a `break` or `continue` of the enclosing loop goes.
    """
    live = after
    for statement in reversed(block):
        live = _before(statement, live, loop)
    return live


def loop_live(body: Sequence[ast.stmt], after: frozenset[str], stored: frozenset[str] = _NONE) -> frozenset[str]:
    """Names live at the end of an iteration of a loop with this body: by the next one, or after the loop."""
    first = live_before(body, after, after) - stored
    return after | first | (live_before(body, after | first, after | first) - stored)


def _before(s: ast.stmt, after: frozenset[str], loop: frozenset[str]) -> frozenset[str]:
    match s:
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            targets = s.targets if isinstance(s, ast.Assign) else [s.target]
            stored = frozenset[str]().union(*map(target_names, targets))
            read = loads(s.value) if s.value else set()
            read = read.union(*map(loads, targets), stored if isinstance(s, ast.AugAssign) else ())
            return (after - stored) | read
        case ast.If():
            return live_before(s.body, after, loop) | live_before(s.orelse, after, loop) | loads(s.test)
        case ast.Match():
            arms = [live_before(c.body, after, loop) | loads(c.pattern) for c in s.cases]
            return after.union(loads(s.subject), *arms)
        case ast.For():
            own = target_names(s.target)
            inner = loop_live(s.body, after, own)
            return after | (live_before(s.body, inner, inner) - own) | loads(s.iter)
        case ast.While():
            inner = loop_live(s.body, after | loads(s.test))
            return after | live_before(s.body, inner, inner) | loads(s.test)
        case ast.Try():
            handlers = frozenset[str]().union(*(live_before(h.body, after, loop) for h in s.handlers))
            whole = live_before([*s.body, *s.orelse], live_before(s.finalbody, after, loop) | handlers, loop)
            return whole | handlers
        case ast.Return():
            return frozenset(loads(s.value)) if s.value else _NONE
        case ast.Break() | ast.Continue():
            return loop
        case ast.FunctionDef():
            return (after - {s.name}) | {n for b in s.body for n in loads(b)}
    return after | loads(s)


def target_names(target: ast.AST) -> frozenset[str]:
    """Names that a target of an assignment or loop sets."""
    return frozenset(n.id for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def loads(node: ast.AST) -> set[str]:
    """Names read anywhere in `node`; also those changed in place (`xs.append(x)`, `xs[i] = x`)."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def walk_block(block: Iterable[ast.AST], into_loops: bool = True) -> Iterator[ast.AST]:
    """All nodes of a block, not those of functions and classes defined in it."""
    stack = list(block)
    while stack:
        node = stack.pop(0)
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if not into_loops and isinstance(node, ast.For | ast.While):
            stack = [*node.orelse, *stack]
            continue
        stack = [*ast.iter_child_nodes(node), *stack]


def assigned(block: Sequence[ast.stmt]) -> list[str]:
    """Names that a block sets or changes in place, in order of first appearance."""
    out: dict[str, None] = {}
    for node in walk_block(block):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            out[node.id] = None
        elif isinstance(node, ast.FunctionDef):
            out[node.name] = None
        elif isinstance(node, ast.comprehension):
            continue
        elif (name := mutated(node)) is not None:
            out[name] = None
    for node in walk_block(block):  # the targets of comprehensions are their own
        if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
            own = _NONE.union(*(target_names(g.target) for g in node.generators))
            for name in own - {n.id for n in _plain_stores(block)}:
                out.pop(name, None)
    return list(out)


def _plain_stores(block: Sequence[ast.stmt]) -> Iterator[ast.Name]:
    for node in walk_block(block):
        targets: list[ast.AST] = []
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.For | ast.NamedExpr):
            targets = [node.target]
        for t in targets:
            yield from (n for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


def mutated(node: ast.AST) -> str | None:
    """The name that a node changes in place, if it does."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
        return node.func.value.id if isinstance(node.func.value, ast.Name) else None
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return node.value.id if isinstance(node.value, ast.Name) else None
    return None


def has_return(block: Iterable[ast.AST]) -> bool:
    return any(isinstance(n, ast.Return) for n in walk_block(block))


def jumps(statement: ast.stmt) -> bool:
    """Whether a statement may leave its block: return, raise, or break/continue of an enclosing loop."""
    if isinstance(statement, ast.For | ast.While):
        return has_return([statement])
    if any(isinstance(n, ast.Return | ast.Raise) for n in walk_block([statement])):
        return True
    return any(isinstance(n, ast.Break | ast.Continue) for n in walk_block([statement], into_loops=False))


def shared(function: ast.FunctionDef) -> set[str]:
    """Names changed in place whose list or dict is also known elsewhere: by-value tracing would be wrong.

    A name is safe if all that is assigned to it is made on the spot (a display, comprehension, operator or
    call of list/sorted/dict), and if it never stands alone where another name or container could keep it.
    """
    changed = {n for node in walk_block(function.body) if (n := mutated(node)) is not None}
    if not changed:
        return set()
    arguments = function.args
    bad = {a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)} & changed
    known: set[str] = set()
    returned = {id(n) for r in walk_block(function.body) if isinstance(r, ast.Return) for n in ast.walk(r)}
    for node in walk_block(function.body):
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target, value in (pair for t in targets for pair in _pairs(t, node.value)):
                names = target_names(target)
                known |= names
                fresh = value is None or (_fresh(value) and isinstance(target, ast.Name) and len(targets) == 1)
                bad |= (set() if fresh else names & changed) | (_kept(value) & changed if value else set())
        elif isinstance(node, ast.For):
            bad |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)} & changed
        elif isinstance(node, ast.List | ast.Dict | ast.Set) and id(node) not in returned:
            bad |= {n.id for n in ast.iter_child_nodes(node) if isinstance(n, ast.Name)} & changed
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            bad |= {a.id for a in node.args if isinstance(a, ast.Name) and node.func.attr != "extend"} & changed
        elif isinstance(node, ast.FunctionDef | ast.Lambda):
            bad |= loads(node) & changed
    return bad | (changed - known)


def _pairs(target: ast.expr, value: ast.expr | None) -> list[tuple[ast.expr, ast.expr | None]]:
    """What is assigned to what: `a, b = x, y` taken apart."""
    if not (isinstance(target, ast.Tuple | ast.List) and isinstance(value, ast.Tuple | ast.List)):
        return [(target, value)]
    if len(target.elts) != len(value.elts) or any(isinstance(e, ast.Starred) for e in target.elts):
        return [(target, value)]
    return [pair for t, v in zip(target.elts, value.elts, strict=True) for pair in _pairs(t, v)]


def _fresh(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return isinstance(value.func, ast.Name) and value.func.id in ("list", "sorted", "dict")
    if isinstance(value, ast.IfExp):
        return _fresh(value.body) and _fresh(value.orelse)
    return isinstance(value, ast.List | ast.Dict | ast.ListComp | ast.BinOp | ast.Constant)


def _kept(value: ast.expr) -> set[str]:
    match value:
        case ast.Name(id=name):
            return {name}
        case ast.Tuple(elts=elts):
            return set().union(*map(_kept, elts)) if elts else set()
        case ast.IfExp(body=a, orelse=b):
            return _kept(a) | _kept(b)
        case ast.BoolOp(values=values):
            return set().union(*map(_kept, values))
        case ast.NamedExpr(value=inner):
            return _kept(inner)
    return set()
