"""What an optimisation did, as data, as one page, and as differences of two programs."""

from lampc.runtime.reports.data import SCHEMA, Report, Trial
from lampc.runtime.reports.page import write_html
from lampc.runtime.reports.read import ReportError, read_report

__all__ = ["SCHEMA", "Report", "ReportError", "Trial", "read_report", "write_html"]
