"""Python's garbage collector in a process that is ours: one of the command line.

It walks through all that is alive each time that much has come, and what torch and this package import alone takes it
0.1 s. Everybody waits for that: every step of an engine, every answer of a server.
"""

import gc

_ours = False


def own() -> None:
    """This process runs a command of ours and nothing else."""
    global _ours
    _ours = True


def settle() -> None:
    """What is alive now stays to the end: the collector leaves it alone. Does nothing in somebody else's process."""
    if _ours:
        gc.freeze()
