"""Programs as one readable Python file that needs an OpenAI client alone: `lampc export`."""

from lampc.runtime.export.errors import NotExportable
from lampc.runtime.export.write import Exported, export

__all__ = ["Exported", "NotExportable", "export"]
