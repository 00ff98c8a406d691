"""Text to ids and back: the tokenizer of a checkpoint folder, and one that needs no file.

`Tokenizer` reads `tokenizer.json` with the `tokenizers` library and the chat template with a sandboxed
Jinja2; `ByteTokenizer` maps bytes to ids. Neither imports torch or transformers.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lampc.backend.chat import CHAT_TEMPLATE, ChatTemplate
from lampc.backend.errors import CheckpointError, Unsupported


@runtime_checkable
class TextTokenizer(Protocol):
    """What engines and runtimes use of a tokenizer. `digest` changes whenever any id could."""

    @property
    def vocab_size(self) -> int:
        """Number of ids, added tokens included."""
        ...

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a sequence."""
        ...

    @property
    def special_tokens(self) -> frozenset[str]:
        """Texts of added tokens that are marked special: each is one id wherever it stands."""
        ...

    @property
    def named_tokens(self) -> Mapping[str, str]:
        """Special tokens by their names in tokenizer_config.json, such as `eos_token`: those that there are."""
        ...

    @property
    def chat_template(self) -> str | None:
        """Jinja2 source of the chat template."""
        ...

    @property
    def digest(self) -> str:
        """Stable name of this tokenizer's behaviour."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text; adds no special tokens, but recognises them in the text."""
        ...

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a text that starts a sequence: with the special tokens (bos) that the checkpoint puts there."""
        ...

    def decode(self, ids: list[int] | tuple[int, ...], skip_special: bool = True) -> str:
        """Text of ids."""
        ...

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """A conversation as one text; `tools` as in `ChatTemplate.render`."""
        ...

    def compositional(self) -> bool:
        """Whether encoding in pieces cut at special tokens equals encoding whole."""
        ...


class ByteTokenizer:
    """One id per byte (0-255) and one per chat marker (256-259). Deterministic, file-free, compositional."""

    MARKERS = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")

    def __init__(self) -> None:
        self._ids = {marker: 256 + i for i, marker in enumerate(self.MARKERS)}
        self._template = ChatTemplate(CHAT_TEMPLATE, {"eos_token": "<|end|>"})

    @property
    def vocab_size(self) -> int:
        return 256 + len(self.MARKERS)

    @property
    def eos_ids(self) -> frozenset[int]:
        return frozenset({self._ids["<|end|>"]})

    @property
    def special_tokens(self) -> frozenset[str]:
        return frozenset(self.MARKERS)

    @property
    def named_tokens(self) -> Mapping[str, str]:
        return {"eos_token": "<|end|>"}

    @property
    def chat_template(self) -> str | None:
        return CHAT_TEMPLATE

    @property
    def digest(self) -> str:
        return "bytes-1"

    def encode(self, text: str) -> list[int]:
        """Ids of a text, its UTF-8 bytes and markers; lone surrogates become '?'."""
        ids: list[int] = []
        start = 0
        while (at := text.find("<|", start)) >= 0:
            marker = next((m for m in self.MARKERS if text.startswith(m, at)), None)
            if marker is None:
                ids += text[start : at + 2].encode("utf-8", "replace")
                start = at + 2
            else:
                ids += text[start:at].encode("utf-8", "replace")
                ids.append(self._ids[marker])
                start = at + len(marker)
        ids += text[start:].encode("utf-8", "replace")
        return ids

    def encode_prompt(self, text: str) -> list[int]:
        """The same: nothing is put in front."""
        return self.encode(text)

    def decode(self, ids: list[int] | tuple[int, ...], skip_special: bool = True) -> str:
        """Text of ids; bytes that are no UTF-8 become U+FFFD. Raises ValueError for an id past the end."""
        out = bytearray()
        for i in ids:
            if 0 <= i < 256:
                out.append(i)
            elif i < self.vocab_size:
                out += b"" if skip_special else self.MARKERS[i - 256].encode()
            else:
                raise ValueError(f"id {i} is outside the vocabulary of {self.vocab_size}")
        return out.decode("utf-8", "replace")

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """A conversation as one text, by the chat template."""
        return self._template.render(messages, add_generation_prompt, tools)

    def compositional(self) -> bool:
        return True


def _token_text(entry: object) -> str | None:
    """A special token in tokenizer_config.json is a string, or an object with a `content`."""
    if isinstance(entry, dict):
        entry = entry.get("content")
    return entry if isinstance(entry, str) else None


_COMPOSITIONAL: dict[str, bool] = {}
"""By digest: the models of a process mostly have few tokenizers."""


class Tokenizer:
    """The tokenizer of a checkpoint folder."""

    def __init__(self, source: str, config: dict[str, Any], template: str | None, eos_ids: frozenset[int]):
        from tokenizers import Tokenizer as Fast

        self._fast = Fast.from_str(source)
        self._ids: dict[int, int] = {}
        self._fast.no_truncation()  # files may ask to cut and to pad, as whoever saved them last did
        self._fast.no_padding()
        added = self._fast.get_added_tokens_decoder()
        self._special = frozenset(token.content for token in added.values() if token.special)
        named = {
            name: text
            for name in ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")
            if (text := _token_text(config.get(name))) is not None
        }
        eos = self._fast.token_to_id(named["eos_token"]) if "eos_token" in named else None
        self._eos_ids = eos_ids | (frozenset() if eos is None else {eos})
        self._source, self._named = template, named
        self._template = None if template is None else ChatTemplate(template, named)
        digest = hashlib.sha256(source.encode())
        digest.update(json.dumps([template, named, sorted(self._eos_ids)], sort_keys=True).encode())
        self._digest = digest.hexdigest()[:32]

    @classmethod
    def load(cls, folder: Path | str) -> "Tokenizer":
        """Reads tokenizer.json, and when present tokenizer_config.json, chat_template.jinja and eos ids of
        generation_config.json and config.json. Raises CheckpointError naming the file."""
        folder = Path(folder)
        path = folder / "tokenizer.json"
        try:
            source = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(
                f"{path}: {error}; a fast tokenizer file is needed (save one with save_pretrained)"
            ) from error
        config = read_json(folder / "tokenizer_config.json")
        template = config.get("chat_template")
        if isinstance(template, list):
            named = {t.get("name"): t.get("template") for t in template if isinstance(t, dict)}
            template = named.get("default")
        jinja = folder / "chat_template.jinja"
        if jinja.exists():
            template = jinja.read_text(encoding="utf-8")
        eos: set[int] = set()
        for name in ("generation_config.json", "config.json"):
            entry = read_json(folder / name).get("eos_token_id")
            if entry is not None:
                eos |= set(entry) if isinstance(entry, list) else {entry}
        try:
            return cls(source, config, template, frozenset(eos))
        except Exception as error:  # the library raises bare Exception
            raise CheckpointError(f"{path}: not a tokenizer: {error}") from error

    @property
    def vocab_size(self) -> int:
        return int(self._fast.get_vocab_size(with_added_tokens=True))

    @property
    def eos_ids(self) -> frozenset[int]:
        return self._eos_ids

    @property
    def special_tokens(self) -> frozenset[str]:
        return self._special

    @property
    def named_tokens(self) -> Mapping[str, str]:
        return dict(self._named)

    @property
    def definition(self) -> str:
        """The tokenizer as the text of a tokenizer.json."""
        return str(self._fast.to_str())

    @property
    def chat_template(self) -> str | None:
        return self._source

    @property
    def digest(self) -> str:
        return self._digest

    def encode(self, text: str) -> list[int]:
        """Ids of a text; adds no special tokens, but recognises them in the text. Equal ids are one object: prompts
        have many, and are kept, compared and hashed."""
        one = self._ids.setdefault
        return [one(i, i) for i in self._fast.encode(text, add_special_tokens=False).ids]

    def encode_prompt(self, text: str) -> list[int]:
        """Ids of a text with the special tokens that tokenizer.json's post-processor adds, as a bos token."""
        return list(self._fast.encode(text, add_special_tokens=True).ids)

    def decode(self, ids: list[int] | tuple[int, ...], skip_special: bool = True) -> str:
        """Text of ids; with `skip_special` the special tokens leave no trace."""
        return str(self._fast.decode(list(ids), skip_special_tokens=skip_special))

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool = True,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> str:
        """A conversation as one text. Raises Unsupported if the checkpoint has no chat template."""
        if self._template is None:
            raise Unsupported("this checkpoint has no chat template; add chat_template.jinja to its folder")
        return self._template.render(messages, add_generation_prompt, tools)

    def compositional(self) -> bool:
        """Tries joints at every special token on texts that expose prefix spaces, strips and merges: each pair of them
        around it, all pairs one after another in one text (an Eulerian circuit), and each at the ends of a text."""
        known = _COMPOSITIONAL.get(self._digest)
        if known is None:
            known = _COMPOSITIONAL[self._digest] = self._composes()
        return known

    def _composes(self) -> bool:
        pieces = ("a", " a", "a ", "\n", " \n x", "Hello, world", "  two", "é中", "1234", "")
        apart = [self.encode(piece) for piece in pieces]
        count = len(pieces)
        circuit = [i for a in range(count) for b in range(a, count) for i in ((a, b) if a < b else (a,))]
        orders = [[*circuit, 0], *([i, i] for i in range(count))]
        for special in sorted(self._special):
            middle = self.encode(special)
            if len(middle) != 1:
                return False
            for first, *rest in orders:
                ids = list(apart[first])
                for i in rest:
                    ids += middle + apart[i]
                if ids != self.encode(special.join(pieces[i] for i in (first, *rest))):
                    return False
        return True


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, {} if there is no such file. Raises CheckpointError if it is damaged."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value
