"""What a user hands over, as token ids: texts, ids, conversations."""

from collections.abc import Mapping, Sequence
from functools import cached_property

from lampc.backend.quoting import Quoter
from lampc.backend.tokenizer import TextTokenizer

Message = Mapping[str, str]
Prompt = str | Sequence[int]


class Prompts:
    """Makes ids of prompts, with one tokenizer. All raise ValueError or TypeError that names what is wrong."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def quote(self) -> Quoter:
        """Breaks up special tokens in texts from outside."""
        return Quoter(self.tokenizer.special_tokens)

    def ids(self, prompt: object, where: str = "prompt") -> list[int]:
        """Ids of a text, of ids, or of a conversation."""
        if isinstance(prompt, str):
            return self.tokenizer.encode_prompt(prompt)
        if not isinstance(prompt, Sequence) or isinstance(prompt, bytes):
            raise TypeError(f"{where} is {prompt!r:.80}; give a text or a sequence of token ids")
        if prompt and all(isinstance(m, Mapping) for m in prompt):
            return self.chat(prompt, where)
        if not all(isinstance(i, int) and not isinstance(i, bool) for i in prompt):
            raise TypeError(f"{where} is {prompt!r:.80}; give a text or a sequence of token ids")
        return list(prompt)

    def many(self, prompts: object) -> tuple[bool, list[list[int]]]:
        """Whether these are several prompts, and the ids of each."""
        several = isinstance(prompts, Sequence) and not isinstance(prompts, str)
        if not several or _first(prompts, int) or _first(prompts, Mapping):
            return False, [self.ids(prompts)]
        assert isinstance(prompts, Sequence)
        return True, [self.ids(prompt, f"prompts[{i}]") for i, prompt in enumerate(prompts)]

    def chat(self, messages: object, where: str = "messages") -> list[int]:
        """Ids of a conversation, ready for the answer; contents are quoted."""
        if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
            raise TypeError(f"{where} is {messages!r:.80}; give a list of messages with 'role' and 'content'")
        turns = []
        for i, message in enumerate(messages):
            if not isinstance(message, Mapping) or not all(
                isinstance(message.get(name), str) for name in ("role", "content")
            ):
                raise ValueError(f"{where}[{i}] is {message!r:.80}; give a dict with the texts 'role' and 'content'")
            turns.append({**message, "content": self.quote(message["content"])})
        return self.tokenizer.encode(self.tokenizer.render_chat(turns))


def _first(sequence: object, kind: type) -> bool:
    return isinstance(sequence, Sequence) and len(sequence) > 0 and isinstance(sequence[0], kind)
