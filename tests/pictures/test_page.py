"""The page in a real browser, offline, from a file: it draws, closes, zooms, pans, searches, and fetches nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lampc.ir import Module
from lampc.runtime.pictures import draw, picture
from tests.pictures.modules import broken, triage, wide

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
    "--virtual-time-budget=5000",
)


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for b in BROWSERS if (path := shutil.which(b))), None)
    if found is None:
        if os.environ.get("LAMPC_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium, and LAMPC_REQUIRE_BROWSER=1 asks for it")
        pytest.skip("no Chromium here: the graph page is not driven")
    return found


def drive(browser: str, module: Module, folder: Path) -> dict[str, Any]:
    """Open the page with its self test and give what that wrote down."""
    page = folder / "graph.html"
    page.write_text(draw(picture(module, counts={"sort": {"calls": 12}}), "html"), encoding="utf-8")
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", f"{page.as_uri()}#selftest"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'<script type="application/json" id="selftest-result">(.*?)</script>', done.stdout, re.DOTALL)
    assert found, done.stdout[-500:] + done.stderr[-2000:]
    said: dict[str, Any] = json.loads(found.group(1))
    assert said["ok"], said.get("error")
    return said


@pytest.mark.browser
def test_page_is_used_like_a_reader_would(browser: str, tmp_path: Path) -> None:
    said = drive(browser, triage(), tmp_path)
    assert said["nodes"] == len(picture(triage()).nodes)
    assert said["zoomed"]
    assert said["panned"]
    assert said["collapsed"] < said["reopened"] == said["nodes"]
    assert said["overlaps"] == 0
    assert "Sort the note." in said["panel"], "a click shows the prompt"
    assert "calls\t12" in said["panel"], "a click shows the counts"
    assert "choice" in said["panel"], "a click shows the types"
    assert said["found"] >= 1
    assert said["chosen"]
    assert said["requests"] == 0


@pytest.mark.browser
@pytest.mark.parametrize("module", [broken(), wide(60)], ids=lambda m: m.name)
def test_page_draws_broken_and_large_programs(browser: str, module: Module, tmp_path: Path) -> None:
    said = drive(browser, module, tmp_path)
    assert said["nodes"] == len(picture(module).nodes) or said["nodes"] < 400
    assert said["overlaps"] == 0
    assert said["requests"] == 0
