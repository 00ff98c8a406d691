"""The pool of models: made on first use, by the definitions of a program or one override for all, within one budget."""

from __future__ import annotations

import copy
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lampc.ir import thaw
from lampc.ir.adapters.schema import option
from lampc.ir.modelnames import named_model, provider_name
from lampc.ir.penalties import SAMPLING
from lampc.ir.prog import DefModel
from lampc.runtime.local import LocalModel
from lampc.runtime.models import Model, ModelError
from lampc.runtime.providers.prices import price_of
from lampc.runtime.seats import Seats
from lampc.runtime.steps import tell_steps
from lampc.runtime.weights import Engines

if TYPE_CHECKING:
    from lampc.ir import Module
    from lampc.runtime.events import EventBus
    from lampc.runtime.modelview import ModelView
    from lampc.runtime.store import Store

FIREFLY = "firefly"
KEPT = 32
"""Most models elsewhere (endpoints, Python code) that a pool keeps beyond their use."""


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
        store: Store | None = None,
    ) -> None:
        self.override = override
        self._main_only = False
        self.bus, self.store = bus, store
        self.base = base
        self.exact, self.prefix_cache, self.engine = exact, prefix_cache, engine
        self.options = options or {}
        self._views: dict[str, ModelView] = {}
        self._named: dict[int, ModelView] = {}
        self._hits: dict[tuple[str, int], tuple[Module | None, str, Any, ModelView]] = {}
        self._shared = _Loaded(budget)
        self._generation = 0

    def using(self, override: Any) -> ModelPool:
        """The same models with another `main`: those that have names of their own stay what they are."""
        made = copy.copy(self)
        made._main_only = True
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

    def same(self, one: str, other: str, module: Module | None = None) -> bool:
        """Whether two names stand for one `LM` object."""
        first, second = (self.get(name, module).lm for name in (one, other))
        return first is not None and first is second

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
        elif name != "main" and self._adapter(declared) is not None:
            source = declared  # trained for this program: who names it means this one
        elif self.override is not None and (name == "main" or not self._main_only):
            source = self.override
        elif isinstance(definition, DefModel):
            source = provider_name(definition.source)
            options = thaw(definition.options)
        else:
            source = FIREFLY if name == "main" else provider_name(name)
        options = {**options, **self.options}  # who runs a program knows where
        spot = _spot(source, options)
        view = self._views.get(spot)
        if view is None:
            view = self._views[spot] = self._view(provider_name(name), source, options)
        if known is not None:
            self._named[id(known)] = view
        return view, declared, known

    def _view(self, name: str, source: Any, options: dict[str, Any]) -> ModelView:
        from lampc.runtime.lm import LM, BaseLM
        from lampc.runtime.modelview import ModelView

        if not isinstance(source, BaseLM):
            price = price_of(options.pop("price", None)) if "price" in options else None
            return ModelView(self._model(name, source, options), price=price)
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
                f"{', '.join((*SAMPLING, *_ENGINE_OPTIONS))}"
            )
        defaults = source.defaults()
        if remote:
            defaults.setdefault("max_tokens", 0)
        extra = json.dumps(further, sort_keys=True, default=option) if further else ""
        return ModelView(model, defaults, extra, source.kept, source)

    def _model(self, name: str, source: Any, options: dict[str, Any]) -> Model:
        spot, loaded = _spot(source, options), self._shared
        with loaded.mutex:
            model = loaded.models.pop(spot, None)
            if model is None:
                model = self._make(name, source, options)
                loaded.forget()
            loaded.models[spot] = model
            if isinstance(model, LocalModel):
                loaded.engines.used(model)
            return model

    def _make(self, name: str, source: Any, options: dict[str, Any]) -> Model:
        if not isinstance(source, str | Path):
            return self._object(name, source, options.get(_STRUCTURED))
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
        adapter = None if text == FIREFLY else self._adapter(text)
        base = text if adapter is None else self._base(adapter)
        folder = firefly_folder() if base == FIREFLY else self._folder(Path(base))
        wanted = {k: v for k, v in options.items() if k in _ENGINE_OPTIONS}
        unknown = sorted(set(options) - set(_ENGINE_OPTIONS) - {"model", _STRUCTURED})
        if "batch" in unknown:
            raise ModelError(f"model `{name}` is on this machine: offline batches are an endpoint's; leave `batch` out")
        if unknown:
            known = ", ".join((*_ENGINE_OPTIONS, _STRUCTURED))
            raise ModelError(f"model option {unknown[0]!r} is not known; known: {known}")
        structured = options.get(_STRUCTURED)
        if structured is not None and not isinstance(structured, bool):
            raise ModelError(f"model option {_STRUCTURED} is {structured!r}; give true or false")
        kind: Literal["naive", "paged"] = "naive" if self.engine == "naive" else "paged"
        wanted |= {"exact": self.exact, "prefix_cache": self.prefix_cache}
        if kind == "paged":
            wanted["policy"] = "warm"  # calls of programs go on from each other
        made = self._shared.engines.model(
            folder, kind, wanted, adapter, lambda seats, its: self._seated(seats, name, structured, its)
        )
        made.folder, made.adapter_folder = folder, adapter
        made.source = base if base == FIREFLY else str(folder.resolve())
        return made

    def _seated(self, seats: Seats, name: str, structured: bool | None, adapter: str | None) -> LocalModel:
        """A model of an engine that others may have models of, too."""
        model = LocalModel(seats.engine, name, structured, adapter, seats)
        if self.bus is not None and len(seats.models) == 1:
            tell_steps(model, self.bus)
        return model

    def _endpoint(self, name: str, url: str, options: dict[str, Any]) -> Model:
        from lampc.runtime.providers import OpenAIClient
        from lampc.runtime.remote import CLIENT_OPTIONS, RemoteModel

        unknown = sorted(set(options) - set(CLIENT_OPTIONS) - {"model"})
        if unknown:
            known = ", ".join(("model", *CLIENT_OPTIONS))
            raise ModelError(f"model `{name}` is an endpoint; it has no option {unknown[0]!r}, there are {known}")
        told = {k: v for k, v in options.items() if k in CLIENT_OPTIONS}
        batch = told.pop("batch", False)
        client = OpenAIClient(url, str(options.get("model", "")), **told)
        if not batch:
            return RemoteModel(client, name)
        from lampc.runtime.batched import BatchModel

        return BatchModel(client, name, self.store)

    def _object(self, name: str, source: Any, structured: bool | None = None) -> Model:
        """A model given as an object: an engine of ours, something with DSPy's `forward`, a function of messages."""
        from lampc.runtime.lm import BaseLM

        if hasattr(source, "target") and not (isinstance(source, BaseLM) and source.replaced()):
            made: Model = source
            if isinstance(made, LocalModel) and self.bus is not None:
                tell_steps(made, self.bus)
            return made
        if hasattr(source, "submit") and hasattr(source, "step"):
            return self._seated(Seats(source), name, structured, None)
        from lampc.runtime.inprocess import host_model

        return host_model(source, name)

    def _adapter(self, name: str) -> Path | None:
        """The folder of that name, if it is an adapter's and not a model's."""
        for folder in (Path(name), self.base / name):
            if (folder / "adapter_config.json").is_file() and not (folder / "config.json").exists():
                return folder
        return None

    def _base(self, adapter: Path) -> str:
        """The model that an adapter is for. Raises ModelError if it is not on this machine."""
        from lampc.backend.models.peft import base_of

        base = base_of(adapter)
        if base == FIREFLY or any(folder.is_dir() for folder in (Path(base), self.base / base)):
            return base
        raise ModelError(
            f"{adapter}: an adapter for {base}, and there is no such folder; write the folder of that model into "
            "base_model_name_or_path of adapter_config.json"
        )

    def _folder(self, path: Path) -> Path:
        for folder in (path, self.base / path):
            if folder.is_dir():
                return folder
        raise ModelError(
            f"{path}: no such folder, and no model of that name is defined; give a checkpoint folder (config.json, "
            f"model.safetensors, tokenizer.json), `{FIREFLY}`, or the URL of an endpoint; a provider's model is an "
            'object, lampc.LM("provider/name")'
        )

    def drop_prefixes(self) -> None:
        """Empty the prefix caches of models on this machine, but for what is held."""
        with self._shared.mutex:
            for model in self._shared.models.values():
                if isinstance(model, LocalModel):
                    model.engine.reset_cache()

    def close(self) -> None:
        with self._shared.mutex:
            models, self._shared.models = self._shared.models, {}
            self._shared.engines.clear()
            self._shared.generation += 1
        for model in models.values():
            model.close()


class _Loaded:
    """What pools that share their models have in common."""

    def __init__(self, budget: int) -> None:
        self.models: dict[str, Model] = {}  # the longest unused first
        self.engines = Engines(budget, self._gone)
        self.generation = 0  # grows whenever models are given back
        self.mutex = threading.RLock()

    def _gone(self, model: LocalModel) -> None:
        for spot in [s for s, m in self.models.items() if m is model]:
            del self.models[spot]
        self.generation += 1

    def forget(self) -> None:
        """Makes room for one more: of the models elsewhere those longest unused go. They are not closed, as somebody
        may hold them; what they have open ends with them."""
        elsewhere = [spot for spot, model in self.models.items() if not isinstance(model, LocalModel)]
        for spot in elsewhere[: max(0, len(elsewhere) - KEPT + 1)]:
            del self.models[spot]
            self.generation += 1


def _spot(source: Any, options: dict[str, Any]) -> str:
    return json.dumps([source, options], default=lambda o: f"{type(o).__name__}@{id(o)}", sort_keys=True)


_STRUCTURED = "structured_outputs"
_LOCAL_OPTIONS = ("backend", "tensor_parallel", "speculative")
_ENGINE_OPTIONS = (*_LOCAL_OPTIONS, "device", "dtype", "kv_tokens", "max_batch_tokens", "max_running", "chunk")


def firefly_folder() -> Path:
    """Where the bundled model lies."""
    from importlib.resources import files

    return Path(str(files("lampc.runtime.firefly")))
