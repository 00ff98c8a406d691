"""Kernels run compiled where there is a GPU, else in Triton's interpreter."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).resolve().parent

if not torch.cuda.is_available():
    # Read when triton is imported: its own functions are then the interpreter's.
    assert "triton" not in sys.modules, "something imported triton before the interpreter was asked for"
    os.environ["TRITON_INTERPRET"] = "1"

collect_ignore_glob = [] if importlib.util.find_spec("triton") else ["test_*.py"]  # wheels for Linux alone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker("kernels")


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where kernels run: the interpreter takes tensors of the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
