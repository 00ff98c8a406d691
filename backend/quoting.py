"""Text from outside that must not spell a special token: it could end its turn or open another one."""

import re
from collections.abc import Iterable

_ROUNDS = 8


class Quoter:
    """Breaks up every special token in a text by a space after its first character: `<|end|>` -> `< |end|>`.

    A token of a single character becomes a space. Tokens that a tokenizer's normalisation would make of other
    characters are not looked for.
    """

    def __init__(self, special_tokens: Iterable[str]) -> None:
        longest_first = sorted((t for t in special_tokens if t.strip()), key=lambda t: (-len(t), t))
        self._markers = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def __call__(self, text: str) -> str:
        for _ in range(_ROUNDS):  # what is left of one token may spell another
            quoted = self._markers.sub(_broken, text)
            if quoted == text:
                break
            text = quoted
        return text


def _broken(found: re.Match[str]) -> str:
    text = found.group()
    core = text.strip()
    return text.replace(core, f"{core[0]} {core[1:]}" if len(core) > 1 else " ", 1)
