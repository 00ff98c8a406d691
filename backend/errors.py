"""What can go wrong in the engine, one class per kind; each message says what, where and how to mend it."""

import copyreg
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


class BackendError(Exception):
    """Base of all errors that the engine raises on purpose. They can be pickled, whatever they are made of."""

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class CheckpointError(BackendError):
    """A checkpoint folder is incomplete or damaged: names the file, and the tensor where there is one."""


class UnknownArchitecture(BackendError):
    """No model class is registered for the architecture that `config.json` names."""

    def __init__(self, architecture: str, supported: list[str], group: str = "lampc.models", hint: str = "") -> None:
        self.architecture = architecture
        self.supported = supported
        super().__init__(
            f"architecture {architecture!r} is not supported{hint}; supported: {', '.join(supported)} "
            f"(a plug-in can add one through the entry point group {group!r})"
        )


class ContextTooLong(BackendError):
    """A request needs more positions than the model has."""

    def __init__(self, asked: int, limit: int) -> None:
        self.asked = asked
        self.limit = limit
        super().__init__(
            f"the request holds {asked} tokens, but this engine's context ends at {limit}; "
            "shorten the prompt (at least one position must stay free for the answer)"
        )


class TextTooLong(BackendError, ValueError):
    """A text has more tokens than an encoder takes, and was not to be cut."""

    def __init__(self, index: int, tokens: int, limit: int) -> None:
        self.index, self.tokens, self.limit = index, tokens, limit
        super().__init__(
            f"text {index} has {tokens} tokens, this encoder takes {limit}; shorten it, or load the encoder with "
            "truncate=True, which cuts such texts"
        )


class OutOfBlocks(BackendError):
    """The key/value pool cannot hold what is asked of it."""

    def __init__(self, needed: int, available: int) -> None:
        self.needed = needed
        self.available = available
        super().__init__(
            f"{needed} KV blocks are needed but only {available} can be had; "
            "load the engine with a larger kv_tokens, ask for less at a time, or release prefixes that you retain"
        )


class Unsupported(BackendError):
    """A request or a checkpoint asks for something that this version does not do; names it."""


class BadGrammar(BackendError, ValueError):
    """A grammar, a JSON schema or a pattern cannot be used; says where it is wrong."""


class QueueFull(BackendError):
    """As many requests wait already as the engine takes (`max_waiting`); try again when some are done."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit} requests are waiting; try again later, or load the engine with a larger max_waiting")


class UnknownOption(BackendError, TypeError):
    """An option that does not exist was given; names the closest that does."""

    def __init__(self, name: str, known: Iterable[str], what: str) -> None:
        names = sorted(known)
        close = [n for n in names if len(name) > 2 and n.startswith(name)] or get_close_matches(name, names, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
        self.option = name
        self.suggestion = close[0] if close else None
        super().__init__(f"{what} has no option {name!r}; {hint}")


class EngineClosed(BackendError):
    """The engine takes nothing any more: it was closed."""


class EngineFailed(EngineClosed):
    """It does so since its loop has failed, or its process has ended; names the cause."""


class RequestFailed(BackendError):
    """A request ended with an error of its own. `results` are those of all requests of the call, in order."""

    def __init__(self, message: str, results: Sequence[object] = ()) -> None:
        self.results = results
        super().__init__(message)


def words_of(error: BaseException) -> str:
    """What is said of an error: ours say all in their messages, of others the class tells half of it."""
    return str(error) if isinstance(error, BackendError) else f"{type(error).__name__}: {error}"
