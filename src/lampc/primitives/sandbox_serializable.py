"""`lampc.primitives.sandbox_serializable`: the path that `dspy.primitives.sandbox_serializable` has."""

from lampc.frontend.python.modules.code_repl import SandboxSerializable

__all__ = ["SandboxSerializable"]
