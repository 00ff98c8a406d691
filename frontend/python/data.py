"""Data, metrics, optimisations and tests declared in a Python file, as the `.lmp` language declares them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from lampc.frontend.python.annotations import BadType, to_type
from lampc.frontend.python.codes import Untraceable, wrong
from lampc.frontend.python.collect import declared
from lampc.frontend.python.frames import Visible, here
from lampc.frontend.python.program import Program
from lampc.frontend.python.serials import serials
from lampc.frontend.python.source import source_of
from lampc.ir import STR, Field
from lampc.ir.builtins import BUILTINS
from lampc.ir.sources import parse
from lampc.ir.unit import Dataset, Mock

SPLITS = ("train", "dev", "test")
BUDGETS = ("calls", "tokens", "time", "money")


class Split:
    """One split of a dataset: `data.train`."""

    def __init__(self, data: str, name: str) -> None:
        self.data, self.name = data, name

    def pair(self) -> tuple[str, str]:
        return self.data, self.name


class Data:
    """A declared table; `.train`, `.dev` and `.test` name its splits. Made by `lampc.dataset(...)`."""

    def __init__(self, declaration: Dataset) -> None:
        self.declaration = declaration
        self.name = declaration.name
        self.train, self.dev, self.test = (Split(self.name, s) for s in SPLITS)
        declared(self)


def dataset(
    name: str, path: str, *, columns: str | Mapping[str, Any] = "", kind: str = "", split: str = "", seed: int = 0,
    train: int = 0, dev: int = 0, test: int = 0,
) -> Data:  # fmt: skip
    """Declare a table in a CSV or JSONL file.

    `columns` are `"text: str, label: Literal['a', 'b']"` or a dict of types. Rows are split by the column
    `split`, or by sizes (`train=60, dev=60`), drawn with `seed`. Raises CompileError (L0705).
    """
    kind = kind or {".csv": "csv", ".jsonl": "jsonl", ".json": "jsonl"}.get(Path(path).suffix, "")
    if kind not in ("csv", "jsonl"):
        raise wrong("L0705", f"dataset `{name}`: say kind='csv' or kind='jsonl' for `{path}`")
    sizes = tuple((s, n) for s, n in zip(SPLITS, (train, dev, test), strict=True) if n)
    if bool(sizes) == bool(split):
        raise wrong("L0705", f"dataset `{name}` is split by a column (split=...) or by sizes (train=60, dev=60)")
    return Data(Dataset(name, _columns(name, columns), kind, path, split, sizes, seed, here()))


def _columns(name: str, columns: str | Mapping[str, Any]) -> tuple[Field, ...]:
    if isinstance(columns, str):
        try:
            args = parse(f"def f({columns}): pass").body[0].args.args  # type: ignore[attr-defined]
        except SyntaxError:
            raise wrong("L0705", f"dataset `{name}`: columns cannot be read: `{columns}`") from None
        columns = {a.arg: ast.unparse(a.annotation) if a.annotation else "str" for a in args}
    try:
        return tuple(Field(n, STR if t is str else to_type(t, Visible())) for n, t in columns.items())
    except BadType as e:
        raise wrong("L0705", f"dataset `{name}`: {e}") from None


class MetricFunction:
    """A score. Made by `@lampc.metric`; calling it is calling the function."""

    def __init__(self, function: Callable[..., Any], fields: tuple[str, ...]) -> None:
        self.function, self.fields = function, fields
        self.name: str = function.__name__
        self.__name__ = self.name
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self.__module__ = function.__module__
        self.__qualname__ = function.__qualname__
        self.loc = here()
        self.serial = next(serials)
        declared(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)

    def compares(self) -> bool:
        """Whether it takes (gold, pred) rather than DSPy's (example, prediction, trace=None)."""
        names = list(inspect.signature(self.function).parameters)
        return len(names) == 2 and names[0] != "example" and "trace" not in names


@overload
def metric(function: Callable[..., Any], *, fields: Sequence[str] = ()) -> MetricFunction: ...


@overload
def metric(function: None = None, *, fields: Sequence[str] = ()) -> Callable[[Callable[..., Any]], MetricFunction]: ...


def metric(function: Callable[..., Any] | None = None, *, fields: Sequence[str] = ()) -> Any:
    """Declare a metric: a function of (gold, pred), or DSPy's (example, prediction, trace=None).

    `fields` names the column and the output that are compared; by default those of one name.
    """
    if function is None:
        return lambda f: metric(f, fields=fields)
    return MetricFunction(function, tuple(fields))


class Wish:
    """A declared optimisation, names still being objects."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts
        self.loc = here()
        declared(self)


def optimize(
    program: Any, *steps: Any, train: Split, select: Split | None = None, metric: Any,
    budget: Mapping[str, float] | None = None, save: str = "", resume: str = "",
) -> None:  # fmt: skip
    """Declare an optimisation of `program`.

    Steps are `("bootstrap", {"max_bootstrapped_demos": 4})`, names, or optimizer objects. `budget` bounds
    `calls`, `tokens`, `time` (seconds) or `money`.
    """
    Wish(
        program=program, steps=steps, train=train, select=select or train, metric=metric,
        budget=dict(budget or {}), save=save, resume=resume,
    )  # fmt: skip


class Case:
    """A declared test. `expects` are functions of (outputs, stats)."""

    def __init__(
        self, name: str, program: Any, arguments: dict[str, Any], mocks: tuple[Mock, ...], expects: Sequence[Any]
    ) -> None:
        self.name, self.program, self.arguments, self.mocks, self.expects = name, program, arguments, mocks, expects
        self.loc = here()
        declared(self)


def case(
    name: str, program: Any, inputs: Mapping[str, Any], *, mock: Mapping[str, Any] | None = None, expect: Any
) -> None:
    """Declare a test (`lampc.test`): run `program` on `inputs`, with predictors, tools and retrievers mocked by name.

    A predictor is mocked by a dict of outputs, a tool or retriever by its answer. `expect` is a function
    (or several) of (outputs, stats): `lambda outputs, stats: outputs.label == "spam"`.
    """
    mocks = tuple(Mock(n, v if isinstance(v, dict) else {"value": v}) for n, v in (mock or {}).items())
    expects = [expect] if callable(expect) else list(expect)
    Case(name, program, dict(inputs), mocks, expects)


def program_name(program: Any) -> str:
    """The function's name of a program, module object or name."""
    if isinstance(program, str):
        return program
    return program.name if isinstance(program, Program) else type(program).__name__


def source_text(function: Callable[..., Any]) -> str:
    """The expression of a lambda, or the name of a function."""
    try:
        statement = source_of(function).node.body[-1]
    except Untraceable:
        return function.__name__
    value = statement.value if isinstance(statement, ast.Return) else None
    return ast.unparse(value) if value is not None else function.__name__


def normalize(value: Any) -> str:
    """Lower case, no punctuation, no articles, single spaces."""
    return str(BUILTINS["normalize"].run(value))


def exact_match(gold: Any, pred: Any) -> float:
    """1.0 if equal when normalized."""
    return float(BUILTINS["exact_match"].run(gold, pred))


def f1(gold: Any, pred: Any) -> float:
    """Overlap of words, 0 to 1."""
    return float(BUILTINS["f1"].run(gold, pred))
