"""`lampc.adapters.types`: types that stand in prompts, under the names of `dspy.adapters.types`."""

from typing import TYPE_CHECKING

from lampc._paths import modules_of
from lampc.frontend.python.tools.calls import ToolCallResults, ToolCalls
from lampc.frontend.python.tools.tool import Tool
from lampc.frontend.python.types.audio import Audio
from lampc.frontend.python.types.base import Type
from lampc.frontend.python.types.code import Code
from lampc.frontend.python.types.file import File
from lampc.frontend.python.types.history import History
from lampc.frontend.python.types.image import Image
from lampc.frontend.python.types.reasoning import Reasoning

if not TYPE_CHECKING:
    __getattr__ = modules_of(__name__)

__all__ = [
    "Audio",
    "Code",
    "File",
    "History",
    "Image",
    "Reasoning",
    "Tool",
    "ToolCallResults",
    "ToolCalls",
    "Type",
]
