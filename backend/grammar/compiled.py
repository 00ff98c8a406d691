"""The grammars of an engine, each read once."""

import json
import re
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from lampc.backend.errors import BadGrammar
from lampc.backend.grammar import texts
from lampc.backend.grammar.depth import DEEPEST, depth
from lampc.backend.grammar.matcher import Matcher, Reading
from lampc.backend.grammar.said import said
from lampc.backend.grammar.trial import TOO_LARGE, TOO_LONG, may_take_long, names_tokens, takes_any_bytes, try_out
from lampc.backend.grammar.vocabulary import Vocabulary, vocabulary_of
from lampc.backend.tokenizer import TextTokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher

KEPT = 256
USED = 1 << 14
"""Tokens of answers for which a grammar is read once: what they find out about it takes memory, kilobytes each."""
LONGEST = 1 << 20
"""Characters of a grammar's text."""
WIDEST = 1 << 16
"""Ways in which a grammar may go on at one place: that many texts a choice may have, say."""
KEPT_TEXT = 2 << 20
"""Characters of all grammars that are kept: read, they take about forty times the bytes of their text."""


class Grammars:
    """Matchers for the grammars of requests. The last `kept` grammars stay read; the vocabulary is made with the first.

    Grammars are in the dialect of Lark that llguidance reads (its docs/syntax.md): rules, terminals between slashes,
    `%json {...}` for a JSON schema, `%regex {...}`, `[lazy]` for what ends as soon as it can. `start` is the answer.
    The terminals `LEAD` and `LINE_LEAD` are defined here, see `lampc.backend.grammar.vocabulary`.
    """

    def __init__(self, tokenizer: TextTokenizer, size: int, kept: int = KEPT) -> None:
        self._tokenizer, self._size, self._kept = tokenizer, size, kept
        self._vocabulary: Vocabulary | None = None
        self._read: OrderedDict[str, Reading] = OrderedDict()
        self._text = 0  # characters of these

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens as grammars see them. Raises Unsupported."""
        if self._vocabulary is None:
            self._vocabulary = vocabulary_of(self._tokenizer, self._size)
        return self._vocabulary

    def matcher(self, grammar: str | None) -> Matcher | None:
        """A matcher at the beginning; None without a grammar. Raises BadGrammar or Unsupported."""
        if grammar is None:
            return None
        if not isinstance(grammar, str) or not grammar.strip():
            raise BadGrammar(f"grammar is {grammar!r:.80}; give the text of one, or None")
        known = self._read.pop(grammar, None)
        found = known if known is not None and known.tokens < USED else self._reading(grammar)
        self._read[grammar] = found
        if known is None:
            self._text += len(grammar)
            while len(self._read) > 1 and (len(self._read) > self._kept or self._text > KEPT_TEXT):
                self._text -= len(self._read.popitem(last=False)[0])
        return Matcher(found, self.vocabulary, lambda: self._compiled(grammar))

    def _reading(self, grammar: str) -> Reading:
        return Reading(self._compiled(grammar), names_tokens(grammar))

    def _compiled(self, grammar: str) -> "LLMatcher":
        if len(grammar) > LONGEST:
            raise BadGrammar(f"the grammar has {len(grammar)} characters; at most {LONGEST} are read")
        if lone := re.search("[\ud800-\udfff]", grammar):
            raise BadGrammar(f"the grammar holds {lone.group()!r}, half of a character; no text can")
        if (deep := depth(grammar)) > DEEPEST:
            raise BadGrammar(f"names of the grammar refer to each other {deep} deep; at most {DEEPEST} are followed")
        if takes_any_bytes(grammar):
            raise BadGrammar(
                "`allow_invalid_utf8` of %llguidance is not supported: bytes that are no text stand for special tokens "
                "here; leave it out"
            )
        from llguidance import LLMatcher, LLParserLimits

        grammar = _with_leads(grammar, self.vocabulary.lead, self.vocabulary.line_lead)
        limits = LLParserLimits(max_items_in_row=WIDEST)
        # The same form whatever the text begins with: llguidance takes JSON of its own where it sees some.
        made = LLMatcher(self.vocabulary.tokens, LLMatcher.grammar_from_lark(grammar), log_level=0, limits=limits)
        if made.is_error():
            raise BadGrammar(_placed(made.get_error(), grammar))
        return made


def read_elsewhere(grammar: str) -> None:
    """Reads a grammar that could take long to read in another process. Raises BadGrammar if it does, or is none."""
    if may_take_long(grammar) and (error := try_out(_with_leads(grammar, " ", " "), WIDEST)) is not None:
        raise BadGrammar(error if error in (TOO_LONG, TOO_LARGE) else _placed(error, grammar))


def _with_leads(grammar: str, lead: str, line_lead: str) -> str:
    """The grammar with what it does not define of the terminals that are defined here."""
    for name, text in (("LEAD", lead), ("LINE_LEAD", line_lead)):
        if re.search(rf"\b{name}\b", grammar) and not re.search(rf"^\s*{name}\s*:", grammar, re.MULTILINE):
            grammar = f"{grammar}\n{name}: {json.dumps(text)}\n"
    return grammar


def schema_refused(schema: Any) -> bool:
    """Whether a JSON schema by itself, with any tokenizer, is none that a grammar can be made of."""
    from llguidance import LLMatcher

    try:
        text = texts.json_schema(schema)
        if depth(text) > DEEPEST:
            return True
        read_elsewhere(text)
    except ValueError:  # BadGrammar is one
        return True
    return bool(LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(_with_leads(text, " ", " "))))


_OF_SCHEMA = re.compile(r'failed to compile JSON schema: |failed to parse "%json": ')


def _placed(error: str, grammar: str) -> str:
    """What llguidance says, with line and column named. Of a grammar that was made here of a schema or a pattern, lines
    are nothing that a user has seen: what is wrong with it is told alone."""
    error = said(error).strip()
    if grammar.startswith("start: LEAD %json ") and (found := _OF_SCHEMA.search(error)) is not None:
        why = re.sub(r" at line \d+ column \d+$", "", _reason(error[found.end() :]))
        return f"the JSON schema cannot be used: {why}"
    if grammar.startswith("start: LEAD v\n"):
        return f"the pattern cannot be used: {_reason(error)}"
    placed = re.sub(r"^(?:at )?(\d+)\((\d+)\): ", r"line \1, column \2: ", error)
    return f"the grammar cannot be used: {placed}"


def _reason(error: str) -> str:
    """The line that says what is wrong: the last one of the crate `regex`, or the first."""
    found = re.search(r"^error: (.*)$", error, re.MULTILINE)
    return found.group(1) if found else error.splitlines()[0]
