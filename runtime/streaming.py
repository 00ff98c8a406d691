"""Answers while they are written, and what a program is doing: `streamify`, under DSPy's names.

stream = lampc.streamify(program, stream_listeners=[lampc.streaming.StreamListener("answer")])
async for item in stream(question="..."):
    ...  # StreamResponse, StatusMessage, and at the end the Prediction
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lampc.frontend.python.callbacks import BaseCallback
from lampc.frontend.python.module import Module
from lampc.ir.adapters import Bound
from lampc.ir.settings import settings
from lampc.runtime.streaming_fields import FieldPieces

Put = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class StreamResponse:
    """A piece of an output field. Without listeners, `signature_field_name` is "" and pieces are the answer's text."""

    predict_name: str
    signature_field_name: str
    chunk: str
    is_last_chunk: bool


@dataclass(frozen=True, slots=True)
class StatusMessage:
    """What a program is doing."""

    message: str


class StatusMessageProvider:
    """Says what is told of tools, models and modules as they start and end; None tells nothing. Override at will."""

    def tool_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
        return f"Calling tool {instance.name}..."

    def tool_end_status_message(self, outputs: Any) -> str | None:
        return "Tool calling finished! Querying the LLM with tool calling results..."

    def module_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
        return None

    def module_end_status_message(self, outputs: Any) -> str | None:
        return None

    def lm_start_status_message(self, instance: Any, inputs: dict[str, Any]) -> str | None:
        return None

    def lm_end_status_message(self, outputs: Any) -> str | None:
        return None


@dataclass(slots=True)
class StreamListener:
    """Streams one output field: of the predictor `predict`, else of the only one that has it.

    `allow_reuse` streams every call of the predictor, not only the first.
    """

    signature_field_name: str
    predict: Any = None
    predict_name: str | None = None
    allow_reuse: bool = False

    def found_in(self, program: Any) -> StreamListener:
        """The same with its predictor. Raises ValueError if there is none, or more than one."""
        named = program.named_predictors() if isinstance(program, Module) else []
        if self.predict is not None:
            names = [n for n, p in named if p is self.predict]
            return StreamListener(
                self.signature_field_name, self.predict, self.predict_name or (names or ["self"])[0], self.allow_reuse
            )
        wanted = [(n, p) for n, p in named if self.signature_field_name in p.signature.output_fields]
        if self.predict_name is not None:
            wanted = [(n, p) for n, p in wanted if n == self.predict_name]
        if len(wanted) != 1:
            many = f"{len(wanted)} predictors have" if wanted else "no predictor has"
            raise ValueError(
                f"{many} an output `{self.signature_field_name}`; say which by StreamListener(..., predict=...)"
            )
        return StreamListener(self.signature_field_name, wanted[0][1], wanted[0][0], self.allow_reuse)


@dataclass(slots=True)
class Sink:
    """Where the calls of one run of a program send what there is to see; the setting `send_stream`."""

    put: Put
    listeners: Sequence[StreamListener]
    provider: StatusMessageProvider
    used: set[int] = field(default_factory=set)
    heard: bool = False

    @contextlib.contextmanager
    def calling(
        self, predictor: Any, bound: Bound, values: dict[str, Any]
    ) -> Iterator[Callable[[Sequence[str]], None]]:
        """Around one call of a predictor: its text is listened to, start and end are told. The function that it
        gives takes the texts of the answers."""
        self.status(self.provider.lm_start_status_message(predictor.lm or settings.get("lm"), dict(values)))
        names = list(bound.signature.record().names())
        outs: list[_Whole | _Field] = []
        if not self.listeners:
            outs.append(_Whole(self, bound.name))
        for listener in self.listeners:
            if listener.predict is not predictor or (id(listener) in self.used and not listener.allow_reuse):
                continue
            self.used.add(id(listener))
            pieces = FieldPieces(bound.layout, listener.signature_field_name, names)
            outs.append(_Field(self, listener, pieces))

        def on_text(piece: str) -> None:
            for out in outs:
                out.push(piece)

        def ended(texts: Sequence[str]) -> None:
            for out in outs:
                out.end()
            self.status(self.provider.lm_end_status_message(list(texts)))

        with settings.context(on_text=on_text if outs else None):
            yield ended

    def status(self, message: str | None) -> None:
        if message:
            self.put(StatusMessage(message))


class _Whole:
    """All text of an answer."""

    def __init__(self, sink: Sink, name: str) -> None:
        self.sink, self.name, self.any = sink, name, False

    def push(self, piece: str) -> None:
        if piece:
            self.any = True
            self.sink.put(StreamResponse(self.name, "", piece, False))

    def end(self) -> None:
        if self.any:
            self.sink.put(StreamResponse(self.name, "", "", True))


class _Field:
    """One field of an answer."""

    def __init__(self, sink: Sink, listener: StreamListener, pieces: FieldPieces) -> None:
        self.sink, self.listener, self.pieces = sink, listener, pieces
        self.closed = False

    def push(self, piece: str) -> None:
        if not self.closed:
            self._put(self.pieces.push(piece))

    def end(self) -> None:
        if not self.closed and self.pieces.text:
            self._put(self.pieces.end())

    def _put(self, chunk: str) -> None:
        self.closed = self.pieces.done
        if chunk or (self.closed and self.pieces.shown):
            self.sink.heard = True
            name = self.listener.predict_name or "self"
            self.sink.put(StreamResponse(name, self.listener.signature_field_name, chunk, self.closed))


class _Status(BaseCallback):
    """Tells of tools and modules."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def on_tool_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        if instance.name != "finish":
            self.sink.status(self.sink.provider.tool_start_status_message(instance, inputs))

    def on_tool_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        if outputs != "Completed.":
            self.sink.status(self.sink.provider.tool_end_status_message(outputs))

    def on_module_start(self, call_id: str, instance: Any, inputs: dict[str, Any]) -> None:
        self.sink.status(self.sink.provider.module_start_status_message(instance, inputs))

    def on_module_end(self, call_id: str, outputs: Any, exception: BaseException | None = None) -> None:
        self.sink.status(self.sink.provider.module_end_status_message(outputs))


def streamify(
    program: Any,
    status_message_provider: StatusMessageProvider | None = None,
    stream_listeners: Sequence[StreamListener] | None = None,
    include_final_prediction_in_output_stream: bool = True,
    is_async_program: bool = False,
    async_streaming: bool = True,
) -> Callable[..., Any]:
    """A function of the program's arguments that gives an iterator (async, unless `async_streaming` is False).

    It gives `StreamResponse` and `StatusMessage` as they come, then the program's result; that is left out if it is
    not wanted and a listener heard something (answers from a cache are not written again, so nothing is heard).
    Closing the iterator ends the program. Raises ValueError for listeners whose predictor cannot be told.
    """
    listeners = [listener.found_in(program) for listener in stream_listeners or ()]
    provider = status_message_provider or StatusMessageProvider()

    async def run(put: Put, args: Any, kwargs: Any) -> None:
        sink = Sink(put, listeners, provider)
        told = (*settings.callbacks, _Status(sink))
        with settings.context(send_stream=sink, callbacks=told):
            if isinstance(program, Module) or is_async_program:
                result = await (
                    program.acall(*args, **kwargs) if hasattr(program, "acall") else program(*args, **kwargs)
                )
            else:
                result = await asyncio.to_thread(program, *args, **kwargs)
        if include_final_prediction_in_output_stream or not sink.heard:
            put(result)

    async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        loop, items = asyncio.get_running_loop(), asyncio.Queue[Any]()
        end = object()

        def put(item: Any) -> None:
            loop.call_soon_threadsafe(items.put_nowait, item)

        task = asyncio.create_task(run(put, args, kwargs))
        task.add_done_callback(lambda _: loop.call_soon(items.put_nowait, end))
        try:
            while (item := await items.get()) is not end:
                yield item
            await task
        finally:
            task.cancel()

    return stream if async_streaming else apply_sync_streaming(stream)


def apply_sync_streaming(stream: Any) -> Any:
    """An async iterator, or a function that gives one, for plain code: it runs in a thread of its own."""
    if not inspect.isasyncgen(stream):
        return lambda *args, **kwargs: apply_sync_streaming(stream(*args, **kwargs))
    items: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    wanted = threading.Event()
    wanted.set()

    async def pump() -> None:
        async for item in stream:
            if not wanted.is_set():
                break
            items.put(("item", item))
        await stream.aclose()

    def work() -> None:
        try:
            asyncio.run(pump())
        except BaseException as e:
            items.put(("error", e))
        else:
            items.put(("end", None))

    def iterate() -> Iterator[Any]:
        thread = threading.Thread(target=work, name="lampc-stream", daemon=True)
        thread.start()
        try:
            while True:
                kind, item = items.get()
                if kind == "end":
                    return
                if kind == "error":
                    raise item
                yield item
        finally:
            wanted.clear()

    return iterate()


async def streaming_response(streamer: AsyncIterator[Any]) -> AsyncIterator[str]:
    """A stream as server-sent events, in DSPy's form: `data: {"prediction": {...}}`, and `data: [DONE]` at the end."""
    import json

    async for item in streamer:
        if hasattr(item, "toDict"):
            body: Any = {"prediction": item.toDict()}
        elif isinstance(item, StatusMessage):
            body = {"status": item.message}
        elif isinstance(item, StreamResponse):
            body = {"chunk": {n: getattr(item, n) for n in StreamResponse.__slots__}}
        else:
            body = {"prediction": item}
        yield f"data: {json.dumps(body, ensure_ascii=False, default=str)}\n\n"
    yield "data: [DONE]\n\n"
