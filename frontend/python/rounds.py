"""Tracing `for` and `while`: maps where a loop only collects, else loops that carry what changes."""

from __future__ import annotations

import ast
from typing import Any

from lampc.frontend.python.base import item_type
from lampc.frontend.python.branches import RESULT, RETURNED, Branches
from lampc.frontend.python.liveness import (
    assigned,
    has_return,
    live_before,
    loads,
    loop_live,
    mutated,
    target_names,
    walk_block,
)
from lampc.frontend.python.loops import Iteration, known_items, start, type_now, walked
from lampc.frontend.python.traced import Completions, Exit, Traced, WithIndex, as_json, is_static
from lampc.ir import Region, Value, prog
from lampc.ir.types import ANY, INT, NONE, ListOf, Type, assignable, join

_RETRIES = 4


class Rounds(Branches):
    """`for` and `while`."""

    def _For(self, s: ast.For, live: frozenset[str]) -> Exit | None:
        if s.orelse:
            raise self.stop("L0711", s, "`else` of a loop")
        self._same_list(s)
        items = walked(self, self.expr(s.iter), s.iter)
        if is_static(items):
            done, end = self.known(lambda: self._repeat(s, items, live))
            if done:
                return end
        if isinstance(items, Traced | Completions) or (isinstance(items, WithIndex) and not is_static(items.items)):
            if (collected := self._collects(s, live)) is not None:
                self._collect(s, items, *collected)
                return None
            self._for(s, items, live)
            return None
        try:
            as_json(items.items if isinstance(items, WithIndex) else items)
        except TypeError:
            return self._repeat(s, items, live)
        if not known_items(self, items, s.iter):
            return None
        return self.attempt(lambda: self._loop_known(s, items, live), lambda e: self._repeat_or(e, s, items, live))

    def _same_list(self, s: ast.For) -> None:
        """A loop that changes the list it runs over sees the changes; by-value tracing would not."""
        if isinstance(s.iter, ast.Call) and isinstance(s.iter.func, ast.Name) and s.iter.func.id in ("list", "sorted"):
            return
        if isinstance(s.iter, ast.Subscript):
            return
        changed = {n for node in walk_block(s.body) if (n := mutated(node)) is not None} & loads(s.iter)
        if changed:
            name = min(changed)
            raise self.stop("L0715", s, f"the loop changes `{name}`, which it runs over", f"run over list({name})")

    def _loop_known(self, s: ast.For, items: Any, live: frozenset[str]) -> Exit | None:
        if (collected := self._collects(s, live)) is not None:
            self._collect(s, items, *collected)
        else:
            self._for(s, items, live)
        return None

    # -- one after another, at trace time -------------------------------------------------------------------

    def _repeat_or(self, error: Exception, s: ast.For, items: Any, live: frozenset[str]) -> Exit | None:
        def give_up(_: Exception) -> Exit | None:
            raise error

        return self.attempt(lambda: self._repeat(s, items, live), give_up)

    def _repeat(self, s: ast.For, items: Any, live: frozenset[str]) -> Exit | None:
        """The body once for each item, its jumps known now."""
        inner = loop_live(s.body, live, target_names(s.target))
        before, self.frame.loop = self.frame.loop, inner | {RETURNED, RESULT}
        try:
            for value in known_items(self, items, s.iter):
                self.assign(s.target, value)
                end = self.block(s.body, inner)
                if end is None:
                    continue
                if isinstance(end.broke, Traced):
                    raise self.stop("L0712", s, "a `break` or `return` by a value of the program, over Python objects")
                if end.dead:
                    return end
                if end.broke:
                    break
        finally:
            self.frame.loop = before
        return None

    # -- collecting: a map ------------------------------------------------------------------------------------

    def _collects(
        self, s: ast.For, live: frozenset[str]
    ) -> tuple[str, list[ast.stmt], ast.expr | None, ast.expr] | None:
        """(list, statements before, condition, item) if the body only appends one item to one list."""
        last = s.body[-1]
        condition: ast.expr | None = None
        if isinstance(last, ast.If) and not last.orelse and len(last.body) == 1:
            condition, last = last.test, last.body[0]
        call = last.value if isinstance(last, ast.Expr) else None
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and call.func.attr == "append"
            and isinstance(call.func.value, ast.Name)
            and len(call.args) == 1
        ):
            return None
        name, first = call.func.value.id, s.body[:-1]
        own = set(assigned(first)) | target_names(s.target)
        if name in self.frame.shared or not isinstance(self.frame.names.get(name), list | Traced) or name in own:
            return None
        if any(isinstance(n, ast.Return | ast.Break | ast.Continue | ast.Raise) for n in walk_block(s.body)):
            return None
        used = [n for n in walk_block(s.body) if isinstance(n, ast.Name) and n.id == name]
        carried = own & (live | live_before(s.body, frozenset()) - target_names(s.target))
        if len(used) != 1 or carried or target_names(s.target) & live:
            return None
        return name, first, condition, call.args[0]

    def _collect(
        self, s: ast.For, items: Any, name: str, first: list[ast.stmt], condition: ast.expr | None, item: ast.expr
    ) -> None:
        before = dict(self.frame.names)
        body = Region()
        source = start(self, items, s.target, body, s.iter)
        with self.inside(body):
            self.block(first, loads(item) | (loads(condition) if condition else set()))  # type: ignore[arg-type]
            keep: Any = True
            if condition is not None:
                keep = self.lift(self.truth(self.expr(condition), condition), condition)
            inner = Region()
            with self.inside(inner):
                value = self.lift(self.expr(item), item)
            Iteration(self, s).keep(value, inner, keep, item)
        self.frame.names = before
        out = Traced(self.emit(prog.Map, source, node=s, regions=[body]).result)
        old = before[name]
        empty = isinstance(old, list) and not old
        new = out if empty else self.apply("add", old, out, node=s)
        self.assign(ast.copy_location(ast.Name(name, ast.Store()), s), new)
        out.value.hint = name if empty else ""

    # -- carrying: a loop -------------------------------------------------------------------------------------

    def _for(self, s: ast.For, items: Any, live: frozenset[str]) -> None:
        """A loop over a list, by index."""
        inner, offset = items, 0
        target, index_target = s.target, None
        if isinstance(items, WithIndex):
            if not (isinstance(target, ast.Tuple) and len(target.elts) == 2):
                raise self.stop("L0712", s.iter, "`enumerate` whose pairs are not taken apart")
            index_target, target = target.elts
            inner, offset = items.items, items.start
        counts = isinstance(inner, range) and inner == range(len(inner))
        static = is_static(inner)
        rounds = len(inner) if static else self.state.max_iters
        source = None if counts else self.lift(inner, s.iter)
        length: Traced | None = None
        if not static:
            assert source is not None
            length = self.apply("len", Traced(source), node=s.iter)
            fits = self.apply("le", length, rounds, node=s.iter)
            message = f"more than {rounds} rounds: raise max_iters of the program"
            self.emit(prog.Assert, fits.value, node=s.iter, message=message)

        def bind(index: Value) -> None:
            if index_target is not None:
                number = Traced(index)
                self.assign(index_target, number if offset == 0 else self.apply("add", number, offset, node=s))
            if source is None:
                self.assign(target, Traced(index))
            else:
                self.assign(target, self.apply("index", Traced(source), Traced(index), node=s))

        hint = _hint(target.id) if counts and isinstance(target, ast.Name) else ""
        if index_target is not None and isinstance(index_target, ast.Name) and offset == 0:
            hint = index_target.id
        guard = None if length is None else lambda index: self.apply("lt", Traced(index), length, node=s)
        self.loop(s, rounds, live, bind, guard, hint)

    def _While(self, s: ast.While, live: frozenset[str]) -> Exit | None:
        if s.orelse:
            raise self.stop("L0711", s, "`else` of a loop")
        done, end = self.known(lambda: self._spin(s, live))
        if done:
            return end

        def guard(_: Value) -> Any:
            return self.truth(self.expr(s.test), s.test)

        rounds = self.state.max_iters + 1  # the last one only finds that the condition does not hold
        stopped = self.loop(s, rounds, live, lambda index: None, guard, "")
        if stopped is not None:
            message = f"the loop did not end within {self.state.max_iters} rounds: raise max_iters of the program"
            self.emit(prog.Assert, stopped, node=s, message=message)
        return None

    def _spin(self, s: ast.While, live: frozenset[str]) -> Exit | None:
        """A `while` of which everything is known now."""
        inner = loop_live(s.body, live | loads(s.test))
        before, self.frame.loop = self.frame.loop, inner | {RETURNED, RESULT}
        try:
            for _ in range(self.state.max_iters):
                test = self.truth(self.expr(s.test), s.test)
                if isinstance(test, Traced):
                    raise self.stop("L0712", s.test, "a condition of the program")
                if not test:
                    return None
                end = self.block(s.body, inner)
                if end is not None and isinstance(end.broke, Traced):
                    raise self.stop("L0712", s, "a `break` by a value of the program")
                if end is not None and end.broke:
                    return None
        finally:
            self.frame.loop = before
        raise self.stop("L0716", s, f"more than {self.state.max_iters} rounds")

    def loop(
        self, s: ast.For | ast.While, rounds: int, live: frozenset[str], bind: Any, guard: Any, hint: str
    ) -> Value | None:
        """A `prog.loop`; gives the value that says whether it stopped by itself.

        `bind(index)` sets the loop's target, `guard(index)` gives the condition of going on. Types of what
        is carried are found by trying: if a round gives a wider type, the loop is traced again with it.
        """
        names = [n for n in dict.fromkeys([*_own(s), *assigned(s.body)]) if not n.startswith("$")]
        tests = loads(s.test) if isinstance(s, ast.While) else set()
        own = _own(s)
        head = live_before(s.body, live | tests) - own | tests
        head |= loop_live(s.body, live | tests, own) & set(names) if guard else frozenset()
        inner = loop_live(s.body, live | tests, own) | tests
        if has_return(s.body):
            self.frame.names[RETURNED], names = False, [*names, RETURNED, RESULT]
            inner, live, head = inner | {RETURNED, RESULT}, live | {RETURNED, RESULT}, head | {RETURNED}
            head |= {RESULT} if guard else set()
        carried = [n for n in names if n in head and (n in self.frame.names or guard or n == RETURNED)]
        visible = [n for n in names if n in live and n not in carried]
        types: dict[str, Type | None] = {n: self._start_type(n) for n in carried}
        for attempt in range(_RETRIES):
            mark, counts, before = len(self.region.ops), dict(self.state.counts), dict(self.frame.names)
            found = self.attempt(
                lambda t=types: self._round(s, rounds, carried, visible, t, inner, bind, guard, hint),  # type: ignore[misc]
                lambda e, t=types: _widened(t, e),  # type: ignore[misc]
            )
            if isinstance(found, dict):
                self.undo(mark)
                self.state.counts, self.frame.names = counts, before
                types = found if attempt < _RETRIES - 2 else dict.fromkeys(found, ANY)
                continue
            return found[0]
        raise self.stop("L0714", s, "the types of what the loop changes do not settle")

    def _start_type(self, name: str) -> Type | None:
        if name in self.frame.types:
            return self.frame.types[name]
        if self.frame.names.get(name, _missing()) == []:
            return None  # what it will hold is seen when the body has been traced
        return type_now(self.frame.names[name]) if name in self.frame.names else None

    def _round(
        self,
        s: ast.For | ast.While,
        rounds: int,
        carried: list[str],
        visible: list[str],
        types: dict[str, Type | None],
        inner: frozenset[str],
        bind: Any,
        guard: Any,
        hint: str,
    ) -> dict[str, Type | None] | tuple[Value | None]:
        """Trace the loop once with these types; gives wider ones if they do not hold."""
        first = dict(self.frame.names)
        inits = []
        for n in carried:
            t = types[n]
            if n in first:
                inits.append(self.lift(first[n], s, t if is_static(first[n]) else None))
            else:
                inits.append(self.const(None, s, t or NONE))
        body = Region([(_hint(n), types[n] or ANY) for n in carried])
        index = body.add_arg(INT, hint)
        stop: Any = False
        with self.inside(body):
            for n, arg in zip(carried, body.args, strict=False):
                if types[n] is not None:
                    self.frame.names[n] = Traced(arg)
            before, self.frame.loop = self.frame.loop, inner
            try:
                test = guard(index) if guard else True
                if isinstance(test, Traced):
                    stop = self._guarded(s, test, index, bind, inner, carried, visible)
                elif test:
                    bind(index)
                    end = self.block(s.body, inner)
                    stop = end.broke if end is not None else False
                else:
                    stop = True
            finally:
                self.frame.loop = before
            ends = [self._end(n, s) for n in [*carried, *visible]]
            wider: dict[str, Type | None] | None = self._wider(carried, types, ends)
            if wider is None:
                self.emit(prog.Next, self.lift(stop, s), *ends, node=s)
        if wider is not None:
            return wider
        stops = None
        if guard and isinstance(s, ast.While):
            stops = len(ends)
            next_op = body.ops[-1]
            next_op.set_operands([*next_op.operands, next_op.operands[0]])
        op = self.emit(prog.Loop, *inits, node=s, max=rounds, regions=[body])
        self.frame.names = first
        for n, value in zip([*carried, *visible], op.results, strict=False):
            value.hint = _hint(n)
            self.frame.names[n] = Traced(value)
        return (op.results[stops] if stops is not None else None,)

    def _guarded(
        self, s: ast.stmt, test: Traced, index: Value, bind: Any, inner: frozenset[str], carried: list[str],
        visible: list[str],
    ) -> Any:  # fmt: skip
        """The body under the condition of going on; gives whether to stop."""
        assert isinstance(s, ast.For | ast.While)
        before = dict(self.frame.names)
        region = Region()
        with self.inside(region):
            bind(index)
            end = self.block(s.body, inner)
        from lampc.frontend.python.branches import Way

        names = [n for n in [*carried, *visible] if n in self.frame.names]
        ways = [Way(region, self.frame.names, end), Way(Region(), before, None)]
        self.frame.names = before
        broke = end.broke if end is not None else False
        changed = self._changed(ways, names)
        columns = [[*(w.names.get(n, _missing()) for n in changed)] for w in ways]
        if broke is not False:
            columns = [[*columns[0], broke], [*columns[1], True]]
        hints = [_hint(n) for n in changed] + ([""] if broke is not False else [])
        make = lambda regions: prog.If.make(test.value, regions=regions, loc=self.span(s))  # noqa: E731
        values = self.values(ways, columns, hints, s, make)
        self.frame.names.update(dict(zip(changed, values, strict=False)))
        return values[-1] if broke is not False else self.apply("not", test, node=s)

    def _end(self, name: str, s: ast.stmt) -> Value:
        if name not in self.frame.names:
            return self.const(None, s, NONE)
        return self.lift(self.frame.names[name], s)

    def _wider(self, carried: list[str], types: dict[str, Type | None], ends: list[Value]) -> Any:
        """The types of carried names after this round if they do not fit those assumed, else None."""
        out, bad = dict(types), False
        for n, value in zip(carried, ends, strict=False):
            assumed = types[n]
            if assumed is None:
                out[n], bad = value.type, True
            elif not assignable(value.type, assumed) or (assumed == NONE and value.type != NONE):
                out[n], bad = join([assumed, value.type]), True
        return out if bad else None


def _own(s: ast.For | ast.While) -> frozenset[str]:
    return target_names(s.target) if isinstance(s, ast.For) else frozenset()


def _widened(types: dict[str, Type | None], error: Exception) -> dict[str, Type | None]:
    """What is read before it is set in a first round may be anything. Raises the error if that is no help."""
    if None not in types.values():
        raise error
    return {n: ANY if t is None else t for n, t in types.items()}


def _hint(name: str) -> str:
    if name == "_":
        return ""
    return {RETURNED: "returned", RESULT: "result"}.get(name, name)


def _missing() -> Any:
    from lampc.frontend.python.branches import _UNSET

    return _UNSET


__all__ = ["ListOf", "Rounds", "item_type"]
