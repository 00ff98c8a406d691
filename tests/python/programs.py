"""Random small Python programs over ints, texts and lists, as source text."""

from __future__ import annotations

from hypothesis import strategies as st

_INTS = ("a", "b", "c")
_TEXTS = ("s", "t")
_LISTS = ("xs", "ys")


def _pick(draw: st.DrawFn, options: tuple[str, ...]) -> str:
    return draw(st.sampled_from(options))


def integer(draw: st.DrawFn, depth: int = 2, extra: tuple[str, ...] = ()) -> str:
    """An expression that gives an int."""
    kind = draw(st.integers(0, 11)) if depth else draw(st.integers(0, 1))

    def sub() -> str:
        return integer(draw, depth - 1, extra)

    match kind:
        case 0:
            return str(draw(st.integers(-3, 5)))
        case 1:
            return _pick(draw, _INTS + extra)
        case 2 | 3:
            return f"({sub()} {_pick(draw, ('+', '-', '*'))} {sub()}) % 97"
        case 4:
            return f"({sub()} // {draw(st.sampled_from(['2', '3', sub()]))})"
        case 5:
            return f"len({sequence(draw)})"
        case 6:
            return f"({sub()} if {condition(draw, depth - 1, extra)} else {sub()})"
        case 7:
            return f"max({sub()}, {sub()})"
        case 8:
            return f"sum([v % 7 for v in {sequence(draw)} if {condition(draw, 0, ('v',))}])"
        case 9:
            return f"-{sub()}"
        case 10:
            return f"ask(q={_pick(draw, _TEXTS)}).n"
        case _:
            return f"abs({sub()})"


def condition(draw: st.DrawFn, depth: int = 1, extra: tuple[str, ...] = ()) -> str:
    """An expression used as a truth value."""
    kind = draw(st.integers(0, 6)) if depth > 0 else draw(st.integers(0, 1))

    def sub() -> str:
        return condition(draw, depth - 1, extra)

    match kind:
        case 0 | 1:
            op = _pick(draw, ("<", "<=", ">", ">=", "==", "!="))
            return f"{integer(draw, max(depth, 0), extra)} {op} {integer(draw, 0, extra)}"
        case 2:
            return f"({sub()} {_pick(draw, ('and', 'or'))} {sub()})"
        case 3:
            return f"not {sub()}"
        case 4:
            return f"{integer(draw, 0, extra)} in {sequence(draw)}"
        case 5:
            return f"{text(draw)} == {_pick(draw, _TEXTS)}"
        case _:
            return f"{_pick(draw, _LISTS)} and {_pick(draw, _LISTS)}[0] > {integer(draw, 0, extra)}"


def text(draw: st.DrawFn) -> str:
    """An expression that gives a text."""
    match draw(st.integers(0, 5)):
        case 0:
            return repr(draw(st.sampled_from(["", "x", "yes no"])))
        case 1 | 2:
            return _pick(draw, _TEXTS)
        case 3:
            return f'f"{{{_pick(draw, _TEXTS)}}}-{{{integer(draw, 1)}}}"'
        case 4:
            return f"({_pick(draw, _TEXTS)} + str({integer(draw, 1)}))[-12:]"
        case _:
            return f"{_pick(draw, _TEXTS)}.{_pick(draw, ('upper', 'lower', 'strip', 'title'))}()"


def sequence(draw: st.DrawFn) -> str:
    """An expression that gives a list of ints."""
    match draw(st.integers(0, 5)):
        case 0 | 1 | 2:
            return _pick(draw, _LISTS)
        case 3:
            return f"[{integer(draw, 0)}, {integer(draw, 0)}]"
        case 4:
            return f"{_pick(draw, _LISTS)}[{draw(st.sampled_from(['1:', ':2', '::-1', '-1:']))}]"
        case _:
            return f"sorted({_pick(draw, _LISTS)})"


def block(draw: st.DrawFn, depth: int, loops: int, indent: str, extra: tuple[str, ...]) -> list[str]:
    """Lines of one to three statements."""
    out: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        out += statement(draw, depth, loops, indent, extra)
    return out


def statement(draw: st.DrawFn, depth: int, loops: int, indent: str, extra: tuple[str, ...]) -> list[str]:
    """Lines of a statement. `loops` counts enclosing loops, `extra` are ints that may be read."""
    kind = draw(st.integers(0, 13)) if depth else draw(st.integers(0, 6))
    more = indent + "    "
    match kind:
        case 0 | 1:
            return [f"{indent}{_pick(draw, _INTS)} = {integer(draw, 2, extra)}"]
        case 2:
            return [f"{indent}{_pick(draw, _INTS)} {_pick(draw, ('+=', '-='))} {integer(draw, 1, extra)}"]
        case 3:
            return [f"{indent}t = {text(draw)}"]
        case 4:
            return [f"{indent}ys.append({integer(draw, 1, extra)})"]
        case 5:
            return [f"{indent}ys = [{integer(draw, 1, ('w',))} for w in {sequence(draw)}]"]
        case 6:
            if loops and draw(st.booleans()):
                return [f"{indent}if {condition(draw, 1, extra)}:", f"{more}{_pick(draw, ('break', 'continue'))}"]
            return [f"{indent}a, b = b, {integer(draw, 0, extra)}"]
        case 7 | 8:
            lines = [f"{indent}if {condition(draw, 1, extra)}:", *block(draw, depth - 1, loops, more, extra)]
            if draw(st.booleans()):
                lines += [f"{indent}else:", *block(draw, depth - 1, loops, more, extra)]
            return lines
        case 9:
            return [f"{indent}if {condition(draw, 1, extra)}:", f"{more}return {result(draw)}"]
        case 10:
            v = f"i{depth}"
            over = draw(st.sampled_from(["range(3)", f"range({integer(draw, 0)})", "[1, 2]", "range(1, 4)"]))
            return [f"{indent}for {v} in {over}:", *block(draw, depth - 1, loops + 1, more, (*extra, v))]
        case 11 | 12:
            v = f"j{depth}"
            return [
                f"{indent}for {v} in list({sequence(draw)}):",
                *block(draw, depth - 1, loops + 1, more, (*extra, v)),
            ]
        case _:
            n = f"n{depth}"
            body = block(draw, depth - 1, loops + 1, more, (*extra, n))
            stop = f" and {condition(draw, 0, extra)}" if draw(st.booleans()) else ""
            return [f"{indent}{n} = 3", f"{indent}while {n} > 0{stop}:", f"{more}{n} -= 1", *body]


def result(draw: st.DrawFn) -> str:
    return '{"a": a, "t": t, "ys": ys, "c": ' + integer(draw, 1) + "}"


@st.composite
def sources(draw: st.DrawFn) -> str:
    """A function `f(a, b, s, xs)` that returns a record."""
    body = block(draw, 2, 0, "    ", ())
    body += block(draw, 2, 0, "    ", ())
    head = ["def f(a: int, b: int, s: str, xs: list[int]):", "    c, t, ys = 1, s, []"]
    return "\n".join([*head, *body, f"    return {result(draw)}"]) + "\n"
