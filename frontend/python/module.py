"""Modules: objects that hold predictors, with `forward`; their parameters, names and copies."""

from __future__ import annotations

import contextlib
import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO

from lampc.frontend.python import state as states
from lampc.frontend.python.callbacks import active, telling
from lampc.frontend.python.calllog import CallHistory, callers, show
from lampc.frontend.python.example import Example, Prediction
from lampc.ir.runner import AwaitingRunner, BatchRunner, find_runner
from lampc.ir.settings import settings
from lampc.ir.usage import track_usage


class Parameter:
    """Base of what an optimizer may change."""

    def reset(self) -> None:
        """Forget what was learnt."""
        raise NotImplementedError(type(self).__name__)


class Module:
    """A program in parts: `__init__` makes predictors, `forward` calls them.

    class QA(lampc.Module):
        def __init__(self) -> None:
            self.read = lampc.ChainOfThought("context: list[str], question -> answer")
        def forward(self, context: list[str], question: str) -> lampc.Prediction:
            return lampc.Prediction(answer=self.read(context=context, question=question).answer)
    """

    _compiled: bool = False
    _fused: tuple[tuple[str, ...], ...] = ()
    """Groups of predictors whose calls are one, where the module is run compiled (`lampc.Fuse`)."""
    callbacks: Sequence[Any] = ()
    history: Any = CallHistory()

    def __init__(self, callbacks: Sequence[Any] | None = None) -> None:
        self.callbacks = list(callbacks or ())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no `forward`")

    async def aforward(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`, its LM calls awaited: tasks that wait at the same time are answered in one batch."""
        at = find_runner()
        if isinstance(at, AwaitingRunner):
            return await at.awaiting(lambda: self.forward(*args, **kwargs))
        return self.forward(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        here = settings.view()
        if here["track_usage"] and here["usage_tracker"] is None:
            with track_usage() as used:
                found = self(*args, **kwargs)
            if isinstance(found, Prediction):
                found.set_lm_usage(used.get_total_tokens())
            return found
        token = callers.set((*callers.get(), self))
        try:
            if told := active(self):
                with telling("module", self, _named(args, kwargs), told) as end:
                    end.outputs = out = self.forward(*args, **kwargs)
                return out
            return self.forward(*args, **kwargs)
        finally:
            callers.reset(token)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        """As calling, for `await`: many at a time (`asyncio.gather`) share batches."""
        token = callers.set((*callers.get(), self))
        try:
            if told := active(self):
                with telling("module", self, _named(args, kwargs), told) as end:
                    end.outputs = out = await self.aforward(*args, **kwargs)
                return out
            return await self.aforward(*args, **kwargs)
        finally:
            callers.reset(token)

    def inspect_history(self, n: int = 1, file: TextIO | None = None) -> None:
        """Print the last `n` calls that were made by this module or inside of it."""
        show(self.__dict__.get("_calls", ()), n, file)

    # -- what it is made of ---------------------------------------------------------------------------

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """(name, parameter) in the order in which attributes were set: `read.predict`, `steps[0]`, `d['k']`."""
        found: list[tuple[str, Parameter]] = [("self", self)] if isinstance(self, Parameter) else []
        seen = {id(p) for _, p in found}
        for name, value in members(self):
            if isinstance(value, Parameter):
                inner = [(name, value)]
            elif isinstance(value, Module) and not value._compiled:
                inner = [(f"{name}.{sub}", p) for sub, p in value.named_parameters()]
            else:
                continue
            for n, p in inner:
                if id(p) not in seen:
                    seen.add(id(p))
                    found.append((n, p))
        return found

    def parameters(self) -> list[Parameter]:
        return [p for _, p in self.named_parameters()]

    def named_predictors(self) -> list[tuple[str, Any]]:
        """(name, predictor) of every predictor in it."""
        from lampc.frontend.python.predict import Predict

        return [(n, p) for n, p in self.named_parameters() if isinstance(p, Predict)]

    def predictors(self) -> list[Any]:
        return [p for _, p in self.named_predictors()]

    def named_sub_modules(self, type_: type | None = None, skip_compiled: bool = False) -> Iterator[tuple[str, Any]]:
        """(name, module) of this module and all inside it, breadth first, each once: `self.steps[0]`, `self.d[k]`.

        Lists and dicts are searched at any depth; `type_` selects, `skip_compiled` leaves out what is in frozen ones.
        """
        wanted = type_ or Module
        queue: deque[tuple[str, Any]] = deque([("self", self)])
        seen = {id(self)}
        while queue:
            name, item = queue.popleft()
            if isinstance(item, wanted):
                yield name, item
            if isinstance(item, Module):
                inner = [] if skip_compiled and item._compiled else [(f"{name}.{n}", v) for n, v in vars(item).items()]
            elif isinstance(item, list | tuple):
                inner = [(f"{name}[{i}]", v) for i, v in enumerate(item)]
            elif isinstance(item, dict):
                inner = [(f"{name}[{k}]", v) for k, v in item.items()]
            else:
                continue
            for n, v in inner:
                if isinstance(v, Module | list | tuple | dict | wanted) and id(v) not in seen:
                    seen.add(id(v))
                    queue.append((n, v))

    def map_named_predictors(self, func: Callable[[Any], Any]) -> Self:
        """Put `func(predictor)` in the place of each predictor."""
        for name, predictor in self.named_predictors():
            put(self, name, func(predictor))
        return self

    def set_lm(self, lm: Any) -> None:
        """Let every predictor ask this model: an `LM`, or a name of the session's models."""
        for predictor in self.predictors():
            predictor.lm = lm

    set_model = set_lm

    def get_lm(self) -> Any:
        """The model that all predictors ask. Raises ValueError if they differ, or if there is none."""
        models = {id(p.lm): p.lm for p in self.predictors()}
        if len(models) == 1 or (models and len({repr(m) for m in models.values()}) == 1):
            return next(iter(models.values()))
        what = "ask different models" if models else "are none"
        raise ValueError(f"the predictors of this module {what}: there is no one model to name")

    # -- copies ---------------------------------------------------------------------------------------

    def deepcopy(self) -> Self:
        """A copy that shares nothing changeable with this one: what cannot be copied, and models, are shared."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        for name, value in vars(self).items():
            if name != "_calls":
                vars(made)[name] = value if name in ("lm", "proxy") else _copied(value, memo)
        return made

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k not in ("_calls", "callbacks")}

    def reset_copy(self) -> Self:
        """A copy in which every parameter has forgotten what it learnt."""
        made = self.deepcopy()
        for parameter in made.parameters():
            parameter.reset()
        return made

    # -- state ----------------------------------------------------------------------------------------

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """What was learnt, by predictor name: demos, instructions, field texts, model."""
        return states.dump_state(self, json_mode)

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> Any:
        """Take over a dumped state. Raises KeyError or ValueError, and then changes nothing."""
        states.load_state(self, state, allow_unsafe_lm_state=allow_unsafe_lm_state)

    def save(
        self, path: str | Path, save_program: bool = False, modules_to_serialize: Sequence[Any] | None = None
    ) -> None:
        """Write the state as JSON. Raises ValueError for another ending than `.json`, and for `save_program`."""
        if save_program:
            raise ValueError(f"{path}: programs are not pickled: save the state, load it into a program made anew")
        states.save_state(self, path)

    def load(self, path: str | Path, allow_pickle: bool = False, allow_unsafe_lm_state: bool = False) -> None:
        """Read a state that `save` (or DSPy) wrote. Raises ValueError, naming the file, if it is none; a pickle
        is none, whatever `allow_pickle` says."""
        states.read_state(self, path, allow_unsafe_lm_state=allow_unsafe_lm_state)

    # -- many rows ------------------------------------------------------------------------------------

    def batch(
        self,
        examples: Sequence[Example | Mapping[str, Any]],
        num_threads: int | None = None,
        max_errors: int | None = None,
        return_failed_examples: bool = False,
        provide_traceback: bool | None = None,
        disable_progress_bar: bool = False,
        timeout: int = 120,
        straggler_limit: int = 3,
    ) -> Any:
        """Run over many examples at once; what the call returns for each, None where it failed.

        With `return_failed_examples`: (predictions, failed examples, their exceptions). All rows run together;
        `num_threads` bounds how many calls of a model that is Python code and waits are made at once, timeouts and
        stragglers are not needed. Raises the last exception once `max_errors` rows have failed.
        """
        examples = list(examples)
        rows = [dict((e.inputs() if isinstance(e, Example) else e).items()) for e in examples]
        runner = find_runner()
        with settings.context(num_threads=num_threads) if num_threads else contextlib.nullcontext():
            if isinstance(runner, BatchRunner):
                found = runner.run_many(self, rows)
            else:
                found = [_attempt(self, row) for row in rows]
        failed = [(e, r) for e, r in zip(examples, found, strict=True) if isinstance(r, Exception)]
        if max_errors is not None and len(failed) >= max_errors > 0:
            raise failed[-1][1]
        out = [None if isinstance(r, Exception) else r for r in found]
        return (out, [e for e, _ in failed], [x for _, x in failed]) if return_failed_examples else out

    def __repr__(self) -> str:
        return "\n".join(f"{n} = {p!r}" for n, p in self.named_predictors()) or f"{type(self).__name__}()"


def _attempt(module: Module, row: dict[str, Any]) -> Any:
    try:
        return module(**row)
    except Exception as e:
        return e


def _named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments as callbacks are told of them."""
    return {"args": args, "kwargs": kwargs}


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    """A deep copy; of what cannot be copied, the thing itself."""
    try:
        return copy.deepcopy(value, memo)
    except Exception:
        if type(value) in (list, tuple):
            return type(value)(_copied(v, memo) for v in value)
        return {k: _copied(v, memo) for k, v in value.items()} if type(value) is dict else value


def members(module: Module) -> Iterator[tuple[str, Any]]:
    """(name, value) of attributes, those in lists, tuples and dicts too (one level)."""
    for name, value in vars(module).items():
        if isinstance(value, list | tuple):
            yield from ((f"{name}[{i}]", v) for i, v in enumerate(value))
        elif isinstance(value, dict):
            yield from ((f"{name}['{k}']", v) for k, v in value.items())
        else:
            yield name, value


def put(module: Module, path: str, value: Any) -> None:
    """Set what `path` (as `named_parameters` writes it) names."""
    inside = dict(members(module))
    if path not in inside:
        head = next(n for n, v in inside.items() if path.startswith(f"{n}.") and isinstance(v, Module))
        put(inside[head], path.removeprefix(f"{head}."), value)
        return
    name, bracket, key = path.partition("[")
    if not bracket:
        setattr(module, name, value)
        return
    holder = getattr(module, name)
    if isinstance(holder, dict):
        holder[next(k for k in holder if f"'{k}']" == key)] = value
        return
    if isinstance(holder, tuple):
        holder = list(holder)
        setattr(module, name, holder)
    holder[int(key[:-1])] = value


def predictor_symbols(module: Module) -> list[tuple[str, Any]]:
    """(symbol, predictor) in order: names as the IR has them: `read`, `hop.ask`, `steps.0`.

    A `ChainOfThought` is one predictor under its own name, not under `name.predict`.
    """
    from lampc.frontend.python.predict import ChainOfThought

    wrapped = {id(m.predict) for _, m in module.named_sub_modules() if isinstance(m, ChainOfThought)}
    out = []
    for name, predictor in module.named_predictors():
        symbol = name.removesuffix(".predict") if id(predictor) in wrapped and name != "predict" else name
        symbol = symbol.replace("['", ".").replace("']", "").replace("[", ".").replace("]", "")
        out.append(("predict" if symbol == "self" else symbol, predictor))
    return out
