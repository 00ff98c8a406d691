"""Engines that take their time: what they compute is not over before other threads have had their turn."""

from __future__ import annotations

import time

from lampc.backend.hooks import Event, Hook, StepEvent


class Slow(Hook):
    """Holds an engine's thread for a moment after each step."""

    def on_event(self, event: Event) -> None:
        if isinstance(event, StepEvent):
            time.sleep(0.005)
