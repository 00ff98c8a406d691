"""Loops of the IR back to `loop (...) max n { ... next (...) until ...; }`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lampc.frontend.lmp.emit_text import NotSayable
from lampc.ir import Op, Value, prog

if TYPE_CHECKING:
    from lampc.frontend.lmp.emit_body import _Lines


def loop(at: _Lines, op: prog.Loop) -> None:
    """Write a loop as a statement."""
    from lampc.frontend.lmp.emit_body import _Lines

    w, n = at.w, len(op.init)
    first = at.texts(op.init)
    at.flush()
    carried, names = [], []
    for arg, out, text in zip(op.body.args, op.outs, first, strict=False):
        after = w.name(out)
        if arg.hint == out.hint == after:
            w.called[arg] = after
        inside = w.name(arg)
        names.append(inside)
        carried.append(f"{inside}: {text}" if inside == after else f"{inside} as {after}: {text}")
    index = op.body.args[n]
    counter = f" as {w.name(index)}" if index.uses or index.hint else ""
    *ops, end = op.body.ops
    if not isinstance(end, prog.Next):
        raise NotSayable("a loop without `prog.next`", end)
    visible = list(zip(op.outs[n:], end.values[n:], strict=True))
    aliases = _aliases(at, op, visible)
    inner = _Lines(w, op.body)
    inner.run(ops)
    *passed, until = inner.texts([*end.values[:n], end.stop])
    inner.flush()
    inner.lines += aliases
    values = ", ".join(f"{name}: {text}" for name, text in zip(names, passed, strict=True))
    inner.lines.append(f"next ({values}) until {until};")
    at.lines.append(f"loop ({', '.join(carried)}) max {op.max}{counter} {{ {' '.join(inner.lines)} }}")


def _aliases(at: _Lines, op: prog.Loop, visible: list[tuple[Value, Value]]) -> list[str]:
    """Lets that give the values visible after the loop the names that they have there.

    None are needed where each is made in the body, in this order, under its later name.
    """
    made: list[int] = []
    for out, value in visible:
        owner = value.owner
        after = at.w.name(out)
        plain = isinstance(owner, Op) and owner.parent is op.body and value.hint == out.hint == after
        made.append(op.body.ops.index(owner) if plain and isinstance(owner, Op) else -1)
    if made == sorted(set(made)) and -1 not in made:
        for out, value in visible:
            at.w.called[value] = at.w.name(out)
        return []
    return [f"let {at.w.name(out)} = {at.w.name(value)};" for out, value in visible]
