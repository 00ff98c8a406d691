"""What lampc says in the log, and litellm if it is used: on and off, under DSPy's names."""

from __future__ import annotations

import logging

_OURS, _LITELLM = "lampc", "LiteLLM"
_SILENT = logging.CRITICAL + 1


def enable_logging() -> None:
    """Warnings of lampc are logged: what happens anyway."""
    logging.getLogger(_OURS).setLevel(logging.NOTSET)


def disable_logging() -> None:
    """Nothing of lampc is logged."""
    logging.getLogger(_OURS).setLevel(_SILENT)


def enable_litellm_logging() -> None:
    """litellm logs what it does."""
    logging.getLogger(_LITELLM).setLevel(logging.DEBUG)


def disable_litellm_logging() -> None:
    """litellm logs errors alone."""
    logging.getLogger(_LITELLM).setLevel(logging.ERROR)
