"""The command line `lampc`: check, fmt, print, opt, render, run, batch, test, optimize, explain, graph, demo.

One file per command. Commands are thin: they read what is asked, call the part that does it, and show what
it gives. Everything heavy is imported inside a command, so that `lampc --help` answers at once.
"""

from lampc.runtime.cli.app import main

__all__ = ["main"]
