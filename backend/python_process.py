"""Other processes of ours: Python that finds the modules that this one finds, whatever lies in the current folder."""

import os
import sys


def command(module: str, *arguments: str) -> list[str]:
    """What runs a module. `-P`: `-m` alone would look for every module in the current folder first."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This one's, and where it finds modules."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)}
