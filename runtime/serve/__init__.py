"""`lampc serve`: an engine and programs behind HTTP, for OpenAI's clients and others (extra `serve`)."""

from lampc.runtime.serve.app import App
from lampc.runtime.serve.limits import Limits
from lampc.runtime.serve.programs import Program
from lampc.runtime.serve.server import Server, ServerFailed

__all__ = ["App", "Limits", "Program", "Server", "ServerFailed"]
