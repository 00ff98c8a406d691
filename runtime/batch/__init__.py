"""Files of prompts through an engine: `lampc batch`.

`lines` reads what is asked, `order` says what is run when, `results` keeps what is finished, `run` does the work.
"""

from lampc.runtime.batch.lines import BadLine, Line, Lines
from lampc.runtime.batch.results import BatchError, Results
from lampc.runtime.batch.run import Survey, run_batch, survey
from lampc.runtime.batch.writing import Figures

__all__ = ["BadLine", "BatchError", "Figures", "Line", "Lines", "Results", "Survey", "run_batch", "survey"]
