"""`from_dspy`: a DSPy module object, as its user made and compiled it, as a module of ours.

    program = lampc.from_dspy(compiled)        # the same prompts, the same answers, and a graph

Predictors keep their signatures, instructions, demos, options and models. A module with a `forward` of its own
becomes a class with the same functions, in which DSPy's names mean ours; the tracer then reads it as any other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from lampc.frontend.python.module import Module
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.runtime.interop import code
from lampc.runtime.interop.functions import Names
from lampc.runtime.interop.signatures import example_of, signature_of

_BOOKKEEPING = frozenset({"history", "callbacks", "_compiled", "_lm_usage"})
_LAYOUTS = {"ChatAdapter": "chat", "JSONAdapter": "json", "XMLAdapter": "xml", "BAMLAdapter": "baml"}


class NotDSPy(TypeError):
    """An object is no DSPy module, or one of a kind that has no counterpart here."""


def from_dspy(module: Any, *, layout: str = "") -> Any:
    """The module of ours that asks and answers as `module` does; `module` stays as it is.

    `layout` names the adapter of its predictors; by default the one that DSPy is configured with, `chat` if none is.
    Raises NotDSPy, naming what cannot be lowered and why.
    """
    return Lowering(layout or _configured_layout()).module(module)


class Lowering:
    """One conversion: every object is converted once, however often it is referred to."""

    def __init__(self, layout: str) -> None:
        self.layout = layout
        self.names = Names(self.value)
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []  # so that no id is used again
        self._classes: dict[type, type] = {}

    def module(self, given: Any) -> Any:
        """A module. Raises NotDSPy."""
        if not is_module(given):
            raise NotDSPy(f"{type(given).__name__} is no DSPy module; give a dspy.Module object")
        return self.value(given)

    def value(self, given: Any) -> Any:
        """Any value: modules, tools, rows and functions are converted, also inside of lists, tuples and dicts."""
        if id(given) in self._made:
            return self._made[id(given)]
        made = self._convert(given)
        if made is not given:
            self._made[id(given)] = made
            self._kept.append(given)
        return made

    def _convert(self, given: Any) -> Any:
        if is_module(given):
            return self._module(given)
        if type(given) in (list, tuple, set):
            items = [self.value(v) for v in given]
            return type(given)(items) if any(a is not b for a, b in zip(items, given, strict=True)) else given
        if type(given) is dict:
            pairs = {k: self.value(v) for k, v in given.items()}
            return pairs if any(pairs[k] is not given[k] for k in given) else given
        kinds = _names_of(type(given))
        if "Tool" in kinds and is_dspy(_class_of(given, "Tool")):
            return self._tool(given)
        if is_dspy(type(given)) and "Example" in kinds:
            return example_of(given)
        return self.names.value(given)

    # -- modules --------------------------------------------------------------------------------------

    def _module(self, given: Any) -> Any:
        kind = type(given)
        if is_dspy(kind):
            lower = _LIBRARY.get(kind.__name__)
            if lower is None:
                raise NotDSPy(
                    f"dspy.{kind.__name__} has no counterpart that a module could be lowered to; "
                    f"there are {', '.join(sorted(_LIBRARY))}"
                )
            return lower(self, given)
        if kind.__name__ == "ChainOfThought" or "forward" not in _attributes(kind):
            return self._library_child(given)
        made: Any = object.__new__(self._class(kind))
        self._made[id(given)] = made  # modules may refer to each other
        self._fill(made, given)
        return made

    def _library_child(self, given: Any) -> Any:
        """An object of a user's class that adds nothing to a module of the library but attributes."""
        known = next((c.__name__ for c in type(given).__mro__ if is_dspy(c) and c.__name__ in _LIBRARY), "")
        if not known:
            raise NotDSPy(f"{type(given).__name__} has no `forward`")
        return _LIBRARY[known](self, given)

    def _fill(self, made: Any, given: Any, skip: Iterable[str] = ()) -> None:
        for name, value in vars(given).items():
            if name not in _BOOKKEEPING and name not in skip:
                vars(made)[name] = self.value(value)
        vars(made)["_compiled"] = bool(getattr(given, "_compiled", False))
        vars(made)["callbacks"] = list(getattr(given, "callbacks", None) or ())

    def _class(self, kind: type) -> type:
        """A class with the functions of a user's module class, over our `Module`."""
        if kind not in self._classes:
            bases = tuple(self._base(b) for b in kind.__bases__)
            self._classes[kind] = self.names.rebuilt(kind, bases or (Module,))
        return self._classes[kind]

    def _base(self, kind: type) -> type:
        if is_dspy(kind):
            found = ours(kind.__name__)
            return found if isinstance(found, type) and issubclass(found, Module) else Module
        return self._class(kind) if is_module_class(kind) else kind

    # -- leaves ---------------------------------------------------------------------------------------

    def predict(self, given: Any) -> Predict:
        """A predictor with everything it learnt."""
        config = {k: v for k, v in given.config.items() if v is not None}
        made = Predict(signature_of(given.signature), layout=self.layout, **config)
        self._made[id(given)] = made
        made.demos = [example_of(d) for d in given.demos]
        made.traces, made.train = list(given.traces), list(given.train)
        made.lm = self.lm(given.lm)
        made.callbacks = list(getattr(given, "callbacks", None) or ())
        made._compiled = bool(getattr(given, "_compiled", False))
        return made

    def chain(self, given: Any) -> ChainOfThought:
        made = ChainOfThought.__new__(ChainOfThought)
        Module.__init__(made)
        self._made[id(given)] = made
        self._fill(made, given)
        return made

    def _as(self, name: str, given: Any) -> Any:
        kind = ours(name)
        made = kind.__new__(kind)
        Module.__init__(made)
        self._made[id(given)] = made
        self._fill(made, given, skip=("signature",))
        if hasattr(given, "signature"):
            made.signature = signature_of(given.signature)
        return made

    def _tool(self, given: Any) -> Any:
        tool = ours("Tool")
        known = {n: getattr(given, n, None) for n in ("name", "desc", "args", "arg_types", "arg_desc")}
        return tool(self.value(given.func), **{k: v for k, v in known.items() if v is not None})

    def lm(self, given: Any) -> Any:
        """A predictor's own model: the one behind our engine, else DSPy's LM itself."""
        if given is None:
            return None
        from lampc.runtime.interop.engine import DspyEngine
        from lampc.runtime.interop.foreign import ForeignLM

        if id(given) not in self._made:
            engine = getattr(given, "engine", None)
            self._made[id(given)] = engine.lm if isinstance(engine, DspyEngine) else ForeignLM(given)
            self._kept.append(given)
        return self._made[id(given)]


def _trials(name: str) -> Callable[[Lowering, Any], Any]:
    def lower(at: Lowering, given: Any) -> Any:
        module, reward = at.value(given.module), at.value(_raw(given.reward_fn))
        made = ours(name)(module, given.N, reward, given.threshold, given.fail_count)
        return made

    return lower


def _raw(function: Any) -> Any:
    """A reward function as the user gave it: DSPy wraps it in a lambda of (kwargs, pred)."""
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
    if code is not None and "reward_fn" in code.co_freevars:
        return cells[code.co_freevars.index("reward_fn")].cell_contents
    return function


_LIBRARY: dict[str, Callable[[Lowering, Any], Any]] = {
    "Predict": Lowering.predict,
    "ChainOfThought": Lowering.chain,
    "CodeAct": code.code_act,
    "ProgramOfThought": code.program_of_thought,
    "RLM": code.recursive,
    "ReAct": lambda at, given: at._as("ReAct", given),
    "MultiChainComparison": lambda at, given: at._as("MultiChainComparison", given),
    "BestOfN": _trials("BestOfN"),
    "Refine": _trials("Refine"),
}


def is_dspy(kind: type | None) -> bool:
    """Whether a class is DSPy's own."""
    return kind is not None and kind.__module__.partition(".")[0] == "dspy"


def is_module_class(kind: type) -> bool:
    """Whether a class is a module of DSPy: it has a base called `Module` that is DSPy's."""
    return any(c.__name__ == "Module" and is_dspy(c) for c in kind.__mro__)


def is_module(given: Any) -> bool:
    return not isinstance(given, type) and is_module_class(type(given))


def ours(name: str) -> Any:
    """What DSPy's name means here. Raises NotDSPy if it means nothing."""
    facade = import_module("lampc")
    try:
        return getattr(facade, name)
    except AttributeError:
        raise NotDSPy(f"dspy.{name} has no counterpart here") from None


def _configured_layout() -> str:
    dspy = sys.modules.get("dspy")
    adapter = getattr(getattr(dspy, "settings", None), "adapter", None)
    return next((_LAYOUTS[c.__name__] for c in type(adapter).__mro__ if c.__name__ in _LAYOUTS), "chat")


def _names_of(kind: type) -> set[str]:
    return {c.__name__ for c in kind.__mro__}


def _class_of(given: Any, name: str) -> type | None:
    return next((c for c in type(given).__mro__ if c.__name__ == name), None)


def _attributes(kind: type) -> set[str]:
    """Names that the user's own classes define."""
    return {n for c in kind.__mro__ if not is_dspy(c) and c is not object for n in vars(c)}
