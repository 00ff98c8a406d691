"""What the two processes tell each other, pickled: both are ours, and nobody else holds an end of the pipe."""

import pickle
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from lampc.backend.api import EngineInfo
from lampc.backend.errors import BackendError, Unsupported
from lampc.backend.loop import Question
from lampc.backend.request import Completion

NOT_FOR_IT = (signal.SIGINT, signal.SIGTERM)
"""These may reach both processes at once; the one that was started is ended by the other."""
Top = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Load:
    """The first order: a checkpoint folder, and options of `load_engine`, packed."""

    folder: str
    options: bytes


@dataclass(frozen=True, slots=True)
class Submit:
    """Requests, packed one by one, by their numbers, which whoever sends them chooses; and whether their tokens are to
    be told one by one."""

    requests: list[tuple[int, bytes, bool]]


@dataclass(frozen=True, slots=True)
class Abort:
    """End these requests."""

    numbers: list[int]


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, by its number."""

    number: int
    question: Question


@dataclass(frozen=True, slots=True)
class Stop:
    """End all that runs, the engine, and the process."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The engine is loaded; `slack` is the share of its places that is free."""

    info: EngineInfo
    slack: float


@dataclass(frozen=True, slots=True)
class Failed:
    """It could not be loaded."""

    error: BaseException


@dataclass(slots=True)
class News:
    """What became of requests since the last news: a step's, mostly.

    `tokens`: the request, its token, and where it asks for them all logprobs and likeliest tokens that were not told
    before. `ended`: the request, and its completion or why it was refused. `slack`: as in `Ready`.
    """

    tokens: list[tuple[int, int, list[float], list[Top]]] = field(default_factory=list)
    ended: list[tuple[int, Completion | BaseException]] = field(default_factory=list)
    slack: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """To the question of that number: what it gave, or raised."""

    number: int
    value: Any = None
    error: BaseException | None = None


def send(pipe: "Connection[Any, Any]", message: "Order | Report") -> None:
    """What `pipe.send` does, without a pickler that knows of what no message holds. Raises OSError."""
    pipe.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


def receive(pipe: "Connection[Any, Any]") -> Any:
    """The next message. Raises EOFError and OSError."""
    return pickle.loads(pipe.recv_bytes())


_CANNOT = "cannot be sent to the engine's process; load the engine in this one"
Order = Load | Submit | Abort | Ask | Stop
Report = Ready | Failed | News | Reply


def packed(value: Any) -> bytes:
    """What others gave us, apart from the order that it is part of. Raises Unsupported."""
    try:
        return pickle.dumps(value)
    except Exception as error:  # whatever their classes raise
        raise Unsupported(f"{value!r:.200} {_CANNOT}: {error}") from error


def unpacked(data: bytes) -> Any:
    """What was packed in the other process. Raises Unsupported: things of a script, for one, are only there."""
    try:
        return pickle.loads(data)
    except Exception as error:  # whatever their classes raise
        raise Unsupported(f"something that was given {_CANNOT}: {error}") from error


def portable(error: BaseException) -> BaseException:
    """The error, if it can be sent; else one that says the same."""
    try:
        copy = pickle.loads(pickle.dumps(error))  # what was made a moment ago, here
    except Exception:
        return BackendError(f"{type(error).__name__}: {error}")
    same = type(copy) is type(error) and str(copy) == str(error)
    return error if same else BackendError(f"{type(error).__name__}: {error}")
