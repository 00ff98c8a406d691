"""An engine in a process of its own, driven from this one as if it had a thread here."""

from lampc.runtime.engine_process.client import EngineProcess

__all__ = ["EngineProcess"]
