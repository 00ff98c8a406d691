"""In tests of the runtime every event is held against the declared kinds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lampc.runtime.events import EventBus


@pytest.fixture(autouse=True)
def _checked_events() -> Iterator[None]:
    EventBus.checked = True
    yield
    EventBus.checked = False
