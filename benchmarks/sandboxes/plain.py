"""CPython as it is, which is no sandbox at all: the scale for the others. JSON lines as in the others."""

import ast
import contextlib
import io
import json
import sys

names: dict[str, object] = {}
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    code = ast.parse(json.loads(line)["code"])
    said = io.StringIO()
    last = code.body.pop() if code.body and isinstance(code.body[-1], ast.Expr) else None
    try:
        with contextlib.redirect_stdout(said):
            exec(compile(code, "<code>", "exec"), names)
            value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names) if last is not None else None
        out = {"ok": True, "text": said.getvalue() if value is None else str(value)}
    except BaseException as e:
        out = {"ok": False, "text": f"{type(e).__name__}: {e}"}
    print(json.dumps(out), flush=True)
