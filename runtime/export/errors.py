"""What cannot be said in an exported file."""

from __future__ import annotations


class NotExportable(Exception):
    """A program needs something that an exported file does not have; the message says what, and where."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(f"{where}: cannot be exported: {what}" if where else f"cannot be exported: {what}")
