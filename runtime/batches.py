"""Calls in an endpoint's offline batches: collected, submitted, waited for; a killed run goes on with its batches.

What was submitted is noted in a store, call by call; between the endpoint's "yes" and that note a batch is found by its
name, which follows from its calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from lampc.ir.errors import LMError, LMUnsupportedModelError, is_retryable_lm_error
from lampc.runtime.providers.batches import Batch, BatchEndpoint, refused

if TYPE_CHECKING:
    from lampc.runtime.providers import ChatAnswer
    from lampc.runtime.store import Store

KIND = "batched"
"""Of records that say in which batch a call is."""
FAILURES = 60
"""How often in a row a batch cannot be asked after before that is an error."""
ROUNDS = 3
"""How often a call that a batch did not come to is submitted."""


class BatchQueue:
    """See the module's text. `poll` are the seconds between two looks at a batch, at first and at most.

    With another `salt` batches of equal calls have other names, so that they are asked anew."""

    def __init__(
        self,
        endpoint: BatchEndpoint,
        ledger: Store,
        *,
        poll: tuple[float, float] = (1.0, 60.0),
        salt: str = "",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint, self.ledger = endpoint, ledger
        self.resumed = 0  # calls that were found in batches of an earlier run
        self.submitted = 0
        self._poll, self._sleep, self._salt = poll, sleep, salt
        self._pause, self._failures = poll[0], 0
        self._waiting: dict[str, Mapping[str, Any]] = {}  # not in a batch yet
        self._rounds: dict[str, int] = {}
        self._open: dict[str, dict[str, Mapping[str, Any]]] = {}  # calls by batch

    def __len__(self) -> int:
        """Calls that have no answer yet."""
        return len(self._waiting) + sum(map(len, self._open.values()))

    def add(self, calls: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Calls by id, with their bodies: equal ids are one call."""
        for id, body in calls:
            if not any(id in held for held in self._open.values()):
                self._waiting[id] = body

    def abandon(self) -> None:
        """Wait for nothing more. Batches go on: who asks again finds them."""
        self._waiting, self._open = {}, {}

    def step(self) -> list[tuple[str, ChatAnswer | LMError]]:
        """Submit what waits, look at open batches; gives the calls that ended. It waits if there are none yet."""
        if self._waiting:
            self._submit()
        out: list[tuple[str, ChatAnswer | LMError]] = []
        for id in list(self._open):
            try:
                batch = self.endpoint.look(id)
                found = list(self.endpoint.results(batch)) if batch.ended else []
            except LMUnsupportedModelError:  # 404: the endpoint has forgotten it
                batch, found = Batch(id, "expired", why="it is gone"), []
            except LMError as e:
                self._failures += 1
                if not is_retryable_lm_error(e) or self._failures > FAILURES:
                    raise
                continue  # the batch goes on, whether it can be asked after just now or not
            self._failures = 0
            if batch.ended:
                out += self._ended(batch, found)
        if out or self._waiting:
            self._pause = self._poll[0]
        elif self._open:
            self._sleep(self._pause)
            self._pause = min(1.5 * self._pause, self._poll[1])
        return out

    def _submit(self) -> None:
        known: dict[str, dict[str, Mapping[str, Any]]] = {}
        fresh: dict[str, Mapping[str, Any]] = {}
        for id, body in self._waiting.items():
            note = self.ledger.get(KIND, self._note(id))
            if note is None:
                fresh[id] = body
            else:
                known.setdefault(str(note["batch"]), {})[id] = body
                self.resumed += 1
        for batch, held in known.items():
            self._open.setdefault(batch, {}).update(held)
        for lines in self._cut(fresh):
            name = blake2b("\n".join([self._salt, *sorted(map(self._note, lines))]).encode(), digest_size=16)
            made = self.endpoint.submit(list(lines.values()), f"lampc-{name.hexdigest()}")
            self.ledger.put_many((KIND, self._note(i), {"batch": made.id}) for i in lines)
            self.ledger.sync()
            self._open.setdefault(made.id, {}).update({i: fresh[i] for i in lines})
            self.submitted += len(lines)
        self._waiting = {}

    def _cut(self, calls: Mapping[str, Mapping[str, Any]]) -> Iterable[dict[str, bytes]]:
        """Batches as large as the provider takes them, in the order of the calls."""
        rules = self.endpoint.rules
        lines: dict[str, bytes] = {}
        size = 0
        for id, body in calls.items():
            line = self.endpoint.line(id, body)
            if lines and (len(lines) == rules.batch_requests or size + len(line) > rules.batch_bytes):
                yield lines
                lines, size = {}, 0
            lines[id] = line
            size += len(line)
        if lines:
            yield lines

    def _ended(
        self, batch: Batch, found: Iterable[tuple[str, ChatAnswer | LMError]]
    ) -> list[tuple[str, ChatAnswer | LMError]]:
        held = self._open.pop(batch.id)
        results = {id: result for id, result in found if id in held}  # others are of a run that asked for more
        out: list[tuple[str, ChatAnswer | LMError]] = []
        for id, body in held.items():
            result = results.get(id) or refused(batch, self.endpoint.client.base_url)
            if not isinstance(result, LMError):
                out.append((id, result))
                continue
            again = self._over(id) < ROUNDS and batch.status != "failed"
            if again and (id not in results or is_retryable_lm_error(result)):
                self._waiting[id] = body
            else:
                out.append((id, result))
        return out

    def _over(self, id: str) -> int:
        """A call came to nothing in its batch and was not paid: who asks again means another. Gives how often."""
        self.ledger.put_first(KIND, f"{id}/over{self._round(id)}", {})
        return self._round(id)

    def _round(self, id: str) -> int:
        """How often a call came to nothing, in this run or an earlier one."""
        while id not in self._rounds or (KIND, f"{id}/over{self._rounds[id]}") in self.ledger:
            self._rounds[id] = self._rounds.get(id, -1) + 1
        return self._rounds[id]

    def _note(self, id: str) -> str:
        return f"{id}/{self._round(id)}"


__all__ = ["BatchQueue"]
