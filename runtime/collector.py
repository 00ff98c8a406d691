"""Python's garbage collector in a process that is ours: one of the command line.

It walks through all that is alive each time that much has come, modules of torch and of this package first of all.
Everybody waits for that: every step of an engine, every answer of a server.
"""

import gc

_ours = _settled = False


def own() -> None:
    """This process runs a command of ours and nothing else."""
    global _ours
    _ours = True


def settle() -> None:
    """What is alive now stays: the collector leaves it alone until the next time, when what has ended meanwhile is
    given back (models are loaded in turns). Does nothing in somebody else's process."""
    global _settled
    if not _ours:
        return
    if _settled:
        gc.unfreeze()
        gc.collect()
    gc.freeze()
    _settled = True
