"""Modules: objects that hold predictors, with `forward`; their parameters, copies and saved state."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lampc.frontend.python.example import Example, Prediction
from lampc.ir.runner import BatchRunner, find_runner


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
    callbacks: Any = None

    def __init__(self, callbacks: Any = None) -> None:
        self.callbacks = callbacks

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no `forward`")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    # -- what it is made of ---------------------------------------------------------------------------

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """(name, parameter) in the order in which attributes were set: `read.predict`, `steps[0]`, `d['k']`."""
        found: list[tuple[str, Parameter]] = [("self", self)] if isinstance(self, Parameter) else []
        seen = {id(p) for _, p in found}
        for name, value in _members(self):
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

    def named_sub_modules(self, type_: type | None = None) -> Iterator[tuple[str, Module]]:
        """(name, module) of this module and all inside it, breadth first, each once."""
        queue: list[tuple[str, Module]] = [("self", self)]
        seen: set[int] = set()
        while queue:
            name, module = queue.pop(0)
            if id(module) in seen:
                continue
            seen.add(id(module))
            if type_ is None or isinstance(module, type_):
                yield name, module
            queue += [(f"{name}.{n}", m) for n, m in _members(module) if isinstance(m, Module)]

    def map_named_predictors(self, func: Callable[[Any], Any]) -> Self:
        """Put `func(predictor)` in the place of each predictor."""
        for name, predictor in self.named_predictors():
            _put(self, name, func(predictor))
        return self

    def set_model(self, model: str | None) -> None:
        """Let every predictor ask this model (a name of the session's models)."""
        for predictor in self.predictors():
            predictor.lm = model

    set_lm = set_model

    def get_lm(self) -> Any:
        """The model that all predictors ask. Raises ValueError if they differ."""
        models = {p.lm for p in self.predictors()}
        if len(models) == 1:
            return models.pop()
        raise ValueError("the predictors of this module ask different models")

    # -- copies ---------------------------------------------------------------------------------------

    def deepcopy(self) -> Self:
        """A copy that shares nothing changeable with this one (what cannot be copied is shared)."""
        made = type(self).__new__(type(self))
        for name, value in vars(self).items():
            if isinstance(value, Module):
                vars(made)[name] = value.deepcopy()
                continue
            try:
                vars(made)[name] = copy.deepcopy(value)
            except Exception:
                vars(made)[name] = value
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        made = memo[id(self)] = self.deepcopy()
        return made

    def reset_copy(self) -> Self:
        """A copy in which every parameter has forgotten what it learnt."""
        made = self.deepcopy()
        for parameter in made.parameters():
            parameter.reset()
        return made

    # -- state ----------------------------------------------------------------------------------------

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        """What was learnt, by predictor name: demos, instructions, field texts, model."""
        return {name: p.dump_state() for name, p in self.named_predictors()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over a dumped state. Raises KeyError or ValueError, and then changes nothing."""
        predictors = self.named_predictors()
        for name, predictor in predictors:
            if name not in state:
                raise KeyError(f"the saved state has nothing for predictor `{name}`")
            predictor.deepcopy().load_state(state[name])
        for name, predictor in predictors:
            predictor.load_state(state[name])

    def save(self, path: str | Path) -> None:
        """Write the state as JSON. Raises ValueError for another ending than `.json`."""
        target = Path(path)
        if target.suffix != ".json":
            raise ValueError(f"{target}: state is saved as JSON, end the name in .json")
        state = {**self.dump_state(), "metadata": {"dependency_versions": _versions()}}
        text = json.dumps(state, indent=2, ensure_ascii=False) + "\n"
        temporary = target.with_suffix(".json.tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, target)

    def load(self, path: str | Path) -> None:
        """Read a state that `save` wrote. Raises ValueError, naming the file, if it is none."""
        try:
            state = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as e:
            raise ValueError(f"{path}: not a saved state: {e}") from None
        self.load_state(state)

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
        """Run over many examples at once; a `Prediction` for each, None where it failed.

        With `return_failed_examples`: (predictions, failed examples, their exceptions). Threads, timeouts
        and stragglers are DSPy's names; here all rows run together and need none of them. Raises the last
        exception once `max_errors` rows have failed.
        """
        rows = [dict((e.inputs() if isinstance(e, Example) else e).items()) for e in examples]
        runner = find_runner()
        if isinstance(runner, BatchRunner):
            found = runner.run_many(self, rows)
        else:
            found = [_attempt(self, row) for row in rows]
        failed = [(e, r) for e, r in zip(examples, found, strict=True) if isinstance(r, Exception)]
        if max_errors is not None and len(failed) >= max_errors > 0:
            raise failed[-1][1]
        out = [None if isinstance(r, Exception) else r if isinstance(r, Prediction) else Prediction(r) for r in found]
        return (out, [e for e, _ in failed], [x for _, x in failed]) if return_failed_examples else out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(n for n, _ in self.named_predictors())})"


def _attempt(module: Module, row: dict[str, Any]) -> Any:
    try:
        return module(**row)
    except Exception as e:
        return e


def _members(module: Module) -> Iterator[tuple[str, Any]]:
    """(name, value) of attributes, those in lists, tuples and dicts too (one level)."""
    for name, value in vars(module).items():
        if isinstance(value, list | tuple):
            yield from ((f"{name}[{i}]", v) for i, v in enumerate(value))
        elif isinstance(value, dict):
            yield from ((f"{name}['{k}']", v) for k, v in value.items())
        else:
            yield name, value


def _put(module: Module, path: str, value: Any) -> None:
    """Set what `path` (as `named_parameters` writes it) names."""
    head, _, rest = path.partition(".")
    name, bracket, key = head.partition("[")
    if rest:
        target = dict(_members(module))[head]
        _put(target, rest, value)
    elif bracket:
        holder = getattr(module, name)
        index: Any = key[:-1].strip("'") if isinstance(holder, dict) else int(key[:-1])
        if isinstance(holder, tuple):
            holder = list(holder)
            setattr(module, name, holder)
        holder[index] = value
    else:
        setattr(module, name, value)


def _versions() -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("lampc")
    except PackageNotFoundError:
        own = "0"
    return {"python": platform.python_version(), "lampc": own}


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
