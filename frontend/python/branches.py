"""Tracing `if` and `match`: one region for each way, joined in what the ways leave behind."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from lampc.frontend.python.codes import Untraceable
from lampc.frontend.python.liveness import assigned, jumps, live_before, loads
from lampc.frontend.python.loops import type_now
from lampc.frontend.python.stmts import Statements
from lampc.frontend.python.traced import Exit, Traced, Unusable, same
from lampc.ir import Op, Region, Value, prog
from lampc.ir.types import ANY, BOOL, Type, join

RETURNED, RESULT = "$returned", "$result"
"""Names that carry a `return` out of a loop: whether one was reached, and its value."""
FAILED, CAUGHT = "$failed", "$caught"
"""Names that say whether a `try` failed, and what it returned if not."""
_HINTS = {RETURNED: "returned", RESULT: "result"}
_UNSET: Any = object()


class Attempt(ast.stmt):
    """The body of a `try`, as a statement of its own."""

    _fields = ("body",)
    body: list[ast.stmt]


@dataclass(slots=True)
class Way:
    """One way through a branch: its region, the names behind it, how it ended."""

    region: Region
    names: dict[str, Any]
    end: Exit | None


class Branches(Statements):
    """`if` and `match`."""

    def way(self, statements: list[ast.stmt], after: frozenset[str]) -> Way:
        """Trace statements in a region of their own; the names of this frame stay as they were."""
        before = dict(self.frame.names)
        region = Region()
        with self.inside(region):
            end = self.block(statements, after)
        found = Way(region, self.frame.names, end)
        self.frame.names = before
        return found

    def _If(self, s: ast.If, live: frozenset[str]) -> Exit | None:
        test = self.truth(self.expr(s.test), s.test)
        if not isinstance(test, Traced):
            return self.block(s.body if test else s.orelse, live)
        ways = [self.way(s.body, live), self.way(s.orelse, live)]
        order = [n for n in assigned([s]) if n in live]
        self.join(ways, order, s, lambda regions: prog.If.make(test.value, regions=regions, loc=self.span(s)))
        return None

    def _Match(self, s: ast.Match, live: frozenset[str]) -> Exit | None:
        subject = self.expr(s.subject)
        arms = self.arms(s, subject)
        if not isinstance(subject, Traced):
            body = next((b for c, b in arms if c is _UNSET or c == subject), [])
            return self.block(body, live)
        ways = [self.way(body, live) for _, body in arms]
        cases = tuple(c for c, _ in arms if c is not _UNSET)
        if len(cases) == len(arms):
            ways.append(self.way([], live))
        order = [n for n in assigned([s]) if n in live]
        self.join(ways, order, s, self._matcher(subject.value, cases, s))
        return None

    def _matcher(self, subject: Value, cases: tuple[Any, ...], s: ast.stmt) -> Any:
        return lambda regions: prog.Match.make(subject, regions=regions, cases=cases, loc=self.span(s))

    def arms(self, s: ast.Match, subject: Any) -> list[tuple[Any, list[ast.stmt]]]:
        """(constant, statements) of each case; a case of several constants gives several."""
        out: list[tuple[Any, list[ast.stmt]]] = []
        for case in s.cases:
            if case.guard is not None:
                raise self.stop("L0711", case.guard, "a case with a guard", "use if and elif")
            patterns = case.pattern.patterns if isinstance(case.pattern, ast.MatchOr) else [case.pattern]
            for p in patterns:
                match p:
                    case ast.MatchValue(value=value):
                        out.append((self.expr(value), case.body))
                    case ast.MatchSingleton(value=value):
                        out.append((value, case.body))
                    case ast.MatchAs(pattern=None, name=None):
                        return [*out, (_UNSET, case.body)]
                    case ast.MatchAs(pattern=None, name=str() as name):
                        bind = ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], s.subject), p)
                        ast.fix_missing_locations(bind)
                        return [*out, (_UNSET, [bind, *case.body])]
                    case _:
                        raise self.stop("L0711", p, "a pattern other than a constant", "use if and elif")
        return out

    # -- ways that leave the block --------------------------------------------------------------------------

    def split(self, s: ast.stmt, rest: list[ast.stmt], live: frozenset[str], after: frozenset[str]) -> Exit | None:
        match s:
            case ast.If():
                test = self.truth(self.expr(s.test), s.test)
                if not isinstance(test, Traced):
                    return self.block([*(s.body if test else s.orelse), *rest], after)
                ways = [self.way([*s.body, *rest], after), self.way([*s.orelse, *rest], after)]
                return self.meet(ways, test, s, after)
            case ast.Match():
                subject = self.expr(s.subject)
                arms = self.arms(s, subject)
                if not isinstance(subject, Traced):
                    body = next((b for c, b in arms if c is _UNSET or c == subject), [])
                    return self.block([*body, *rest], after)
                cases = tuple(c for c, _ in arms if c is not _UNSET)
                bodies = [b for _, b in arms] + ([[]] if len(cases) == len(arms) else [])
                ways = [self.way([*b, *rest], after) for b in bodies]
                return self.meet(ways, (subject, cases), s, after)
            case ast.Try():
                return self.block([*self.caught(s, live), *rest], after)
            case ast.For() | ast.While():
                end = self.statement(s, live)
                if end is not None:
                    return end
                return self._after_loop(s, rest, after)
            case ast.Return():
                return self._return(s)
            case ast.Break() | ast.Continue():
                return Exit(broke=isinstance(s, ast.Break))
        end = self.statement(s, live)
        return end if end is not None else self.block(rest, after)

    def _return(self, s: ast.Return) -> Exit:
        value = None if s.value is None else self.expr(s.value)
        if self.frame.depth == 0 and s.value is not None and not _is_result(s.value):
            value = Traced(self.record(value, s))
        if self.frame.loop is None:
            return Exit(returned=True, value=value)
        self.frame.names[RETURNED], self.frame.names[RESULT] = True, value
        return Exit(broke=True)

    def _after_loop(self, s: ast.stmt, rest: list[ast.stmt], after: frozenset[str]) -> Exit | None:
        """Behind a loop with a `return` in it: the result, or the statements that follow."""
        names = self.frame.names
        returned = names.pop(RETURNED, False)
        if returned is False:
            names.pop(RESULT, None)
            return self.block(rest, after)
        again = ast.Return(ast.Name(RESULT, ast.Load()))
        ast.fix_missing_locations(ast.copy_location(again, s))
        if not isinstance(returned, Traced):
            return self.block([again], after)
        ways = [self.way([again], after), self.way(rest, after)]
        return self.meet(ways, returned, s, after)

    def meet(self, ways: list[Way], test: Any, s: ast.stmt, after: frozenset[str]) -> Exit | None:
        """Join ways of which some leave the block; the end of all of them is the block's."""

        def make(regions: list[Region]) -> Op:
            if isinstance(test, tuple):
                return prog.Match.make(test[0].value, regions=regions, cases=test[1], loc=self.span(s))
            return prog.If.make(test.value, regions=regions, loc=self.span(s))

        if self.frame.loop is None:
            ends = [w.end or self._nothing(w, s) for w in ways]
            value = self.values(ways, [[_UNSET if e.dead else e.value] for e in ends], [""], s, make)[0]
            return Exit(returned=True, value=value, dead=all(e.dead for e in ends))
        live = self.frame.loop | {RETURNED, RESULT}
        names = list(dict.fromkeys(n for w in ways for n in w.names if n in live))
        changed = [n for n in self._changed(ways, names) if n in live]
        broke = [w.end.broke if w.end is not None else False for w in ways]
        columns = [[*(w.names.get(n, _UNSET) for n in changed), b] for w, b in zip(ways, broke, strict=True)]
        *values, flag = self.values(ways, columns, [*(_HINTS.get(n, n) for n in changed), ""], s, make, test)
        self.frame.names.update(dict(zip(changed, values, strict=True)))
        return Exit(broke=flag)

    def _nothing(self, way: Way, s: ast.stmt) -> Exit:
        """The end of a way that reaches the end of the function: it returns None."""
        if self.frame.depth:
            return Exit(returned=True)
        with self.inside(way.region):
            return Exit(returned=True, value=Traced(self.record(None, s)))

    # -- what may fail --------------------------------------------------------------------------------------

    def _Try(self, s: ast.Try, live: frozenset[str]) -> Exit | None:
        return self.block(self.caught(s, live), live)

    def caught(self, s: ast.Try, live: frozenset[str]) -> list[ast.stmt]:
        """`try: ... except Exception: ...` as the attempt and a branch by whether it failed. Raises Untraceable for
        handlers that tell errors apart, or want to know which it was."""
        handler = s.handlers[0] if len(s.handlers) == 1 else None
        kind = handler.type if handler is not None else None
        plain = kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))
        if handler is None or not plain or s.finalbody:
            raise self.stop("L0711", s, "`try` with `finally`, or with handlers that tell errors apart")
        if handler.name is not None and handler.name in {n for b in handler.body for n in loads(b)}:
            raise self.stop("L0711", handler, "a handler that looks at the error")
        body, last = list(s.body), s.body[-1]
        seen = live_before(handler.body, live, self.frame.loop or frozenset())
        if half := sorted(set(assigned(body[:-1])) & seen):
            why = f"`{half[0]}` is set in a `try` before its last statement, and read where that fails"
            raise self.stop("L0711", s, why, "set it in the last statement, or before the `try`")
        returns = isinstance(last, ast.Return)
        after: list[ast.stmt] = list(s.orelse)
        if returns:
            assert isinstance(last, ast.Return)
            value = last.value or ast.Constant(None)
            body[-1] = ast.Assign([ast.Name(CAUGHT, ast.Store())], value)
            after = [ast.Return(ast.Name(CAUGHT, ast.Load()))]
        if any(jumps(b) for b in body):
            raise self.stop("L0711", s, "`return`, `break` or `raise` in the middle of a `try`")
        branch = ast.If(ast.Name(FAILED, ast.Load()), handler.body, after)
        tried = Attempt()
        tried.body = body
        out: list[ast.stmt] = [tried, branch]
        for made in (body[-1], *after, *out):
            ast.copy_location(made, s)
            ast.fix_missing_locations(made)
        return out

    def _Attempt(self, s: Attempt, live: frozenset[str]) -> None:
        """Statements whose failure is no failure of the row: names are as before them if they fail."""
        way = self.way(s.body, live)
        names = [n for n in assigned(s.body) if n in live or n == CAUGHT]
        changed = [n for n in names if not same(self.frame.names.get(n, _UNSET), way.names.get(n, _UNSET))]
        with self.inside(way.region):
            ends = [self._placed_result(way.names[n], n, s) for n in changed]
            self.emit(prog.Yield, *ends, node=s)
        made = self.emit(prog.Try, node=s, regions=[way.region])
        failed = self.apply("ne", Traced(made.outs[-1]), None, node=s)
        for n, value in zip(changed, made.outs, strict=False):
            if n in self.frame.names:
                before = Region()
                with self.inside(before):
                    old = self.lift(self.frame.names[n], s)
                self.frame.names[n] = self.choose(failed.value, (before, old), (Region(), value), s)
            else:
                value.hint = "" if n == CAUGHT else n
                self.frame.names[n] = Traced(value)
        self.frame.names[FAILED] = failed

    def _placed_result(self, value: Any, name: str, s: ast.stmt) -> Value:
        if name == CAUGHT and self.frame.depth == 0:
            return self.record(value, s)
        return self.lift(value, s)

    # -- joining ----------------------------------------------------------------------------------------------

    def _changed(self, ways: list[Way], names: list[str]) -> list[str]:
        out = []
        for n in names:
            values = [w.names.get(n, self.frame.names.get(n, _UNSET)) for w in ways]
            if not all(same(values[0], v) for v in values[1:]):
                out.append(n)
            elif values[0] is not _UNSET:
                self.frame.names[n] = values[0]
        return out

    def join(self, ways: list[Way], names: list[str], s: ast.stmt, make: Any) -> None:
        """Join ways that all go on: names that differ become results."""
        dead = [w for w in ways if w.end is not None and w.end.dead]
        changed = self._changed([w for w in ways if w not in dead] or ways, names)
        columns = [[_UNSET if w in dead else w.names.get(n, _UNSET) for n in changed] for w in ways]
        values = self.values(ways, columns, changed, s, make)
        self.frame.names.update(dict(zip(changed, values, strict=True)))

    def values(
        self, ways: list[Way], columns: list[list[Any]], hints: list[str], s: ast.stmt, make: Any, test: Any = None
    ) -> list[Any]:
        """One value for each position of `columns` (a row for each way), as results of the op that `make` builds."""
        width = len(hints)
        out: list[Any] = [columns[0][i] for i in range(width)]
        merged = [i for i in range(width) if not all(same(out[i], row[i]) for row in columns[1:])]
        if isinstance(test, Traced) and all(not w.region.ops for w in ways) and merged == [width - 1]:
            flags = [row[-1] for row in columns]
            if flags == [True, False] or flags == [False, True]:
                flag: Any = test if flags[0] else self.apply("not", test, node=s)
                out[-1] = flag if flag.type in (BOOL, ANY) else self.apply("bool", flag, node=s)
                return out
        usable = []
        for i in merged:
            why = self._clash([row[i] for row in columns], hints[i])
            if why:
                out[i] = Unusable(why)
            else:
                usable.append(i)
        if not usable and all(not w.region.ops for w in ways):
            return out
        types = [self._common([row[i] for row in columns]) for i in usable]
        for w, row in zip(ways, columns, strict=True):
            with self.inside(w.region):
                lifted = [self._placed(row[i], t, s) for i, t in zip(usable, types, strict=True)]
                for i, value in zip(usable, lifted, strict=True):
                    if value.hint == hints[i] and value.defining_op() in w.region.ops:
                        value.hint = ""
                self.emit(prog.Yield, *lifted, node=s)
        if self.quiet:
            self.emit(prog.Yield, node=s)
        op = make([w.region for w in ways])
        self.context.ops += 1
        self.region.append(op)
        for i, result in zip(usable, op.results, strict=True):
            result.hint = hints[i]
            out[i] = Traced(result)
        return out

    def _placed(self, value: Any, type: Type, s: ast.stmt) -> Value:
        if value is _UNSET:
            return self.const(None, s, type)
        try:
            return self.lift(value, s)
        except Untraceable:
            return self.const(None, s, type)

    def _common(self, values: list[Any]) -> Type:
        return join([type_now(v) for v in values if v is not _UNSET])

    def _clash(self, values: list[Any], name: str) -> str:
        """Why values cannot be joined into one, or ""."""
        from lampc.frontend.python.declare import Tune
        from lampc.frontend.python.traced import Completions, Local, as_json

        for v in values:
            if v is _UNSET or isinstance(v, Traced | Completions | Tune):
                continue
            if isinstance(v, Unusable):
                return v.why
            if isinstance(v, tuple | list | dict) and not isinstance(v, Local):
                continue
            try:
                as_json(v)
            except TypeError:
                return f"`{name}` is a Python object in one branch and something else in another"
        return ""


def _is_result(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id == RESULT
