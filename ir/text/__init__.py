"""The text form `.lir`: one generic grammar for all levels; `parse_module(str(m)) == m` for every module."""

from lampc.ir.text.parser import parse_module
from lampc.ir.text.printer import print_attr, print_module, print_op

__all__ = ["parse_module", "print_attr", "print_module", "print_op"]
