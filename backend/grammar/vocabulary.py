"""A tokenizer as llguidance needs it: the bytes of each token, and how a text is cut into tokens.

A grammar is about the bytes that tokens spell, one after the other. Some tokenizers put a space before each text, and
mostly take it away again when they decode: "yes" is the token " yes". A grammar says where it would stand by the
terminals `LEAD`, before a text, and `LINE_LEAD`, after a line break: they are empty where the tokenizer does no such
thing. Within a text such tokenizers cut as all others do.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lampc.backend.errors import Unsupported
from lampc.backend.tokenizer import ByteTokenizer, TextTokenizer, Tokenizer

if TYPE_CHECKING:
    from llguidance import LLTokenizer

KEPT = 2
"""Vocabularies that a process keeps: its engines mostly have one tokenizer, and to make it takes long."""
_PROBES = ("a b", "a\nb", "x: 12, yes", "naïve (1)", '{"a": [1, 2]}')


class Vocabulary:
    """The tokens of an engine with `size` ids; `ends` are those that end a text.

    Raises Unsupported for a tokenizer whose tokens do not spell what it was given, or that has no end.
    """

    def __init__(self, tokenizer: TextTokenizer, size: int) -> None:
        self.size = size
        self.ends = frozenset(i for i in tokenizer.eos_ids if i < size)
        if not self.ends:
            raise Unsupported("a grammar needs a token that ends a text, and this tokenizer has none (eos_token)")
        self.tokens: LLTokenizer = _tokens(tokenizer, size, sorted(self.ends))
        self.lead = self._spelled(tokenizer, "a").removesuffix("a")
        self.line_lead = self._spelled(tokenizer, "a\na").removeprefix(f"{self.lead}a\n").removesuffix("a")
        for text in _PROBES:
            if self.tokens.decode_bytes(self.tokens.tokenize_str(text)) != text.encode():
                raise Unsupported(f"this tokenizer makes something else of the text {text!r}: no grammar can be kept")

    def spelled(self, tokens: Sequence[int]) -> bytes:
        """What tokens spell, one after the other."""
        spelled: bytes = self.tokens.decode_bytes(list(tokens))
        return spelled

    def cut(self, text: bytes) -> list[int]:
        """The tokens of a text within an answer."""
        cut: list[int] = self.tokens.tokenize_bytes(text)
        return cut

    def _spelled(self, tokenizer: TextTokenizer, text: str) -> str:
        return self.tokens.decode_bytes(tokenizer.encode(text)).decode("utf-8", "replace")


def vocabulary_of(tokenizer: TextTokenizer, size: int) -> Vocabulary:
    """The tokens of an engine with `size` ids, made once for all that have equal ones. Raises as `Vocabulary` does."""
    key = type(tokenizer), tokenizer.digest, size
    found = _made.pop(key, None) or Vocabulary(tokenizer, size)
    _made[key] = found
    for old in list(_made)[:-KEPT]:
        _made.pop(old, None)  # another thread may have
    return found


_made: dict[tuple[type, str, int], Vocabulary] = {}
"""The last ones."""


class Spelling:
    """What each token of a tokenizer with `size` ids spells by itself."""

    def __init__(self, tokenizer: TextTokenizer, size: int) -> None:
        self.special = tokenizer.special_tokens
        self._tokenizer = tokenizer
        self._tokens: LLTokenizer | None = None
        with contextlib.suppress(Unsupported):
            self._tokens = _tokens(tokenizer, size, sorted(i for i in tokenizer.eos_ids if i < size) or [0])

    def text(self, token: int) -> str:
        """As text; part of a character that is not whole becomes U+FFFD."""
        return self._tokenizer.decode([token], skip_special=False)

    def bytes(self, token: int) -> bytes:
        """Its own bytes, parts of characters too; those of its text, if it is special, or the tokenizer is one that
        llguidance cannot read."""
        if self._tokens is None or self.text(token) in self.special:
            return self.text(token).encode()
        spelled: bytes = self._tokens.decode_bytes([token])
        return spelled


def _tokens(tokenizer: TextTokenizer, size: int, ends: list[int]) -> "LLTokenizer":
    from llguidance import LLTokenizer

    if isinstance(tokenizer, Tokenizer):
        source = _unspelled(_unprefixed(json.loads(tokenizer.definition)))
        try:
            return LLTokenizer(json.dumps(source), n_vocab=size, eos_token=ends)
        except ValueError as error:
            raise Unsupported(f"llguidance cannot read this tokenizer, so no grammar can be kept: {error}") from error
    if isinstance(tokenizer, ByteTokenizer):
        return LLTokenizer(_Bytes(tokenizer), n_vocab=size, eos_token=ends)  # type: ignore[arg-type]
    raise Unsupported(f"{type(tokenizer).__name__} is not known to grammars; they take tokenizer.json of a checkpoint")


def _unprefixed(part: Any) -> Any:
    """The definition of the same tokenizer, but for spaces that it puts before texts."""
    if isinstance(part, list):
        return [_unprefixed(p) for p in part if not (isinstance(p, dict) and p.get("type") == "Prepend")]
    if not isinstance(part, dict):
        return part
    changes: dict[str, Any] = {"ByteLevel": {"add_prefix_space": False}, "Metaspace": {"prepend_scheme": "never"}}
    made = {name: _unprefixed(p) if name in _NESTED else p for name, p in part.items()}
    for name in ("normalizer", "pre_tokenizer"):
        if isinstance(made.get(name), dict) and made[name].get("type") == "Prepend":
            made[name] = None
    if part.get("type") == "Metaspace":
        made.pop("add_prefix_space", None)
    return {**made, **changes.get(str(part.get("type")), {})}


def _unspelled(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition of the same tokenizer, but that no text spells a special token: one that a grammar forces would be
    cut into it. Grammars name such tokens by their numbers, `<[4]>`."""
    added, model = definition.get("added_tokens") or (), dict(definition["model"])
    known, merged = model.get("vocab"), {"".join(merge).replace(" ", "") for merge in model.get("merges") or ()}
    special = [token for token in added if token.get("special") and token["content"] not in merged]
    names = {token["content"]: f"\ue000special {token['id']}\ue000" for token in special}
    if isinstance(known, dict):
        model["vocab"] = {names.get(text, text): i for text, i in known.items()}
    elif isinstance(known, list):
        model["vocab"] = [[names.get(text, text), score] for text, score in known]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    renamed = [{**token, "content": names.get(token["content"], token["content"])} for token in added]
    return {**definition, "model": model, "added_tokens": renamed}


_NESTED = ("normalizer", "normalizers", "pre_tokenizer", "pretokenizers")


class _Bytes:
    """What llguidance asks of a tokenizer that is no file."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: ByteTokenizer) -> None:
        self.eos_token_id = min(tokenizer.eos_ids)
        self.tokens = [bytes([i]) for i in range(256)] + [m.encode() for m in tokenizer.MARKERS]
        self.special_token_ids = list(range(256, len(self.tokens)))

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)
