"""What a server says, and that it leaves the handlers of the process alone."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import httpx
import pytest

from tests.serve.conftest import served


def test_requests_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uvicorn", "uvicorn.access"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    with served(log_level="info") as server:
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
        said = capsys.readouterr()
        assert '"GET /health HTTP/1.1" 200' in said.out
        assert "Application startup complete" in said.err
        monkeypatch.setattr(sys, "stdout", later := io.StringIO())  # it goes where the stream is then
        httpx.get(f"{server.url}/nowhere", trust_env=False)
        assert '"GET /nowhere HTTP/1.1" 404' in later.getvalue()
    with served(log_level="warning") as server:
        assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
    said = capsys.readouterr()
    assert (said.out, said.err.count("startup complete")) == ("", 0)


def test_a_program_keeps_its_log(tmp_path: Path) -> None:
    """`logging.config.dictConfig` would close the file, and streams that libraries took for their own."""
    log, closed = logging.getLogger("test-a-program"), []
    file = logging.FileHandler(tmp_path / "log", mode="w")

    class Noting(logging.StreamHandler[io.StringIO]):
        def close(self) -> None:
            closed.append(self)
            super().close()

    own = Noting(io.StringIO())
    log.addHandler(file)
    try:
        log.warning("before")
        with served():
            log.warning("while")
        log.warning("after")
        assert (tmp_path / "log").read_text().split() == ["before", "while", "after"]
        assert not closed
    finally:
        log.removeHandler(file)
        file.close()
        own.close()
