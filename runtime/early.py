"""Prompts are computed as far as they are known, while what they still need is on its way.

Where a model has little to do, beginnings of prompts that generations wait with (pass `early-prefill`) are computed and
held until these are asked for. Nothing is computed twice: a beginning is made of tokens that are certain whatever
follows. Where a model is busy, or its K/V is needed, nothing of this is done.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lampc.ir import Value
from lampc.ir.kv import Extend, Generate
from lampc.passes.lower.runs import UNKNOWN, begun_text
from lampc.passes.schedule.block_tree import common_prefix
from lampc.runtime.blocks import Block, ContextValue, is_known

if TYPE_CHECKING:
    from lampc.runtime.client import Client
    from lampc.runtime.modelview import ModelView

LEAST = 32
"""Tokens of a beginning that is worth a request."""
_AT_ONCE = 16
"""Generations that are looked at before the engine goes on."""
_MORE = ("x", " x", "\n\n", "1", ".", "\u00e9")
"""What may follow a beginning, for all that its tokens say."""


class EarlyPrefills:
    """Those of one run. `predictor` names the one that an extension's prompt belongs to, `encode` cuts a text."""

    def __init__(
        self,
        client: Client,
        predictor: Callable[[Extend, Any], str],
        encode: Callable[[ModelView, str], tuple[int, ...]],
    ) -> None:
        self._client, self._predictor, self._encode = client, predictor, encode
        self._waiting: dict[tuple[Block, int], None] = {}
        self._sent: set[tuple[int, ...]] = set()
        self._busy: Any = None  # a model that took no more

    def note(self, block: Block) -> None:
        """Something is known in a block that has marked generations."""
        for i in block.plan.early:
            if block.waits[i]:
                self._waiting[block, i] = None

    def asked(self, block: Block, i: int) -> None:
        """A generation has all of its context."""
        self._waiting.pop((block, i), None)

    def consider(self) -> None:
        """Nothing else can be done: have something computed that is known, if a model can take it."""
        if self._busy is not None and not self._busy.spare(0):
            return
        self._busy = None
        for _ in range(min(len(self._waiting), _AT_ONCE)):
            block, i = next(iter(self._waiting))
            if block.waits[i] and not block.scope.over:
                found = self._begun(block, i)
                if found is not None and not self._send(*found, _node(block, i)):
                    return  # it is looked at again later
            del self._waiting[block, i]

    @contextlib.contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Code of the user runs in here, which may wait: beginnings are computed on a thread beside it."""
        self.consider()
        desk, over, failed = self._client.desk, threading.Event(), list[BaseException]()
        if not desk.prefills:
            yield
            return

        def drive() -> None:
            try:
                desk.drive_until(over)
            except BaseException as e:
                failed.append(e)

        beside = threading.Thread(target=contextvars.copy_context().run, args=(drive,), name="lampc-early", daemon=True)
        beside.start()
        try:
            yield
        finally:
            over.set()
            beside.join()
        if failed:
            raise failed[0]

    def close(self) -> None:
        """What was computed for generations that were not asked for is held no more."""
        self._waiting.clear()
        if self._sent:
            self._client.desk.forget_prefills()

    def _send(self, view: ModelView, ids: tuple[int, ...], node: str) -> bool:
        if len(ids) < LEAST or ids in self._sent:
            return True
        if not self._client.desk.prefill(view.model, ids, node):
            self._busy = view.model
            return False
        self._sent.add(ids)
        return True

    def _begun(self, block: Block, i: int) -> tuple[ModelView, tuple[int, ...]] | None:
        """What is known of a generation's context."""
        op = block.plan.region.ops[i]
        assert isinstance(op, Generate)
        value: Value = op.context
        extend: Extend | None = None
        while (found := _known(block, value)) is UNKNOWN:
            below = value.defining_op()
            if not isinstance(below, Extend):
                return None
            extend, value = below, below.context
        if extend is None or not hasattr(found.model.model, "prefill"):
            return None
        assert isinstance(found, ContextValue)
        task = block.task
        bound = task.bound[self._predictor(extend, task.exe)]
        inputs = [_known(block, v) for v in extend.inputs]
        text = begun_text(extend.run, bound, inputs, found.model.target)
        return found.model, found.ids + self._certain(found.model, text)

    def _certain(self, view: ModelView, text: str) -> tuple[int, ...]:
        """The tokens of a text that it has whatever follows."""
        if not text:
            return ()
        ids = self._encode(view, text)
        count = len(ids)
        for more in _MORE:
            count = min(count, common_prefix(ids, self._encode(view, text + more)))
        return ids[:count]


def _node(block: Block, i: int) -> str:
    op = block.plan.region.ops[i]
    assert isinstance(op, Generate)
    return op.predictor.name


def _known(block: Block, value: Value) -> Any:
    return block.get(value) if is_known(block, value) else UNKNOWN
