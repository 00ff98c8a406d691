"""`configure`, `context`: which model answers calls made outside of any run, and in which session.

One session per process owns models, caches, limits and history; `context(lm=...)` chooses another model of it. A
session of its own is made only where options of the session are given.
"""

from __future__ import annotations

import builtins
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.example import Prediction
from lampc.frontend.python.module import Module, predictor_symbols
from lampc.frontend.python.stmts import builtin_exception
from lampc.ir import Key, Sampling, Signature
from lampc.ir.adapters import Bound
from lampc.ir.lookup import Hit, Lookup
from lampc.ir.modelnames import model_name
from lampc.ir.prog import DefRetriever
from lampc.ir.runner import NoSession, Spoken, current_runner, find_runner, set_default_runner
from lampc.ir.settings import settings
from lampc.runtime.dispatch import Together
from lampc.runtime.failures import RowFailure, UnreadableAnswer
from lampc.runtime.heard import heard
from lampc.runtime.lm import LM
from lampc.runtime.objects import called, keeping, outputs_of
from lampc.runtime.types import Outcome

if TYPE_CHECKING:
    from lampc.runtime.session import Session

SESSION_OPTIONS = (
    "seed",
    "exact",
    "store",
    "base",
    "engine",
    "prefix_cache",
    "max_live",
    "model_options",
    "cache",
    "window",
    "bus",
    "retrievers",
)
"""What `configure` and `context` hand to the session; all else are settings."""


class DefaultRunner(Together):
    """Answers calls made outside of any run, in a session that is opened by the first of them."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__()
        self.options = dict(options)
        self._root: Session | None = None
        self._opening = threading.Lock()

    @property
    def root(self) -> Session:
        """The session, whatever model is set."""
        with self._opening:
            if self._root is None:
                from lampc.runtime.session import Session

                self._root = Session(**self.options)
            return self._root

    @property
    def session(self) -> Session:
        """The session as programs see it here: with the model of the settings. Raises NoSession."""
        lm = settings.get("lm")
        if lm is None:
            raise NoSession("a program")
        return self.root.using(lm)

    def retire(self) -> None:
        """Close once no call is under way, and none can begin: threads may hold this runner for a moment."""
        if (root := self._root) is None:
            return

        def wait() -> None:
            quiet = 0
            while quiet < 4:
                time.sleep(0.05)
                quiet = quiet + 1 if root.desk.idle else 0
            self.close()

        threading.Thread(target=wait, name="lampc-retire", daemon=True).start()

    def close(self) -> None:
        self.close_dispatcher()
        if self._root is not None:
            self._root.close()

    def predict_many(
        self,
        bound: Bound,
        inputs: Mapping[str, Any],
        sampling: Sampling,
        key: Key,
        n: int,
        spoken: Spoken | None = None,
    ) -> list[tuple[dict[str, Any], str]]:
        if bound.model == "main":
            lm = settings.get("lm")
            if lm is None:
                raise NoSession(f"predictor `{bound.name}`")
            bound = bound.asking(model_name(lm))
        return super().predict_many(bound, inputs, sampling, key, n, spoken)

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        raise NoSession(f"retriever `{name}`")

    def retrieve_from(self, definition: DefRetriever, query: str, k: int) -> list[str]:
        return [h.text for h in self.lookup(Lookup(definition, query, k))]

    def lookup(self, ask: Lookup) -> list[Hit]:
        return self.root.retrieval.one(ask)

    def run_many(self, program: Any, inputs: Sequence[Mapping[str, Any]]) -> list[Any]:
        """What a program returns for each row, or why it failed; all rows at once."""
        given: dict[str, Any] = {}
        unit, rows = called(program, inputs)
        unit = heard(unit, program)
        outcomes = self.session.run(keeping(unit, program, given), rows)
        made = [
            given.get(r.id) if r.id in given else Prediction(outputs_of(unit, o))
            for r, o in zip(rows, outcomes, strict=True)
        ]
        return [exception_of(o, program) if o.error else m for o, m in zip(outcomes, made, strict=True)]


class RowFailed(Exception):
    """A row of a batch failed other than by an exception of the program, a model or an answer; the message says why
    and where."""


def exception_of(outcome: Outcome, program: Any) -> Exception:
    """What calling the program on that row would have raised; a note says where."""
    found, where = outcome.exception, str(outcome.error)
    if isinstance(found, UnreadableAnswer) and isinstance(found.signature, Signature) and isinstance(program, Module):
        asked = dict(predictor_symbols(program)).get(found.predictor)
        found.signature = found.signature if asked is None else asked.signature
    if isinstance(found, Exception) and type(found) is not RowFailure:
        if where not in getattr(found, "__notes__", ()):
            found.add_note(where)
        return found
    if isinstance(found, RowFailure) and found.kind == "assert":
        name, *text = found.message.split(": ", 1)  # what tracing makes of `raise ValueError("...")`
        cls = getattr(builtins, name, None)
        made: Exception = cls(*text) if builtin_exception(cls) else AssertionError(found.message)
        made.add_note(where)
        return made
    failed = RowFailed(where)
    failed.__cause__ = found
    return failed


_mutex = threading.Lock()


def default_runner() -> DefaultRunner:
    """The process's runner, made if there is none."""
    with _mutex:
        found = set_default_runner(None)
        if not isinstance(found, DefaultRunner):
            found = DefaultRunner({})
        set_default_runner(found)
        return found


UNSAID: Any = object()
"""Stands where no model was given: None is one that takes away the model that is set."""


def configure(*, model: Any = UNSAID, lm: Any = UNSAID, **options: Any) -> None:
    """Set what holds from now on, in all threads and tasks.

    `model` (or DSPy's `lm`) is `firefly`, a checkpoint folder, the URL of an endpoint, an `LM`, an engine, a function
    of messages, or None for no model; an `adapter` says how prompts are written. Options of the session (`seed`,
    `exact`, `store`, `base`, `cache`, ...) make a new one, and the one before gives its models back once its calls are
    answered. All else are settings. Nothing is opened before the first call.
    """
    ours = {k: options.pop(k) for k in SESSION_OPTIONS if k in options}
    runner = default_runner()
    if ours and any(runner.options.get(k) is not v for k, v in ours.items()):
        set_default_runner(DefaultRunner({**runner.options, **ours}))
        runner.retire()
    settings.configure(**_settings(options, model, lm))


@contextlib.contextmanager
def context(*, model: Any = UNSAID, lm: Any = UNSAID, **options: Any) -> Iterator[None]:
    """As `configure`, for the calls made inside of the block: by this thread or task, by tasks made in it and threads
    started in it."""
    ours = {k: options.pop(k) for k in SESSION_OPTIONS if k in options}
    values = _settings(options, model, lm)
    if not ours:
        default_runner()
        with settings.context(**values):
            yield
        return
    made = DefaultRunner({**default_runner().options, **ours})
    token = current_runner.set(made)
    try:
        with settings.context(**values):
            yield
    finally:
        current_runner.reset(token)
        made.close()


def _settings(options: dict[str, Any], model: Any, lm: Any) -> dict[str, Any]:
    """Settings by their names; an adapter is also the layout of predictors that name none."""
    values = dict(options)
    chosen = lm if model is UNSAID or (model is None and lm is not UNSAID) else model
    if chosen is not UNSAID:
        values["lm"] = None if chosen is None else as_lm(chosen)
    if "adapter" in values and "layout" not in values:
        adapter = values["adapter"]
        values["layout"] = adapter if isinstance(adapter, str) else getattr(adapter, "name", "") or ""
    return values


def as_lm(chosen: Any) -> Any:
    """A model in any form as an object that has a name. Raises TypeError for what can be none."""
    if isinstance(chosen, str):
        return LM(chosen)
    if isinstance(getattr(chosen, "model", None), str):
        return chosen
    if hasattr(chosen, "__fspath__"):
        return LM(str(chosen))
    if callable(chosen) or hasattr(chosen, "submit"):
        return LM(getattr(chosen, "__name__", type(chosen).__name__).strip("<>"), engine=chosen)
    raise TypeError(f"a model is a name, an LM, an engine or a function of messages, not {type(chosen).__name__}")


def session_of(what: str) -> Session:
    """The session of the configured model. Raises NoSession."""
    runner = find_runner()
    if not isinstance(runner, DefaultRunner) or settings.get("lm") is None:
        raise NoSession(what)
    return runner.session


def current_session(what: str) -> Session:
    """The session for calls that name their model themselves."""
    runner = find_runner()
    return runner.root if isinstance(runner, DefaultRunner) else default_runner().root


def load_settings(path: str, allow_pickle: bool = False) -> dict[str, Any]:
    """The settings of a JSON file that `save_settings` wrote. Raises ValueError."""
    import json
    from pathlib import Path

    found = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(f"{path}: not a file of settings")
    if isinstance(found.get("lm"), dict):
        found["lm"] = LM.load_state(found["lm"])
    return found


def save_settings(path: str) -> None:
    """Write the settings that JSON can hold: the model and plain values."""
    import json
    from pathlib import Path

    kept: dict[str, Any] = {}
    for name, value in settings.copy().items():
        if name == "lm" and isinstance(value, LM):
            kept[name] = value.dump_state()
        elif isinstance(value, bool | int | float | str) or value is None:
            kept[name] = value
    Path(path).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
