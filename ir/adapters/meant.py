"""Which number, truth value or option a sentence means, if only one can be meant.

    option_in("The answer is no.", ["yes", "no"])     "no"
    option_in("not positive", ["positive"])           None
    number_in("about 7 apples")                       "7"
    number_in("3 million")                            None

A word that denies, bounds or scales changes what stands beside it. What such words mean is not guessed: whoever asks
gets None, and may ask the model again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 200
"""Characters of a text in which a number, a truth value or an option is looked for: more is an essay."""
WRAPPINGS = "`\"'*_ \t\n.!"

_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]*\d)")
_NUMERAL = re.compile(r"(?<![\w.])[-+]?\d+(?:[.,]\d+)*")
_SCALED = re.compile(
    r"\d[^\S\n]*(?:[%‰°/^×*]|(?:per\s?cent|hundred|thousand|million|billion|trillion|dozen|lakh|crore|half|times)"
    r"|(?:k|m|b|bn|mm|t|x|th|st|nd|rd|ish)\b)",
    re.IGNORECASE,
)
_BOUNDED = re.compile(
    r"[<>≤≥±]|\b(?:less|fewer|more|most|least|under|over|above|below|between|beyond|up to|minus|negative|half|times"
    r"|zero|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    r"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|dozens?|hundreds?|thousands?|millions?|billions?)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:not|no|non|nor|neither|never|none|nothing|without|cannot|hardly|barely|rarely|lacks?|fails?|anything)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
_HEDGED = re.compile(r"\?|\b(?:or|but|unless|if|than|instead|except|although|however|versus|vs)\b", re.IGNORECASE)
_STOP = r"(?=[^\S\n]*(?:[.,;:!)\n*_`\"'—–]|\Z))"


def number_in(text: str) -> str | None:
    """The one number of a text, without separators of thousands."""
    if len(text) > LONGEST or _SCALED.search(text) or _BOUNDED.search(text) or _DENIED.search(text):
        return None
    found = _NUMBER.findall(text)
    return found[0].replace(",", "").replace("_", "") if len(found) == 1 else None


def option_in(text: str, options: Sequence[str]) -> str | None:
    """The one option that a text is, whatever its case and punctuation, or holds."""
    if len(text) > LONGEST:
        return None
    for shape in (str.strip, lambda t: t.strip(WRAPPINGS), lambda t: folded(t.strip(WRAPPINGS))):
        same = [o for o in options if shape(o) == shape(text) and _numerals(o) == _numerals(text)]
        if same:
            return same[0] if len(same) == 1 else None
    low = text.lower()
    inside = [o for o in options if o and re.search(_whole(o), low)]
    longest = [o for o in inside if not any(o != p and o.lower() in p.lower() for p in inside)]
    return longest[0] if len(longest) == 1 and _said(longest[0], low) else None


def denies(text: str) -> bool:
    """Whether a text has a word that denies."""
    return _DENIED.search(text) is not None


def folded(text: str) -> str:
    """Case, spaces, hyphens and underscores make no difference, except between digits."""
    low = text.casefold()

    def kept(m: re.Match[str]) -> str:
        return "." if low[m.start() - 1 : m.start()].isdigit() and low[m.end() : m.end() + 1].isdigit() else ""

    return re.sub(r"[\W_]+", kept, low)


def _whole(option: str) -> str:
    return rf"(?<![\w-]){re.escape(option.lower())}(?![\w-])"


def _said(option: str, text: str) -> bool:
    """Whether a text that holds an option says nothing that changes it. What begins with it may go on to deny."""
    rest = re.sub(_whole(option), " ", text)
    if _numerals(option) and set(_numerals(text)) != set(_numerals(option)):
        return False
    if _HEDGED.search(rest):
        return False
    if _DENIED.fullmatch(option) and not re.search(_whole(option) + _STOP, text):
        return False  # "no" as in "there is no doubt"
    begins = re.match(r"[\W_]*" + re.escape(option.lower()) + _STOP, text) is not None
    return begins or not denies(rest)


def _numerals(text: str) -> list[str]:
    return [n.lstrip("+") for n in _NUMERAL.findall(text)]
