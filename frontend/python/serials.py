"""Numbers of declarations."""

from __future__ import annotations

import itertools

serials = itertools.count()
"""Numbers declarations in the order in which they are made."""
