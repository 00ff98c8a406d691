"""What commands keep between runs stays in a folder of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from lampc.runtime import calibrate, experience


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder: Path = tmp_path_factory.getbasetemp() / "cache"
    for module in (calibrate, experience):
        monkeypatch.setattr(module, "default_folder", lambda: folder)
    monkeypatch.setattr(calibrate, "SECONDS", 0.5)
