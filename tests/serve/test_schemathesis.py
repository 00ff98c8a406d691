"""schemathesis reads the OpenAPI page and makes requests of it: no answer is the server's fault, and none has a status,
a media type or a body that the page does not name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from lampc.runtime.serve import Limits, Server
from tests.serve.conftest import example, served

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@pytest.fixture(scope="module")
def whole() -> Iterator[Server]:
    """A server that has all that the page can name: programs, and an embedder."""
    limits = Limits(tokens=4, choices=4, body=1 << 16, seconds=60)
    programs = example("01_classify"), example("03_two_hop")
    with served(*programs, limits=limits, embed=lambda texts: np.ones((len(texts), 4))) as server:
        yield server


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("phases", "examples"), [("fuzzing", 10), pytest.param("coverage,fuzzing,stateful", 500, marks=pytest.mark.slow)]
)
def test_no_server_error_and_no_status_that_is_not_named(
    whole: Server, phases: str, examples: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{whole.url}/openapi.json", "--no-color"]
    command += [
        "--checks",
        ",".join(CHECKS),
        "--max-examples",
        str(examples),
        "--phases",
        phases,
        "--suppress-health-check",
        "all",
    ]
    command += ["--continue-on-failure", "--generation-database", "none", "--seed", "1"]
    env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    paths = httpx.get(f"{whole.url}/openapi.json", trust_env=False).json()["paths"]
    operations = sum(len(o) for path, o in paths.items() if path != "/openapi.json")  # read, not tried
    assert f"Tested: {operations}" in done.stdout
