"""Models as the executor sees them: calls go in, answers come out, whoever computes them.

A `LocalModel` drives an engine; a `RemoteModel` an endpoint. The pool makes them on first use, by the
definitions of the program or one override for all, and keeps local weights within a memory budget.
"""

from __future__ import annotations

import copy
import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from lampc.ir import CallKey, ModelInfo, Sampling, thaw
from lampc.ir.modelnames import named_model
from lampc.ir.prog import DefModel
from lampc.runtime.target import LocalTarget

if TYPE_CHECKING:
    from lampc.backend import Handle, PrefixRef, Request, TokenEngine
    from lampc.backend.hooks import Event
    from lampc.backend.output import TextPieces
    from lampc.ir import Module, Target
    from lampc.runtime.events import EventBus
    from lampc.runtime.modelview import ModelView


class ModelError(Exception):
    """A model cannot be had or used; the message says what, where and how to mend it."""


@dataclass(slots=True)
class Answer:
    """A finished call. `ids` are the generated token ids (local models). Token counts are this call's own.

    `score` is the log-probability, in nats, of the continuation that a scoring call asked about. Endpoints may also
    give `tool_calls` (as they send them), `reasoning`, and `choices` (texts) where several were asked for. Of a call
    that failed `error` says why, `exception` is what was raised, if anything.
    """

    text: str
    ids: tuple[int, ...] = ()
    finish: str = "stop"
    prompt_tokens: int = 0
    computed_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    error: str = ""
    stored: bool = False
    score: float = 0.0
    tool_calls: tuple[dict[str, Any], ...] = ()
    reasoning: str = ""
    choices: tuple[str, ...] = ()
    exception: Exception | None = None

    def record(self) -> dict[str, Any]:
        """What the store keeps."""
        kept: dict[str, Any] = {
            "text": self.text,
            "ids": list(self.ids),
            "finish": self.finish,
            "prompt_tokens": self.prompt_tokens,
            "generated_tokens": self.generated_tokens,
            "score": self.score,
        }
        if self.tool_calls:
            kept["tool_calls"] = list(self.tool_calls)
        if self.reasoning:
            kept["reasoning"] = self.reasoning
        if self.choices:
            kept["choices"] = list(self.choices)
        return kept

    @staticmethod
    def from_record(record: dict[str, Any]) -> Answer:
        return Answer(
            record["text"],
            tuple(record["ids"]),
            record["finish"],
            record["prompt_tokens"],
            0,
            0,
            record["generated_tokens"],
            stored=True,
            score=record["score"],
            tool_calls=tuple(record.get("tool_calls", ())),
            reasoning=record.get("reasoning", ""),
            choices=tuple(record.get("choices", ())),
        )


@dataclass(slots=True, eq=False)
class ModelCall:
    """One call. Local: `ids` is the whole prompt. Remote: `messages`. `draw` are 64 random bits.

    With `score`, nothing is generated: these ids are scored as the continuation of the prompt. `extra` are further
    options for an endpoint, a JSON object as text. `name` is what the desk knows the call by.
    """

    key: CallKey
    sampling: Sampling
    draw: int
    ids: tuple[int, ...] = ()
    messages: tuple[tuple[str, str], ...] = ()
    score: tuple[int, ...] = ()
    node: str = ""
    extra: str = ""
    name: str = ""
    cached: bool = True
    waiting: list[Any] = field(default_factory=list)

    @property
    def listeners(self) -> list[Callable[[str], None]]:
        """Who is given the answer's text while it is written."""
        return [w.on_text for w in self.waiting if getattr(w, "on_text", None) is not None]


class Model(Protocol):
    """A model that takes calls and gives answers as they finish.

    One whose answers arrive by themselves says so by `pushes = True`, and hands each to its attribute `on_answer`
    instead of giving it from `advance`.
    """

    @property
    def target(self) -> Target: ...
    @property
    def mode(self) -> str:
        """`exact`, `fast` or `remote`; part of every call's key."""
        ...

    def submit(self, calls: Sequence[ModelCall]) -> None:
        """Take calls, in the order in which they are best run."""
        ...

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        """Do some work; gives the calls that finished. Never returns nothing while a call is pending forever."""
        ...

    def retain(self, ids: tuple[int, ...]) -> PrefixRef | None: ...
    def release(self, ref: PrefixRef) -> None: ...
    def abort(self) -> None:
        """Drop all pending calls."""
        ...

    def close(self) -> None: ...


class LocalModel:
    """An engine of ours."""

    def __init__(self, engine: TokenEngine, name: str) -> None:
        info = engine.info
        self.engine = engine
        self.mode = "exact" if info.exact else "fast"
        self.target: Target = LocalTarget(
            ModelInfo(name, info.digest, info.context_length, info.kv_bytes_per_token, info.vocab_size),
            engine.tokenizer,
        )
        self._pending: dict[int, tuple[Handle, ModelCall]] = {}
        self._pieces: dict[int, TextPieces] = {}
        self._failed: list[tuple[ModelCall, Answer]] = []
        self._backlog: deque[ModelCall] = deque()  # calls beyond what the engine queues

    def submit(self, calls: Sequence[ModelCall]) -> None:
        self._backlog += calls
        self._feed()

    def _feed(self) -> None:
        from lampc.backend import BackendError, Request
        from lampc.backend import Sampling as EngineSampling
        from lampc.backend.errors import QueueFull
        from lampc.backend.output import TextPieces

        while self._backlog:
            call = self._backlog.popleft()
            s = call.sampling
            try:
                # the prompt may leave less room than asked: what fits is generated, as a length stop
                room = self.target.info.context_length - len(call.ids)
                most = max(min(s.max_tokens or room, room), 1)
                drawn = EngineSampling(s.temperature, s.top_k, s.top_p, most, 0, s.stop)
                handle = self.engine.submit(Request(call.ids, drawn, call.draw, score=call.score))
            except QueueFull:
                self._backlog.appendleft(call)
                return
            except (BackendError, ValueError) as e:
                self._failed.append((call, failed(_as_lm_error(e, self.target.info.name))))
                continue
            self._pending[handle.id] = (handle, call)
            if call.listeners:
                self._pieces[handle.id] = TextPieces(drawn, self.engine.tokenizer)

    def advance(self) -> list[tuple[ModelCall, Answer]]:
        self._feed()
        out, self._failed = self._failed, []
        if not self._pending:
            return out
        ended = self.engine.step()
        for i in list(self._pieces):
            self._tell(i)
        for handle in ended:
            if handle.id in self._pending:
                out.append((self._pending.pop(handle.id)[1], _answer(handle)))
        return out

    def _tell(self, i: int) -> None:
        """Give those who listen to a request the text that is new and sure."""
        handle, call = self._pending[i]
        pieces = self._pieces[i]
        text = "".join(map(pieces.push, handle.new_tokens()))
        if handle.completion is not None:
            text += pieces.end(handle.completion.text)
            del self._pieces[i]
        for listener in call.listeners if text else ():
            listener(text)

    def call_of(self, handle: Handle) -> ModelCall | None:
        """The call that a request of the engine is of, as long as it is under way."""
        found = self._pending.get(handle.id)
        return found[1] if found is not None and found[0] is handle else None

    def retain(self, ids: tuple[int, ...]) -> PrefixRef | None:
        return self.engine.retain(ids)

    def release(self, ref: PrefixRef) -> None:
        self.engine.release(ref)

    def abort(self) -> None:
        for handle, _ in self._pending.values():
            self.engine.abort(handle)
        self._pending, self._pieces = {}, {}
        self._backlog.clear()

    @property
    def busy(self) -> bool:
        return bool(self._pending or self._backlog)

    def close(self) -> None:
        self.abort()
        self.engine.close()


def _answer(handle: Handle) -> Answer:
    c = handle.completion
    assert c is not None
    return Answer(
        c.text,
        c.tokens,
        c.finish,
        c.prompt_tokens,
        c.computed_tokens,
        c.cached_tokens,
        len(c.tokens),
        error=(c.error or c.finish) if c.finish in ("error", "timeout", "abort") else "",
        score=sum(c.logprobs or ()),
    )


def failed(error: Exception) -> Answer:
    """The answer of a call that ended in an exception."""
    return Answer("", finish="error", error=str(error), exception=error)


def _as_lm_error(error: Exception, model: str) -> Exception:
    from lampc.backend.errors import ContextTooLong
    from lampc.ir.errors import ContextWindowExceededError

    return ContextWindowExceededError(str(error), model=model) if isinstance(error, ContextTooLong) else error


FIREFLY = "firefly"


class ModelPool:
    """Models by name, made on first use. `override` (a source or an engine) stands for all of them.

    `budget` bounds the bytes of local weights held at once; beyond it ModelError is raised.
    """

    def __init__(
        self,
        override: Any = None,
        *,
        base: Path = Path("."),
        exact: bool = True,
        prefix_cache: bool = True,
        engine: str = "paged",
        budget: int = 8 << 30,
        options: dict[str, Any] | None = None,
        bus: EventBus | None = None,
    ) -> None:
        self.override = override
        self.bus = bus
        self.base = base
        self.exact, self.prefix_cache, self.engine = exact, prefix_cache, engine
        self.budget = budget
        self.options = options or {}
        self._views: dict[str, ModelView] = {}
        self._named: dict[int, ModelView] = {}
        self._hits: dict[tuple[str, int], tuple[Module | None, str, Any, ModelView]] = {}
        self._shared = _Loaded()
        self._generation = 0

    def using(self, override: Any) -> ModelPool:
        """The same models with another override."""
        made = copy.copy(self)
        made.override, made._views, made._named, made._hits = override, {}, {}, {}
        return made

    def get(self, name: str, module: Module | None = None) -> ModelView:
        """The model that `@name` stands for in `module`. Raises ModelError or the engine's own errors."""
        if self._generation != self._shared.generation:
            self._views, self._named, self._hits = {}, {}, {}
            self._generation = self._shared.generation
        hit = self._hits.get((name, id(module)))
        if hit is not None and hit[0] is module and named_model(hit[1]) is hit[2]:
            return hit[3]
        view, declared, known = self._find(name, module)
        if len(self._hits) >= 1024:
            self._hits.clear()
        self._hits[name, id(module)] = module, declared, known, view
        return view

    def _find(self, name: str, module: Module | None) -> tuple[ModelView, str, Any]:
        """(the view, the name that is looked up, the object found by it or None)."""
        definition = module.lookup(name) if module is not None else None
        options: dict[str, Any] = {}
        declared = definition.source if isinstance(definition, DefModel) else name
        if (known := named_model(declared)) is not None:
            found = self._named.get(id(known))
            if found is not None and found.lm is known:
                return found, declared, known
            source: Any = known  # set on a predictor as an object: who does that means this one
        elif self.override is not None:
            source = self.override
        elif isinstance(definition, DefModel):
            source = definition.source
            options = thaw(definition.options)
        else:
            source = FIREFLY
        options = {**options, **self.options}  # who runs a program knows where
        spot = _spot(source, options)
        view = self._views.get(spot)
        if view is None:
            view = self._views[spot] = self._view(name, source, options)
        if known is not None:
            self._named[id(known)] = view
        return view, declared, known

    def _view(self, name: str, source: Any, options: dict[str, Any]) -> ModelView:
        from lampc.runtime.lm import LM, BaseLM
        from lampc.runtime.modelview import ModelView

        if not isinstance(source, BaseLM):
            return ModelView(self._model(name, source, options))
        where: Any = source
        if isinstance(source, LM):
            where, own = source.source()
            options = {**own, **options}
        model = self._model(name, where, options)
        remote = not model.target.local
        further = source.further()
        if further and not remote:
            raise ModelError(
                f"model {source.model!r} runs on this machine and has no option {next(iter(further))!r}; known are "
                f"temperature, top_k, top_p, max_tokens, stop, {', '.join(_ENGINE_OPTIONS)}"
            )
        defaults = source.defaults()
        if remote:
            defaults.setdefault("max_tokens", 0)
        extra = json.dumps(further, sort_keys=True, default=_schema) if further else ""
        return ModelView(model, defaults, extra, source.cache, source)

    def _model(self, name: str, source: Any, options: dict[str, Any]) -> Model:
        spot, loaded = _spot(source, options), self._shared
        with loaded.mutex:
            if spot not in loaded.models:
                loaded.models[spot] = self._make(name, source, options)
            if spot in loaded.sizes:
                loaded.sizes[spot] = loaded.sizes.pop(spot)
            return loaded.models[spot]

    def _make_room(self, size: int) -> None:
        """Give local models back that nobody is using, as long as `size` bytes more do not fit."""
        loaded = self._shared
        for spot, held in list(loaded.sizes.items()):
            model = loaded.models.get(spot)
            if loaded.bytes + size <= self.budget:
                return
            if isinstance(model, LocalModel) and not model.busy:
                del loaded.models[spot], loaded.sizes[spot]
                loaded.bytes -= held
                loaded.generation += 1
                model.close()

    def _make(self, name: str, source: Any, options: dict[str, Any]) -> Model:
        if not isinstance(source, str | Path):
            return self._object(name, source)
        text = str(source)
        if text.startswith("litellm:"):
            from lampc.runtime.providers.litellm import LiteLLMClient
            from lampc.runtime.remote import RemoteModel

            return RemoteModel(LiteLLMClient(text.removeprefix("litellm:"), **options), name)
        if text.startswith(("http://", "https://")):
            if found := " and ".join(f"`{k}`" for k in _LOCAL_OPTIONS if k in options):
                raise ModelError(
                    f"model `{name}` is an endpoint and computes elsewhere: {found} can only be said of a model on "
                    "this machine; leave it out, or name a checkpoint folder"
                )
            return self._endpoint(name, text, options)
        from lampc.backend import load_engine

        folder = firefly_folder() if text == FIREFLY else self._folder(Path(text))
        size = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
        self._make_room(size)
        if self._shared.bytes + size > self.budget:
            raise ModelError(
                f"{folder}: {size >> 20} MiB of weights do not fit beside the {self._shared.bytes >> 20} MiB loaded, "
                f"within {self.budget >> 20} MiB; use fewer models at once or raise the budget"
            )
        wanted = {k: v for k, v in options.items() if k in _ENGINE_OPTIONS}
        unknown = sorted(set(options) - set(_ENGINE_OPTIONS) - {"model"})
        if unknown:
            raise ModelError(f"model option {unknown[0]!r} is not known; known: {', '.join(_ENGINE_OPTIONS)}")
        kind: Literal["naive", "paged"] = "naive" if self.engine == "naive" else "paged"
        wanted |= {"exact": self.exact, "prefix_cache": self.prefix_cache, "hooks": (_StepHook(self),)}
        try:
            engine = load_engine(folder, kind=kind, **wanted)
        except ValueError as e:
            raise ModelError(f"{folder}: {e}") from e
        model = LocalModel(engine, name)
        self._shared.bytes += size  # only now: what failed to load takes no room
        self._shared.sizes[_spot(source, options)] = size
        return model

    def _endpoint(self, name: str, url: str, options: dict[str, Any]) -> Model:
        from lampc.runtime.providers import OpenAIClient
        from lampc.runtime.remote import CLIENT_OPTIONS, RemoteModel

        unknown = sorted(set(options) - set(CLIENT_OPTIONS) - {"model"})
        if unknown:
            known = ", ".join(("model", *CLIENT_OPTIONS))
            raise ModelError(f"model `{name}` is an endpoint; it has no option {unknown[0]!r}, there are {known}")
        told = {k: v for k, v in options.items() if k in CLIENT_OPTIONS}
        return RemoteModel(OpenAIClient(url, str(options.get("model", "")), **told), name)

    def _object(self, name: str, source: Any) -> Model:
        """A model given as an object: an engine of ours, something with DSPy's `forward`, a function of messages."""
        if hasattr(source, "target"):
            made: Model = source
            return made
        if hasattr(source, "submit") and hasattr(source, "step"):
            return LocalModel(source, name)
        from lampc.runtime.inprocess import HostModel

        return HostModel(source, name)

    def _folder(self, path: Path) -> Path:
        for folder in (path, self.base / path):
            if folder.is_dir():
                return folder
        raise ModelError(
            f"{path}: no such folder; give a checkpoint folder (config.json, model.safetensors, tokenizer.json), "
            f"`{FIREFLY}`, or the URL of an endpoint"
        )

    def close(self) -> None:
        with self._shared.mutex:
            models, self._shared.models = self._shared.models, {}
            self._shared.sizes, self._shared.bytes = {}, 0
            self._shared.generation += 1
        for model in models.values():
            model.close()


class _Loaded:
    """What pools that share their models have in common."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}
        self.sizes: dict[str, int] = {}  # bytes of local models, the longest unused first
        self.bytes = 0
        self.generation = 0  # grows whenever models are given back
        self.mutex = threading.RLock()


def _spot(source: Any, options: dict[str, Any]) -> str:
    return json.dumps([source, options], default=lambda o: f"{type(o).__name__}@{id(o)}", sort_keys=True)


def _schema(value: Any) -> Any:
    """Classes of pydantic among an endpoint's options, as the JSON schemas that they stand for."""
    if hasattr(value, "model_json_schema"):
        schema = value.model_json_schema()
        return {"type": "json_schema", "json_schema": {"name": value.__name__, "schema": schema, "strict": True}}
    raise ModelError(f"an option of an endpoint must be JSON, not {type(value).__name__}")


class _StepHook:
    """Passes an engine's steps on to the pool's bus."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def on_submit(self, request: Request) -> Request:
        return request

    def on_event(self, event: Event) -> None:
        from lampc.backend.hooks import StepEvent

        bus = self._pool.bus
        if bus is not None and isinstance(event, StepEvent):
            bus.emit(
                "step",
                tokens=event.rows,
                running=event.running,
                waiting=event.waiting,
                used_blocks=event.used_blocks,
            )


_LOCAL_OPTIONS = ("backend", "tensor_parallel")
_ENGINE_OPTIONS = (*_LOCAL_OPTIONS, "device", "dtype", "kv_tokens", "max_batch_tokens", "max_running", "chunk")


def firefly_folder() -> Path:
    """Where the bundled model lies."""
    from importlib.resources import files

    return Path(str(files("lampc.runtime.firefly")))
