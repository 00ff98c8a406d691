"""A file of prompts through an endpoint's offline batches, with the lines and results of every other batch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lampc.ir.errors import LMError, is_retryable_lm_error
from lampc.runtime.batch.lines import BadLine, Line
from lampc.runtime.batch.results import Results
from lampc.runtime.batch.writing import Figures, Writing
from lampc.runtime.batches import BatchQueue

if TYPE_CHECKING:
    from lampc.runtime.providers import ChatAnswer, OpenAIClient

_SENT = ("temperature", "top_p", "max_tokens", "stop", "presence_penalty", "frequency_penalty", "logit_bias")


def body_of(client: OpenAIClient, line: Line) -> dict[str, Any]:
    """What an endpoint is asked for a line. Raises ValueError for options that endpoints do not have."""
    from lampc.backend.options import Wanted
    from lampc.backend.request import Sampling

    if isinstance(line.prompt, list) and line.prompt and isinstance(line.prompt[0], int):
        raise ValueError("an endpoint takes no token ids: give prompt or messages")
    messages = line.prompt if isinstance(line.prompt, list) else [{"role": "user", "content": line.prompt}]
    want = line.want
    plain, plainly = Sampling(), Wanted(Sampling())
    odd = [
        f.name
        for f in fields(Sampling)
        if f.name not in _SENT and getattr(want.sampling, f.name) != getattr(plain, f.name)
    ]
    odd += [
        f.name
        for f in fields(Wanted)
        if f.name not in ("sampling", "n", "seed", "priority") and getattr(want, f.name) != getattr(plainly, f.name)
    ]
    if odd:
        raise ValueError(f"{odd[0]} is no option of an endpoint; it has {', '.join((*_SENT, 'n', 'seed'))}")
    s = want.sampling
    options: dict[str, Any] = {name: getattr(s, name) for name in _SENT[:4]}
    options |= {name: getattr(s, name) or None for name in _SENT[4:6]}
    options["logit_bias"] = {str(id): bias for id, bias in s.logit_bias} or None
    options["seed"] = want.seed % (1 << 31) if s.temperature else None
    options["n"] = want.n if want.n > 1 else None
    return client.body(messages, options)


def run_offline(
    client: OpenAIClient,
    queue: BatchQueue,
    lines: Iterable[Line | BadLine],
    results: Results,
    *,
    strict: bool = False,
    on_line: Callable[[Figures], None] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Figures:
    """Submits all lines and waits for their results, which are written as their batches end. All bodies are held in
    memory meanwhile. Raises BatchError (`strict`), KeyboardInterrupt if `stopped`, LMError if the endpoint has no
    batches or refuses them."""
    return _Offline(client, queue, results, strict, on_line, stopped).run(lines)


class _Offline(Writing):
    def __init__(
        self,
        client: OpenAIClient,
        queue: BatchQueue,
        results: Results,
        strict: bool,
        on_line: Callable[[Figures], None] | None,
        stopped: Callable[[], bool],
    ) -> None:
        super().__init__(results, strict, on_line)
        self.client, self.queue, self.stopped = client, queue, stopped
        self.waiting: dict[str, list[Line]] = {}

    def run(self, lines: Iterable[Line | BadLine]) -> Figures:
        try:
            for line in lines:
                self._add(line)
            while len(self.queue):
                if self.stopped():
                    raise KeyboardInterrupt
                for id, answer in self.queue.step():
                    for line in self.waiting.pop(id, ()):
                        self._take(line, answer)
            return self.figures
        finally:
            self.figures.seconds = time.monotonic() - self.started
            self.results.sync()

    def _add(self, line: Line | BadLine) -> None:
        if isinstance(line, BadLine):
            self._fail(line, line.message)
            return
        try:
            body = body_of(self.client, line)
        except ValueError as e:
            self._fail(line, str(e))
            return
        self.waiting.setdefault(line.key, []).append(line)  # equal lines are one request
        self.queue.add([(line.key, body)])

    def _take(self, line: Line, answer: ChatAnswer | LMError) -> None:
        if isinstance(answer, LMError):
            again = " (--retry asks again)" if is_retryable_lm_error(answer) else ""
            self._fail(line, f"{answer}{again}")
            return
        outputs = [{"text": c.text, "finish": c.finish} for c in answer.choices or (answer,)]
        record: dict[str, Any] = dict(outputs[0]) if len(outputs) == 1 else {"completions": outputs}
        record |= {"prompt_tokens": answer.prompt_tokens, "generated_tokens": answer.completion_tokens}
        self.figures.prompt_tokens += answer.prompt_tokens
        self.figures.computed_tokens += answer.prompt_tokens - answer.cached_tokens
        self.figures.generated_tokens += answer.completion_tokens
        self._write(line, record)


__all__ = ["body_of", "run_offline"]
