"""The canonical layout of `.lmp` source.

The formatter prints the syntax tree and puts comments back: a comment of its own stays in front of what
follows it, a trailing one behind its line. One blank line between statements is kept, items stand apart by
one. Names, numbers and texts are printed as written.
"""

from __future__ import annotations

from collections.abc import Sequence

from lampc.frontend.lmp import ast
from lampc.frontend.lmp.layout import WIDTH, arg, attrs, expr, flat_type, wrapped
from lampc.frontend.lmp.parser import parse
from lampc.frontend.lmp.report import Reporter
from lampc.ir import CompileError, Span


def format_lmp(text: str, path: str = "<lmp>") -> str:
    """The text in canonical form. Raises CompileError if it does not parse."""
    report = Reporter()
    try:
        file = parse(text, path, report)
        if not report.failed:
            return _Printer(file).run()
    except RecursionError:
        report.too_deep(path, text)
    raise CompileError(report.ordered(), report.sources.values())


class _Printer:
    def __init__(self, file: ast.File) -> None:
        self.source = file.text.split("\n")
        self.items = file.items
        self.comments = list(file.comments)
        self.out: list[str] = []
        self.last = 0

    def run(self) -> str:
        previous: ast.Item | None = None
        for item in self.items:
            if previous is not None and not self.close(previous, item):
                self.blank()
            self.before(item.span.line, 0)
            self.item(item)
            self.after(item.span, item=True)
            previous = item
        if self.comments and self.out and self.gap(self.comments[0].line):
            self.blank()
        self.before(10**9, 0)
        return "\n".join(self.out).strip("\n") + "\n" if self.out else ""

    def close(self, a: ast.Item, b: ast.Item) -> bool:
        """Whether two one-line items of a kind stand together as they were written."""
        first = next((c.line for c in self.comments if c.alone and c.line > a.span.end_line), b.span.line)
        together = min(first, b.span.line) == a.span.end_line + 1
        return together and type(a) is type(b) and a.span.line == a.span.end_line and not isinstance(a, ast.ModuleDecl)

    # -- lines and comments ------------------------------------------------------------------------

    def blank(self) -> None:
        if self.out and self.out[-1]:
            self.out.append("")

    def gap(self, line: int) -> bool:
        """Whether a blank line stands above `line` in the source."""
        return 1 < line <= len(self.source) + 1 and not self.source[line - 2].strip()

    def before(self, line: int, indent: int) -> None:
        """Print the comments that stand before `line`, and keep a blank line above what follows."""
        while self.comments and self.comments[0].line < line:
            comment = self.comments.pop(0)
            if self.gap(comment.line) and not self.opens():
                self.blank()
            self.out.append("  " * indent + comment.text)
        if line > self.last and self.gap(line) and line <= len(self.source) and not self.opens():
            self.blank()
        self.last = max(self.last, min(line, len(self.source)))

    def opens(self) -> bool:
        return not self.out or self.out[-1].endswith("{")

    def after(self, span: Span, item: bool = False) -> None:
        """Put a trailing comment of the last line of `span` behind the line that was just printed.

        Further comments from inside `span` follow; those of an item stand apart, as they will when formatted again.
        """
        commented = apart = False
        while self.comments and self.comments[0].line <= span.end_line:
            comment = self.comments.pop(0)
            if comment.alone or commented:
                indent = 0 if item else len(self.out[-1]) - len(self.out[-1].lstrip())
                if item and not apart:
                    self.blank()
                    apart = True
                self.out.append(" " * indent + comment.text)
            else:
                self.out[-1] += "  " + comment.text
            commented = True

    def put(self, text: str, indent: int) -> None:
        """Append text whose first line is not yet indented."""
        first, *rest = text.split("\n")
        self.out += ["  " * indent + first, *rest]

    # -- items -------------------------------------------------------------------------------------

    def item(self, item: ast.Item) -> None:
        match item:
            case ast.Import(_, path, alias):
                self.put(f"import {path.raw}" + (f" as {alias.name}" if alias else "") + ";", 0)
            case ast.TypeDecl():
                self.type_decl(item)
            case ast.ModelDecl(_, name, made):
                self.put(f"model {name.name} = {maker(made, 0)};", 0)
            case ast.RetrieverDecl(_, name, made):
                self.put(f"retriever {name.name} = {maker(made, 0)};", 0)
            case ast.ToolDecl(_, name, params, returns, found, made, host):
                word = "function" if host else "tool"
                head = f"{word} {name.name}" + ("(...)" if params is None else parameters("", params, ""))
                self.put(f"{head} -> {flat_type(returns)}{attrs(found)} = {maker(made, 0)};", 0)
            case ast.SignatureDecl(_, name, inputs, outputs, found, body):
                self.put(header(f"signature {name.name}", inputs, outputs, attrs(found) + " {"), 0)
                self.lines(body, 1, item.span)
            case ast.ModuleDecl(_, name, inputs, outputs, found, doc, body):
                self.put(header(f"module {name.name}", inputs, outputs, attrs(found) + " {"), 0)
                self.lines([*([doc] if doc else []), *body], 1, item.span)
            case ast.DatasetDecl(_, name, columns, made):
                head = parameters(f"dataset {name.name}: ", columns, " = ")
                self.put(f"{head}{maker(made, 0, len(head))};", 0)
            case ast.MetricDecl():
                self.metric(item)
            case ast.OptimizeDecl():
                self.optimize(item)
            case ast.TestDecl(_, title, body):
                self.put(f"test {title.raw} {{", 0)
                self.lines(body, 1, item.span)

    def type_decl(self, item: ast.TypeDecl) -> None:
        if not item.braces or not isinstance(item.type, ast.TypeRecord):
            text = f"type {item.name.name} = {flat_type(item.type)};"
            if len(text) > WIDTH and isinstance(item.type, ast.TypeUnion):
                options = "".join(f"\n  | {flat_type(o, True)}" for o in item.type.options).replace("\n  | ", "\n  ", 1)
                text = f"type {item.name.name} ={options};"
            self.put(text, 0)
            return
        self.put(f"type {item.name.name} {{", 0)
        for f in item.type.fields:
            self.before(f.span.line, 1)
            self.put(f"{f.name.name}: {flat_type(f.type)};", 1)
            self.after(f.span)
        self.before(item.span.end_line, 1)
        self.shut(0)

    def metric(self, item: ast.MetricDecl) -> None:
        head = parameters(
            f"metric {item.name.name}", item.params, f" -> {flat_type(item.returns)}{attrs(item.attrs)} = "
        )
        if item.maker is not None:
            self.put(f"{head}{maker(item.maker, 0)};", 0)
            return
        assert item.value is not None
        one = f"{head}{{ {expr(item.value, 0)} }};"
        inner = [c for c in self.comments if c.line < item.span.end_line]
        if not item.lets and "\n" not in one and len(one) <= WIDTH and not inner:
            self.put(one, 0)
            return
        self.put(head + "{", 0)
        for let in item.lets:
            self.before(let.span.line, 1)
            self.statement(let, 1)
            self.after(let.span)
        self.before(item.value.span.line, 1)
        self.put(expr(item.value, 1), 1)
        self.after(item.value.span)
        self.before(item.span.end_line, 1)
        self.put("};", 0)

    def optimize(self, item: ast.OptimizeDecl) -> None:
        head, steps = f"optimize {item.program.name}", [maker(s, 2) for s in item.steps]
        if len(flat := f"{head} with {', '.join(steps)}") <= WIDTH and "\n" not in flat:
            self.put(flat, 0)
        else:
            self.put(head, 0)
            self.put("with " + ",\n       ".join(steps), 1)
        line = f"on {item.train.name}"
        if item.select:
            line += f" select {item.select.name}"
        self.put(f"{line} by {item.metric.name}", 1)
        for clause in item.clauses:
            if clause.text is not None:
                self.put(f"{clause.kind} {clause.text.raw}", 1)
            else:
                self.put(wrapped("budget (", [arg(a, 2) for a in clause.args], ")", 1, WIDTH - 2), 1)
        self.out[-1] += ";"

    # -- bodies ------------------------------------------------------------------------------------

    def lines(self, body: Sequence[ast.Node], indent: int, whole: Span) -> None:
        """The statements of a body, the comments among them, and the closing brace."""
        self.opening_comment(body, whole)
        for node in body:
            self.before(node.span.line, indent)
            self.statement(node, indent)
            self.after(node.span)
        self.before(whole.end_line, indent)
        self.shut(indent - 1)

    def opening_comment(self, body: Sequence[ast.Node], whole: Span) -> None:
        """A comment behind an opening brace stays there."""
        first = body[0].span.line if body else whole.end_line
        if self.comments and not self.comments[0].alone and self.comments[0].line < first:
            self.out[-1] += "  " + self.comments.pop(0).text

    def shut(self, indent: int) -> None:
        while self.out and not self.out[-1]:
            self.out.pop()
        if self.out[-1].endswith("{"):
            self.out[-1] += " }" if not self.out[-1].lstrip().startswith("#") else ""
            return
        self.put("}", indent)

    def block(self, block: ast.Block, indent: int) -> None:
        """A block whose opening brace has been printed."""
        self.lines(block.body, indent + 1, block.span)

    def statement(self, node: ast.Node, indent: int) -> None:
        match node:
            case ast.Doc(_, text):
                self.put(doc(text, indent), indent)
            case ast.OrderDecl(_, names, found):
                self.put(f"layout {', '.join(n.name for n in names)}{attrs(found)};", indent)
            case ast.FieldDoc(_, name, desc, found):
                self.put(f"field {name.name} {desc.raw}{attrs(found)};", indent)
            case ast.DemoDecl(_, values, found):
                self.put(f"demo {expr(values, indent, WIDTH - 6)}{attrs(found)};", indent)
            case ast.Use(_, name, made, args, found):
                call = wrapped(f"{made.name}(", [arg(a, indent + 1) for a in args], ")", indent, WIDTH)
                self.put(f"use {name.name} = {call}{attrs(found)};", indent)
            case ast.Tune(_, name, t, default, choices):
                among = f"{expr(default, indent)} in {expr(choices, indent)}"
                self.put(f"tune {name.name}: {flat_type(t)} = {among};", indent)
            case ast.Let(_, names, t, value):
                head = "let " + ", ".join(n.name for n in names) + (f": {flat_type(t)}" if t else "") + " = "
                self.tail(head, value, ";", indent)
            case ast.Return(_, value):
                self.tail("return ", value, ";", indent)
            case ast.Yield(_, [value]):
                self.tail("yield ", value, ";", indent)
            case ast.Yield(_, values):
                self.put("yield " + ", ".join(expr(v, indent) for v in values) + ";", indent)
            case ast.If() | ast.Match():
                self.tail("", node, "", indent)
            case ast.Loop():
                self.loop(node, indent)
            case ast.Next(_, args, until):
                head = wrapped("next (", [arg(a, indent + 1) for a in args], ")", indent, WIDTH - 2 * indent)
                whole = f"{head} until {expr(until, indent)};"
                if "\n" not in head and len(whole) + 2 * indent > WIDTH:
                    whole = f"{head}\n{'  ' * (indent + 1)}until {expr(until, indent + 1)};"
                self.put(whole, indent)
            case ast.Assert(_, cond, message):
                self.put(f"assert {expr(cond, indent)}" + (f", {message.raw}" if message else "") + ";", indent)
            case ast.Do(_, value):
                self.tail("", value, ";", indent)
            case ast.Mock(_, target, value):
                self.tail(f"mock {target.name} => ", value, ";", indent)
            case ast.Run(_, program, args):
                room = WIDTH - 2 * indent - 5
                call = wrapped(f"{program.name}(", [arg(a, indent + 1) for a in args], ")", indent, room)
                self.put(f"run {call};", indent)
            case ast.Expect(_, value):
                self.tail("expect ", value, ";", indent)

    def loop(self, node: ast.Loop, indent: int) -> None:
        parts = [
            c.name.name + (f" as {c.after.name}" if c.after else "") + f": {expr(c.value, indent + 1)}"
            for c in node.carried
        ]
        index = f" as {node.index.name}" if node.index else ""
        tail = f") max {node.max.raw}{index} {{"
        self.put(wrapped("loop (", parts, tail, indent, WIDTH - 2 * indent), indent)
        self.block(node.body, indent)

    def tail(self, head: str, value: ast.Expr, end: str, indent: int) -> None:
        """`head`, an expression that may hold blocks, and `end`."""
        match value:
            case ast.If():
                self.branch(head, value, indent)
            case ast.Match(_, subject, arms):
                self.put(f"{head}match {expr(subject, indent)} {{", indent)
                self.arms(arms, indent + 1, value.span)
            case ast.Map(_, item, index, items, body):
                names = item.name + (f", {index.name}" if index else "")
                self.put(f"{head}map {names} in {expr(items, indent)} {{", indent)
                self.block(body, indent)
            case _:
                self.put(head + expr(value, indent, WIDTH - len(head) - len(end)), indent)
        self.out[-1] += end

    def branch(self, head: str, node: ast.If, indent: int) -> None:
        self.put(f"{head}if {expr(node.condition, indent)} {{", indent)
        self.block(node.then, indent)
        if node.orelse is None:
            return
        lead = self.out.pop().lstrip() + " else "
        if isinstance(node.orelse, ast.If):
            self.branch(lead, node.orelse, indent)
            return
        self.put(lead + "{", indent)
        self.block(node.orelse, indent)

    def arms(self, arms: list[ast.Arm], indent: int, whole: Span) -> None:
        self.opening_comment(arms, whole)
        for a in arms:
            self.before(a.span.line, indent)
            head = f"{a.pattern.raw if a.pattern else '_'} => "
            if isinstance(a.body, ast.Block):
                self.put(head + "{", indent)
                self.block(a.body, indent)
            else:
                self.tail(head, a.body, ";", indent)
            self.after(a.span)
        self.before(whole.end_line, indent)
        self.shut(indent - 1)


def nested(e: ast.Expr, indent: int) -> str:
    """An `if`, `match` or `map` inside an expression: its lines, without comments of its own."""
    printer = _Printer(ast.File("", "", [], []))
    printer.tail("", e, "", indent)
    text = "\n".join(printer.out)
    return text[2 * indent :]


def maker(made: ast.Maker, indent: int, used: int = 0) -> str:
    """`kind(args) @attrs`."""
    parts = [arg(a, indent + 1) for a in made.args]
    return wrapped(f"{made.name.name}(", parts, ")" + attrs(made.attrs), indent, WIDTH - 2 * indent - used - 1)


def parameters(head: str, params: list[ast.Param], tail: str) -> str:
    """A parameter list, broken into lines if it does not fit."""
    parts = [f"{p.name.name}: {flat_type(p.type)}{attrs(p.attrs)}" for p in params]
    return wrapped(head + "(", parts, ")" + tail, 0, WIDTH)


def header(head: str, inputs: list[ast.Param], outputs: list[ast.Param], tail: str) -> str:
    """`head(inputs) -> (outputs) tail`; what does not fit goes one field a line."""
    flat = parameters(head, inputs, " -> ") + parameters("", outputs, tail)
    if "\n" not in flat and len(flat) <= WIDTH:
        return flat
    sides = []
    for params in (inputs, outputs):
        parts = [f"{p.name.name}: {flat_type(p.type)}{attrs(p.attrs)}" for p in params]
        sides.append("(" + "".join(f"\n  {p}," for p in parts) + "\n)" if parts else "()")
    return f"{head}{sides[0]} -> {sides[1]}{tail}"


def doc(text: ast.Literal, indent: int) -> str:
    """An instruction: a text of several lines is laid out at the current indentation."""
    if text.kind != "text" or "\n" not in text.raw.strip('"').strip():
        inner = text.raw[3:-3].strip() if text.kind == "text" else ""
        return f'"""{inner}"""' if text.kind == "text" and inner and not inner.endswith('"') else text.raw
    from lampc.frontend.lmp.literals import text as read

    pad = "  " * indent
    lines = read(text.raw).split("\n")
    return '"""\n' + "\n".join(pad + line if line else "" for line in lines) + f'\n{pad}"""'
