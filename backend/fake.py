"""An engine without a model: real queueing, sharing and accounting, scripted replies. For tests and dry runs."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lampc.backend.api import EngineInfo
from lampc.backend.core import EngineCore
from lampc.backend.flight import Ready
from lampc.backend.job import Drawn, Job
from lampc.backend.plan import Pending, Plan, Want
from lampc.backend.request import Handle, Request
from lampc.backend.speculation.verify import verify
from lampc.backend.tokenizer import ByteTokenizer, TextTokenizer

Reply = Callable[[str], str] | Sequence[str]

_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo")


def hash_word(prompt: str) -> str:
    """A pronounceable word that depends on every character of the prompt, the same on every machine."""
    digest = hashlib.sha256(prompt.encode("utf-8", "replace")).digest()
    return "".join(_SYLLABLES[byte % len(_SYLLABLES)] for byte in digest[:4])


class _FakeRunner:
    """Replies instead of computing. A callable sees the decoded prompt, special tokens included."""

    def __init__(self, reply: Reply, tokenizer: TextTokenizer) -> None:
        self._reply = reply
        self._tokenizer = tokenizer
        self._eos = min(tokenizer.eos_ids, default=None)

    def _script(self, job: Job) -> list[int]:
        if job.script is None:
            known = job.ids[: job.prompt_len] + job.output.tokens
            if callable(self._reply):
                text = self._reply(self._tokenizer.decode(known, skip_special=False))
            elif job.handle.id < len(self._reply):
                text = self._reply[job.handle.id]
            else:
                raise IndexError(f"no reply for request {job.handle.id}; {len(self._reply)} were given")
            job.script = job.output.tokens + self._tokenizer.encode(text)
        return job.script

    def execute(self, plan: Plan) -> Sequence[Drawn | int]:
        if plan.copies is not None:
            plan.copies.clear()
        drawn = self._drawn(plan.wants, plan.plain)
        if plan.drafts:
            logits = np.zeros(sum(len(draft.tokens) for draft in plan.drafts))
            verify(plan, logits, drawn, lambda wants, _: self._drawn(wants, plan.plain))
        return drawn

    def _drawn(self, wants: Sequence[Want], plain: bool) -> list[Drawn | int]:
        drawn: list[Drawn | int] = []
        for want in wants:
            job = want.job.owner
            token: int | None = None
            if want.draws:
                script, at = self._script(job), want.index
                # Past the reply, and with no end-of-sequence id to say so, the reply repeats.
                token = script[at] if at < len(script) else self._end(script, at, job)
                if (mask := job.mask()) is not None:
                    token = _allowed(token, mask)
            if plain:
                assert token is not None
                drawn.append(token)
                continue
            known: tuple[int, ...] = ()
            if job.wants_logprobs:
                known = job.follow[want.start + 1 : want.start + 1 + len(want.rows)]
                known += () if token is None else (token,)
            asked = job.request.top_logprobs > 0
            drawn.append(Drawn(token, (0.0,) * len(known), tuple(((t, 0.0),) for t in known if asked)))
        return drawn

    def launch(self, plan: Plan, before: Pending | None) -> Pending:
        """As `execute`: what is drawn depends on nothing that is in flight."""
        return Ready(plan, self.execute(plan))

    def _end(self, script: list[int], at: int, job: Job) -> int:
        if self._eos is not None and self._eos not in job.output.banned_at(at):
            return self._eos
        return script[at % len(script)] if script else 0


def _allowed(token: int, mask: NDArray[np.int32]) -> int:
    """The token if a mask allows it, else the lowest that it does."""
    allowed = np.unpackbits(mask.view(np.uint8), bitorder="little")
    return token if allowed[token] else int(allowed.argmax())


class FakeEngine(EngineCore):
    """`reply` is a function of the prompt's text, or replies in order of submission; by default each prompt
    gets a word made from its hash. Logprobs are 0, without alternatives. What a grammar does not take of a reply
    becomes the lowest token that it does. Everything else is as in the paged engine."""

    scripted = True

    def __init__(
        self,
        reply: Reply = hash_word,
        tokenizer: TextTokenizer | None = None,
        *,
        context_length: int = 1 << 20,
        block_size: int = 16,
        kv_tokens: int = 1 << 17,
        max_batch_tokens: int = 512,
        max_running: int = 64,
        prefix_cache: bool = True,
        chunk: int | None = None,
        **more: Any,
    ) -> None:
        tokenizer = tokenizer or ByteTokenizer()
        info = EngineInfo(
            name="fake",
            vocab_size=tokenizer.vocab_size,
            context_length=context_length,
            kv_bytes_per_token=0,
            block_size=block_size,
            exact=True,
            digest=f"fake:{tokenizer.digest}",
        )
        super().__init__(
            _FakeRunner(reply, tokenizer),
            tokenizer,
            info,
            kv_tokens=kv_tokens,
            max_batch_tokens=max_batch_tokens,
            max_running=max_running,
            prefix_cache=prefix_cache,
            chunk=chunk,
            **more,
        )

    def ask(self, prompt: str, **options: Any) -> str:
        """The reply to one text, for quick tests."""
        handle: Handle = self.submit(Request(tuple(self.tokenizer.encode(prompt)), **options))
        self.run()
        assert handle.completion is not None
        return handle.completion.text
