"""Options and fixtures that every test folder may use."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from lampc.ir import modelnames
from lampc.ir.settings import settings as lampc_settings
from lampc.passes import manager
from lampc.passes.manager import Pipeline

# The same examples on every machine, and no verdict on its speed.
settings.register_profile("lampc", deadline=None, derandomize=True, database=None)
settings.load_profile("lampc")

# Read when torch is loaded. Threads that wait for each other would else spin: most of the time on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell lets what it starts in the background ignore interrupts, and so would all processes that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite golden files instead of comparing with them")


@pytest.fixture(scope="session", autouse=True)
def _checked_passes() -> Iterator[None]:
    """`parse(print(m)) == m` and a verified module after every pass of every test; a text is parsed once for all of
    them, since most passes leave most programs as they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "checked", True)
        patch.setattr(manager, "parse_module", functools.lru_cache(256)(manager.parse_module))
        yield


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    """What a test configures ends with it, and so do the names of the models that it made."""
    yield
    lampc_settings.reset()
    modelnames._objects.clear()


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be rewritten (`make golden`)."""
    return bool(request.config.getoption("--update"))


@pytest.fixture
def golden(update: bool) -> Callable[[Path, str], None]:
    """Compare a text with a golden file, or rewrite the file under `--update`."""

    def compare(path: Path, text: str) -> None:
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is missing: make golden"
        assert text == path.read_text(encoding="utf-8")

    return compare
