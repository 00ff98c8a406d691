"""What a server says while it serves: uvicorn's loggers get handlers, and nobody else's are touched.

uvicorn itself would call `logging.config.dictConfig`, which closes every handler of the process: a program's own log
file among them, and whatever stream a library's handler takes for its own.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

from uvicorn.logging import AccessFormatter, DefaultFormatter


def give_handlers(access: bool) -> None:
    """Handlers for what uvicorn says, and with `access` for every request; loggers that have one already keep it."""
    _handled("uvicorn", _Standard("stderr", DefaultFormatter("%(levelprefix)s %(message)s")))
    if access:
        line = '%(levelprefix)s %(client_addr)s - "%(request_line)s" %(status_code)s'
        _handled("uvicorn.access", _Standard("stdout", AccessFormatter(line)))


class _Standard(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` or `sys.stdout` is at that time."""

    def __init__(self, stream: Literal["stderr", "stdout"], formatter: logging.Formatter) -> None:
        super().__init__()
        self._name_of_stream = stream
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        self.stream = getattr(sys, self._name_of_stream)
        super().emit(record)


def _handled(name: str, handler: logging.Handler) -> None:
    logger = logging.getLogger(name)
    if not logger.handlers:
        logger.addHandler(handler)
        logger.propagate = False
