"""`lampc serve`'s own server in a process of its own, whose caches can be emptied between two measurements.

python -m optimizer_bench.server     prints its address; a line on standard input empties its caches
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class ServerProcess:
    """Starts it and ends it; `counts` are the engine's."""

    def __init__(self, env: dict[str, str]) -> None:
        command = [sys.executable, "-m", "optimizer_bench.server"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=Path(__file__).parents[2]
        )
        self.url = self._line()["url"]

    def reset(self) -> Any:
        """Empty its caches, as if it had just been started; what it has counted so far, whole numbers by name."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server ended; its error stands above")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def main() -> None:
    from lampc.backend import load_engine
    from lampc.runtime.pool import firefly_folder
    from lampc.runtime.serve import App, Server

    app = App(load_engine(firefly_folder()), name="firefly")

    def emptied() -> dict[str, int]:
        loop = app.service.engine.loop
        loop.asking("reset_cache").result()
        stats = loop.asking("stats").result()
        return {"requests": stats.requests, "prompt": stats.prompt_tokens, "computed": stats.computed_tokens}

    with Server(app, port=0) as server:
        print(json.dumps({"url": server.url}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(emptied()), flush=True)


if __name__ == "__main__":
    main()
