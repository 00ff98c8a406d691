"""Runners, one per engine: each is a script of its own that runs in that engine's environment (see `_harness`)."""
