"""Grammars of answers: which tokens may come next, and which must. A thin layer over llguidance."""

from lampc.backend.grammar.compiled import Grammars
from lampc.backend.grammar.matcher import Matcher
from lampc.backend.grammar.texts import choice, json_schema, regex

__all__ = ["Grammars", "Matcher", "choice", "json_schema", "regex"]
