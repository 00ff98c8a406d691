"""Functions of the IR as plain Python: one statement an op, structured control flow as Python has it."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lampc.ir import Module, Op, Region, Value, prog, thaw
from lampc.ir.adapters import Bound
from lampc.ir.types import ListOf
from lampc.runtime.export.errors import NotExportable
from lampc.runtime.export.prompts import options_of

if TYPE_CHECKING:
    from lampc.runtime.lm import BaseLM

_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "mod": "%", "floordiv": "//", "pow": "**",
    "eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "in": "in",
}  # fmt: skip
_FORMS: dict[str, str] = {
    "neg": "-{0}", "not": "not {0}", "index": "{0}[{1}]", "slice": "{0}[{1}:{2}]", "str": "as_text({0})",
    "and": "bool({0}) and bool({1})", "or": "bool({0}) or bool({1})",
    "lower": "{0}.lower()", "upper": "{0}.upper()", "strip": "{0}.strip()", "replace": "{0}.replace({1}, {2})",
    "startswith": "{0}.startswith({1})", "endswith": "{0}.endswith({1})", "count": "{0}.count({1})",
    "join": "{0}.join(as_text(x) for x in {1})", "reversed": "{0}[::-1]", "get": "{0}.get({1}, {2})",
    "unique": "[x for i, x in enumerate({0}) if x not in {0}[:i]]", "pystr": "str({0})",
    "flatten": "[x for part in {0} for x in part]", "coalesce": "{1} if {0} is None else {0}",
    "zip": "[list(p) for p in zip({0}, {1})]", "enumerate": "[[i, x] for i, x in enumerate({0})]",
    "items": "[[k, v] for k, v in {0}.items()]", "keys": "list({0})", "values": "list({0}.values())",
    "exact_match": "float(normalize({0}) == normalize({1}))",
}  # fmt: skip
_CALLED = ("len", "int", "float", "bool", "sum", "min", "max", "sorted", "abs", "round", "any", "all", "normalize",
           "numbered", "blocks", "best", "f1")  # fmt: skip
_INLINED = (prog.Const, prog.FieldOf, prog.Apply, prog.Pack, prog.MakeList)


class Writer:
    """The code of one module's functions. `host` gives the name that a Python function has in the file."""

    def __init__(
        self, module: Module, bound: dict[str, Bound], host: Callable[[str, Op], str], lm: BaseLM | None = None
    ) -> None:
        self.module, self.bound, self.host, self.lm = module, bound, host, lm
        self.lines: list[str] = []
        self.outer: set[str] = set()  # names of the file that no local may hide
        self._depth = 0
        self._names: dict[Value, str] = {}
        self._taken: set[str] = set()
        self._uses: dict[Value, int] = {}

    def function(self, func: prog.Func, name: str) -> list[str]:
        """A `def` of a function. Raises NotExportable."""
        self.lines, self._names, self._taken = [], {}, {name, *self.outer}
        self._uses = {}
        for op in func.walk():
            for v in op.operands:
                self._uses[v] = self._uses.get(v, 0) + 1
        params = [self._name(a, a.hint) for a in func.body.args]
        self._say(f"def {name}({', '.join(params)}):")
        with_doc = func.doc.strip().replace('"""', "'''")
        self._depth = 1
        if with_doc:
            self._say(f'"""{with_doc}"""')
        (value,) = self._region(func.body)
        self._say(f"return {value}")
        self._depth = 0
        return self.lines

    def hosted(self, op: Op) -> str:
        """The name of the Python function that an op calls. Raises NotExportable."""
        if isinstance(op, prog.Py):
            return self.host(op.ref.target, op)
        assert isinstance(op, prog.Tool)
        definition = self.module.lookup(op.tool.name)
        if not isinstance(definition, prog.DefTool):
            raise self._stop(op, f"the tool `{op.tool.name}`")
        return self.host(definition.ref.target, op)

    # -- regions --------------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self.lines.append("    " * self._depth + text)

    def _region(self, region: Region) -> list[str]:
        """Say all ops; gives the terminator's operands."""
        for op in region.ops[:-1]:
            self._op(op)
        return [self._expr(v) for v in region.ops[-1].operands]

    def _block(self, head: str, region: Region, end: Callable[[list[str]], None]) -> None:
        self._say(head)
        self._depth += 1
        before = len(self.lines)
        end(self._region(region))
        if len(self.lines) == before:
            self._say("pass")
        self._depth -= 1

    def _assign(self, names: Sequence[str], values: Sequence[str]) -> None:
        changed = [(n, v) for n, v in zip(names, values, strict=True) if n != v]
        if changed:
            self._say(f"{', '.join(n for n, _ in changed)} = {', '.join(v for _, v in changed)}")

    # -- ops ------------------------------------------------------------------------------------------

    def _op(self, op: Op) -> None:
        if isinstance(op, _INLINED) and self._inlined(op):
            self._names[op.results[0]] = f"\0{self._pure(op)}"
            return
        match op:
            case prog.If():
                outs = [self._name(r, r.hint or "found") for r in op.results]
                self._block(f"if {self._expr(op.condition)}:", op.then, lambda v: self._assign(outs, v))
                if outs or len(op.orelse.ops) > 1:
                    self._block("else:", op.orelse, lambda v: self._assign(outs, v))
            case prog.Match():
                self._match(op)
            case prog.Map():
                self._map(op)
            case prog.Loop():
                self._loop(op)
            case prog.Try():
                self._try(op)
            case prog.Assert():
                self._block_of(f"if not {self._expr(op.condition)}:", f"raise ValueError({op.message!r})")
            case prog.Retrieve():
                raise self._stop(op, f"the retriever `{op.retriever.name}`")
            case _:
                self._say(f"{self._name(op.results[0], self._hint(op))} = {self._call(op)}")

    def _block_of(self, head: str, line: str) -> None:
        self._say(head)
        self._depth += 1
        self._say(line)
        self._depth -= 1

    def _call(self, op: Op) -> str:
        args = [self._expr(v) for v in op.operands]
        match op:
            case prog.Continue():
                raise self._stop(op, f"`{op.predictor.name}`, which goes on where another call ended")
            case prog.Predict():
                given = ", ".join(f'"{f.name}": {a}' for f, a in zip(op.signature.inputs, args, strict=True))
                told = options_of(self.bound[op.predictor.name], op.sampling, self.lm)
                options = "".join(f", {k}={v!r}" for k, v in told.items())
                return f'ask("{op.predictor.name}", {{{given}}}{options})'
            case prog.Call():
                return f"{function_name(op.callee.name)}({', '.join(args)})"
            case prog.Tool():
                name = self.hosted(op)
                if op.observed:
                    return f'observe({name}, "{op.tool.name}", {args[0]})'
                return f"{name}({', '.join(args)})"
            case prog.Py():
                split = len(args) - len(op.keywords)
                named = [f"{k}={v}" for k, v in zip(op.keywords, args[split:], strict=True)]
                return f"{self.hosted(op)}({', '.join([*args[:split], *named])})"
            case prog.Vote():
                return f"majority({args[0]})"
            case prog.Argmax():
                return f"max(range(len({args[0]})), key=lambda i: ({args[0]}[i], -i))"
            case prog.Tune():
                definition = self.module.lookup(op.of.name)
                return repr(thaw(definition.default)) if isinstance(definition, prog.DefTune) else "None"
        return self._pure(op)

    def _pure(self, op: Op) -> str:
        args = [self._expr(v) for v in op.operands]
        match op:
            case prog.Const():
                return repr(thaw(op.value))
            case prog.FieldOf():
                if isinstance(op.record.type, ListOf):
                    return f'[r["{op.field}"] for r in {args[0]}]'
                return f'{args[0]}["{op.field}"]'
            case prog.Pack():
                return "{" + ", ".join(f'"{n}": {a}' for n, a in zip(op.names, args, strict=True)) + "}"
            case prog.MakeList():
                return f"[{', '.join(args)}]"
            case prog.Apply():
                return self._apply(op, args)
        raise self._stop(op, f"the op `{op.op_name}`")

    def _apply(self, op: prog.Apply, args: list[str]) -> str:
        if op.fn in _BINARY:
            return f"({args[0]} {_BINARY[op.fn]} {args[1]})"
        if op.fn in _FORMS:
            made = _FORMS[op.fn].format(*args)
            return made if made.endswith((")", "]")) and not made.startswith(("not", "-", "bool(")) else f"({made})"
        if op.fn in _CALLED:
            return f"{op.fn}({', '.join(args)})"
        if op.fn == "concat":
            return " + ".join(f"as_text({a})" for a in args).join("()") if args else '""'
        if op.fn in ("range", "split"):
            inner = f"range({', '.join(args)})" if op.fn == "range" else f"{args[0]}.split({', '.join(args[1:])})"
            return f"list({inner})"
        raise self._stop(op, f"the built-in function `{op.fn}`")

    # -- control --------------------------------------------------------------------------------------

    def _match(self, op: prog.Match) -> None:
        outs = [self._name(r, r.hint or "found") for r in op.results]
        value = self._expr(op.value)
        for i, arm in enumerate(op.arms):
            if i == len(op.cases):
                head = "else:"
            else:
                head = f"{'elif' if i else 'if'} {value} == {thaw(op.cases[i])!r}:"
            self._block(head, arm, lambda v: self._assign(outs, v))
        if len(op.arms) == len(op.cases):
            self._block_of("else:", f"raise ValueError(f'no case for {{{value}!r}}')")

    def _map(self, op: prog.Map) -> None:
        out = self._name(op.results[0], op.results[0].hint or "items")
        item = self._name(op.body.args[0], op.body.args[0].hint or "item")
        index = self._name(op.body.args[1], op.body.args[1].hint or "i")
        self._say(f"{out} = []")
        used = self._uses.get(op.body.args[1], 0)
        head = f"for {index}, {item} in enumerate({self._expr(op.items)}):" if used else ""
        self._block(head or f"for {item} in {self._expr(op.items)}:", op.body, lambda v: self._append(out, v))

    def _append(self, out: str, values: list[str]) -> None:
        value, *keep = values
        if keep:
            self._block_of(f"if {keep[0]}:", f"{out}.append({value})")
        else:
            self._say(f"{out}.append({value})")

    def _loop(self, op: prog.Loop) -> None:
        count = len(op.init)
        carried = [self._name(a, a.hint or "carried") for a in op.body.args[:count]]
        index = self._name(op.body.args[count], op.body.args[count].hint or "i")
        self._assign(carried, [self._expr(v) for v in op.init])
        outs = [self._name(r, r.hint or "found") for r in op.results]

        def end(values: list[str]) -> None:
            stop, *rest = values
            if outs:
                self._assign(outs, rest)
            if stop != "False":
                self._block_of(f"if {stop}:", "break")
            self._assign(carried, outs[:count])

        self._block(f"for {index} in range({op.max}):", op.body, end)

    def _try(self, op: prog.Try) -> None:
        *outs, problem = [self._name(r, r.hint or "found") for r in op.results]

        def end(values: list[str]) -> None:
            self._assign([*outs, problem], [*values, "None"])

        self._block("try:", op.body, end)
        self._say("except Exception as e:")
        self._depth += 1
        self._assign([*outs, problem], [*["None"] * len(outs), "str(e)"])
        self._depth -= 1

    # -- names ----------------------------------------------------------------------------------------

    def _inlined(self, op: Op) -> bool:
        """Whether a pure op stands where its one use is."""
        if isinstance(op, prog.Const):
            return len(repr(thaw(op.value))) < 60 or self._uses.get(op.results[0], 0) < 2
        return self._uses.get(op.results[0], 0) == 1

    def _expr(self, value: Value) -> str:
        return self._names[value].removeprefix("\0")

    def _name(self, value: Value, hint: str) -> str:
        base = re.sub(r"\W+", "_", hint).strip("_") or "value"
        if base[0].isdigit():
            base = f"v{base}"
        if keyword.iskeyword(base) or base in _RESERVED:
            base += "_"
        name, n = base, 1
        while name in self._taken:
            n += 1
            name = f"{base}_{n}"
        self._taken.add(name)
        self._names[value] = name
        return name

    def _hint(self, op: Op) -> str:
        if op.results[0].hint:
            return op.results[0].hint
        match op:
            case prog.Predict():
                return op.predictor.name
            case prog.Tool():
                return op.tool.name
            case prog.Call():
                return op.callee.name.lower()
        return "value"

    def _stop(self, op: Op, what: str) -> NotExportable:
        return NotExportable(what, str(op.loc.origin() or ""))


_RESERVED = frozenset(
    """ask client prompts write as_json bracketed read split cast choice literal as_text majority normalize blocks
    numbered best f1 observe main json os re ast functools sys Path Any print list dict str int float bool len range max
    min sum sorted abs round any all enumerate zip isinstance e""".split()  # noqa: SIM905
)
"""Names that the file gives a meaning to."""


def function_name(symbol: str) -> str:
    """A function's name in the file."""
    return "program_" + re.sub(r"\W+", "_", symbol).strip("_").lower()
