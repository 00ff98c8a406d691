"""`lampc.predict.code_act`: the path that `dspy.predict.code_act` has."""

from lampc.frontend.python.modules.code_act import CodeAct

__all__ = ["CodeAct"]
