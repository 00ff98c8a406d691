"""Lines of expressions and types: flat if they fit, else one part a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.literals import key

WIDTH = 100
LEVEL = {"or": 1, "and": 2, "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4, "in": 4, "+": 5, "-": 5,
          "*": 6, "/": 6, "//": 6, "%": 6, "**": 8}  # fmt: skip
_NOT, _UNARY, _CALL, _ATOM = 3, 7, 9, 10


def level(expr: ast.Expr) -> int:
    """How tightly an expression holds together: what is looser than its surroundings needs parentheses."""
    match expr:
        case ast.Binary(_, op):
            return LEVEL[op]
        case ast.Unary(_, op):
            return _NOT if op == "not" else _UNARY
        case ast.Call(_, _, _, attrs) if attrs:
            return _CALL
        case ast.If() | ast.Cond() | ast.Match() | ast.Map():
            return 0
    return _ATOM


def flat_type(t: ast.TypeExpr, inside: bool = False) -> str:
    """A type on one line."""
    match t:
        case ast.TypeName(_, name):
            return name
        case ast.TypeOf(_, name, item):
            return f"{name}[{flat_type(item)}]"
        case ast.TypeLiteral(_, raw):
            return raw
        case ast.TypeRecord(_, fields):
            return "{" + ", ".join(f"{f.name.name}: {flat_type(f.type)}" for f in fields) + "}"
        case ast.TypeMaybe(_, item):
            return flat_type(item, True) + "?"
        case ast.TypeUnion(_, options):
            text = " | ".join(flat_type(o, True) for o in options)
            return f"({text})" if inside else text


def arg(a: ast.Arg, indent: int) -> str:
    return (f"{key(a.name.name)}: " if a.name else "") + expr(a.value, indent)


def attrs(found: Sequence[ast.Attribute]) -> str:
    """Attributes with a space before each."""
    return "".join(
        f" @{a.name}" + ("" if a.args is None else enclosed("(", [arg(x, 0) for x in a.args], ")")) for a in found
    )


def enclosed(opening: str, parts: Sequence[str], closing: str) -> str:
    return opening + ", ".join(parts) + closing


def wrapped(head: str, parts: Sequence[str], tail: str, indent: int, room: int) -> str:
    """`head` + parts + `tail`, broken into one part a line if that does not fit into `room` columns.

    The parts must have been made for `indent + 1`.
    """
    text = head + ", ".join(parts) + tail
    if not parts or ("\n" not in text and len(text) <= room) or (len(parts) == 1 and _hugs(parts[0])):
        return text
    pad = "  " * (indent + 1)
    return head + "".join(f"\n{pad}{p}," for p in parts) + "\n" + "  " * indent + tail


def _hugs(part: str) -> bool:
    return "\n" in part and part.endswith(("}", ")", "]")) and "\n" not in part.split("\n", 1)[0]


class _Blocks(Exception):
    """An expression holds blocks, so it takes several lines."""


def expr(e: ast.Expr, indent: int, room: int = WIDTH) -> str:
    """An expression; lines after the first are indented by `indent` levels or more."""
    try:
        line = _compose(e, _line)
    except _Blocks:
        return _broken(e, indent, room)
    return line if len(line) + 2 * indent <= room else _broken(e, indent, room)


def _line(e: ast.Expr) -> str:
    return _compose(e, _line)


_Render = Callable[[ast.Expr], str]


def _inside(e: ast.Expr, least: int, render: _Render) -> str:
    text = render(e)
    return f"({text})" if level(e) < least else text


def _compose(e: ast.Expr, render: _Render) -> str:
    """An expression without breaks of its own, its parts written by `render`. Raises _Blocks."""

    def given(a: ast.Arg) -> str:
        return (f"{key(a.name.name)}: " if a.name else "") + render(a.value)

    match e:
        case ast.Literal(_, _, raw):
            return raw
        case ast.Var(_, name):
            return name
        case ast.ListOfExprs(_, items):
            return enclosed("[", [render(i) for i in items], "]")
        case ast.RecordOfExprs(_, args):
            return enclosed("(", [given(a) for a in args], ")")
        case ast.Get(_, value, name):
            return f"{_inside(value, _ATOM, render)}.{name.name}"
        case ast.Index(_, value, index):
            return f"{_inside(value, _ATOM, render)}[{render(index)}]"
        case ast.Slice(_, value, start, end):
            ends = [render(x) if x else "" for x in (start, end)]
            return f"{_inside(value, _ATOM, render)}[{':'.join(ends)}]"
        case ast.Call(_, callee, args, found):
            return _inside(callee, _ATOM, render) + enclosed("(", [given(a) for a in args], ")") + attrs(found)
        case ast.Unary(_, op, value):
            return f"not {_inside(value, _NOT, render)}" if op == "not" else f"-{_inside(value, _UNARY, render)}"
        case ast.Binary(_, op, left, right):
            own = LEVEL[op]
            chains = own <= 2  # `and` and `or` group to the right
            right_least = _UNARY if op == "**" else own if chains else own + 1
            left_least = _CALL if op == "**" else own + (own == 4 or chains)
            return f"{_inside(left, left_least, render)} {op} {_inside(right, right_least, render)}"
        case ast.Cond(_, cond, then, orelse):
            return f"if {_inside(cond, 1, render)} then {render(then)} else {render(orelse)}"
    raise _Blocks


def _broken(e: ast.Expr, indent: int, room: int) -> str:
    """An expression that does not fit on a line, or holds blocks."""
    left = room - 2 * indent

    def render(part: ast.Expr) -> str:
        return expr(part, indent)

    match e:
        case ast.ListOfExprs(_, items):
            return wrapped("[", [expr(i, indent + 1) for i in items], "]", indent, left)
        case ast.RecordOfExprs(_, args):
            return wrapped("(", [arg(a, indent + 1) for a in args], ")", indent, left)
        case ast.Call(_, callee, args, found):
            head, tail = _inside(callee, _ATOM, render) + "(", ")" + attrs(found)
            if len(args) == 1 and isinstance(args[0].value, ast.If | ast.Match | ast.Map):
                return head + arg(args[0], indent) + tail
            return wrapped(head, [arg(a, indent + 1) for a in args], tail, indent, left)
        case ast.Cond(_, cond, then, orelse):
            pad = "\n" + "  " * (indent + 1)
            sides = f"{pad}then {expr(then, indent + 1)}{pad}else {expr(orelse, indent + 1)}"
            return f"if {_inside(cond, 1, render)}{sides}"
        case ast.If() | ast.Match() | ast.Map():
            from lampc.frontend.lmp.format import nested

            return nested(e, indent)
    return _compose(e, render)
