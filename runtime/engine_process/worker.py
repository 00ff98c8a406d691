"""The process of an engine: orders come through a pipe, reports go back through it. It ends with the pipe."""

from __future__ import annotations

import os
import select
import signal
import threading
import traceback
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from lampc.backend.api import TokenEngine
from lampc.backend.errors import EngineClosed, Unsupported
from lampc.backend.loop import EngineLoop, Question, Ticket
from lampc.backend.request import Completion, Handle
from lampc.runtime.collector import own, settle
from lampc.runtime.engine_process.messages import (
    NOT_FOR_IT,
    Abort,
    Ask,
    Failed,
    Load,
    News,
    Ready,
    Reply,
    Report,
    Stop,
    Submit,
    portable,
    receive,
    send,
    unpacked,
)


def main(descriptor: int) -> None:
    """Load an engine, and do what comes through the pipe of that descriptor until it ends or says so."""
    for number in NOT_FOR_IT:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NOT_FOR_IT)
    own()
    pipe: Connection[Any, Any] = Connection(descriptor)
    threading.Thread(target=_end_with, args=(descriptor,), name="lampc-other-end", daemon=True).start()
    code = 0
    try:
        engine = _loaded(pipe)
        if engine is not None:
            _Worker(pipe, engine).run()
    except (EOFError, OSError):  # the other process is gone
        code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)  # threads of libraries may wait for what will never come


def _loaded(pipe: Connection[Any, Any]) -> TokenEngine | None:
    """The engine that the first order names, None if it cannot be had, which is told."""
    order = receive(pipe)
    assert isinstance(order, Load)
    try:
        from lampc.backend.load import load_engine

        engine = load_engine(order.folder, **unpacked(order.options))
    except BaseException as error:  # whatever it is, it belongs to who asked
        send(pipe, Failed(portable(error)))
        return None
    settle()
    return engine


def _end_with(descriptor: int) -> None:
    """End with the other process, also while a model is loaded, which may take minutes."""
    poll = select.poll()
    poll.register(descriptor, 0)  # whether it hung up is told without being asked for
    poll.poll()
    os._exit(1)


class _Worker:
    """Hands orders to the engine's thread, and tells what comes of them, once a step. A pipe that is full makes that
    thread wait: whoever cannot keep up with reading is not sent more."""

    def __init__(self, pipe: Connection[Any, Any], engine: TokenEngine) -> None:
        self._pipe, self._sending = pipe, threading.Lock()
        self._loop = EngineLoop(engine, after_step=self._tell)
        self._tickets: dict[int, Ticket] = {}
        self._news = News()
        self._slack = self._loop.slack

    def run(self) -> None:
        """Until the end. Raises EOFError or OSError if the other process is gone."""
        self._send(Ready(self._loop.info, self._slack))
        while True:
            match receive(self._pipe):
                case Submit(requests):
                    self._submit(requests)
                case Abort(numbers):
                    self._loop.abort([t for n in numbers if (t := self._tickets.get(n)) is not None])
                case Ask(number, question):
                    self._ask(number, question)
                case Stop():
                    self._loop.close()
                    return

    def _submit(self, requests: list[tuple[int, bytes, bool]]) -> None:
        tickets: dict[int, Ticket] = {}
        refused: list[tuple[int, Completion | BaseException]] = []
        for number, sent, listens in requests:
            try:
                request = unpacked(sent)
            except Unsupported as error:
                refused.append((number, error))
                continue
            ticket = tickets[number] = Ticket(request, partial(self._hear, number, [0]) if listens else None)
            ticket.future.add_done_callback(partial(self._ended, number))
        self._tickets |= tickets
        try:
            self._loop.submit(list(tickets.values()))
        except EngineClosed as error:  # its thread has failed, and may be telling so: its news are not for this thread
            for number in tickets:
                del self._tickets[number]
                refused.append((number, error))
        if refused:
            self._send(News(ended=refused, slack=self._loop.slack))

    def _ask(self, number: int, question: Question) -> None:
        try:
            self._loop.asking(question).add_done_callback(partial(self._answer, number))
        except EngineClosed as error:
            self._send(Reply(number, error=error))

    # -- in the engine's thread, or where it has ended -----------------------------------------------------

    def _hear(self, number: int, told: list[int], handle: Handle, token: int) -> None:
        logprobs: list[float] = []
        top: Any = []
        if handle.measured is not None:
            logprobs, top = handle.measured(told[0])
            told[0] += len(logprobs)
        self._news.tokens.append((number, token, logprobs, top))

    def _ended(self, number: int, future: Future[Completion]) -> None:
        del self._tickets[number]
        error = future.exception()
        self._news.ended.append((number, future.result() if error is None else portable(error)))

    def _tell(self) -> None:
        slack = self._loop.slack
        if self._news.tokens or self._news.ended or slack != self._slack:
            news, self._news, self._slack = self._news, News(), slack
            news.slack = slack
            self._send(news)

    def _answer(self, number: int, future: Future[Any]) -> None:
        error = future.exception()
        self._send(Reply(number, error=portable(error)) if error is not None else Reply(number, future.result()))

    def _send(self, report: Report) -> None:
        try:
            with self._sending:
                send(self._pipe, report)
        except OSError:  # nobody is there to hear it
            os._exit(1)
