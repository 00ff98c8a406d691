"""A model behind an endpoint that is asked in offline batches: cheaper, and done within hours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lampc.ir.errors import LMError
from lampc.runtime.batches import BatchQueue
from lampc.runtime.models import Answer, ModelCall, failed
from lampc.runtime.providers.batches import BatchEndpoint
from lampc.runtime.remote import RemoteModel, message, options_of, read
from lampc.runtime.store import Store

if TYPE_CHECKING:
    from lampc.runtime.providers import OpenAIClient


class BatchModel(RemoteModel):
    """What is ready at a time becomes one batch, whoever asked; what hangs on its answers is in the next.

    `store` is where batches are noted (in memory if None): a run that is killed and started again with the same store
    waits for the batches that it had submitted. `rate` is the price of a token beside that of an ordinary call.
    """

    pushes = False

    def __init__(
        self, client: OpenAIClient, name: str, store: Store | None = None, poll: tuple[float, float] = (1.0, 60.0)
    ) -> None:
        super().__init__(client, name)
        self.rate = client.rules.batch_price
        self.queue = BatchQueue(BatchEndpoint(client), store if store is not None else Store(None), poll=poll)
        self._calls: dict[str, ModelCall] = {}

    def submit(self, calls: Sequence[ModelCall]) -> None:
        for call in calls:
            id, n = call.key.digest(), 0
            while (spot := f"{id}-{n}" if n else id) in self._calls:
                n += 1  # a call that is not cached is another one each time
            self._calls[spot] = call
            body = self.client.body([message(*turn) for turn in call.messages], options_of(call))
            self.queue.add([(spot, body)])

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        try:
            ended = self.queue.step()
        except LMError as e:  # nothing can be submitted, or asked after: that is the end of all that wait
            self.queue.abandon()
            calls, self._calls = self._calls, {}
            return [(call, failed(e)) for call in calls.values()]
        found = [(self._calls.pop(id, None), answer) for id, answer in ended]
        return [
            (call, failed(answer) if isinstance(answer, LMError) else read(answer))
            for call, answer in found
            if call is not None
        ]

    def abort(self) -> None:
        self._calls = {}
        self.queue.abandon()


__all__ = ["BatchModel"]
