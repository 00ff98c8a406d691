"""docs/dspy.md says of every public name of DSPy what it is here; this holds it to that."""

import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import dspy
import dspy.datasets  # a name of dspy once it is imported, as `experimental` is
import dspy.experimental
import pytest

import lampc

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dspy.md"
ROWS = re.findall(r"^\| `(\w+)` \| (\w+) \| ?(.*?) ?\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
NAMES = {name: (status, why) for name, status, why in ROWS}


def public() -> set[str]:
    """Names of dspy, without modules of the standard library that it imports; `cache` is made when it is asked for."""
    names = (name for name in dir(dspy) if not name.startswith("_"))
    return {"cache"} | {
        n for n in names if not (isinstance(getattr(dspy, n), ModuleType) and n in sys.stdlib_module_names)
    }


def test_every_name_is_in_the_page_once() -> None:
    assert not [name for name, count in Counter(name for name, *_ in ROWS).items() if count > 1]
    assert NAMES.keys() == public()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_is_here_unless_it_is_said_to_be_missing(name: str) -> None:
    status, why = NAMES[name]
    assert status in ("same", "better", "different", "missing")
    assert hasattr(lampc, name) == (status != "missing")
    assert why or status == "same"


def test_few_are_missing() -> None:
    missing = [name for name, (status, _) in NAMES.items() if status == "missing"]
    assert len([name for name in missing if not isinstance(getattr(dspy, name), ModuleType)]) < 10
