"""The text form `.lir`: one generic grammar for all levels; `parse_module(str(m)) == m` for every module."""

from lampc.ir.text.printer import print_attr, print_module, print_op
from lampc.ir.text.reading import parse_module

__all__ = ["parse_module", "print_attr", "print_module", "print_op"]
