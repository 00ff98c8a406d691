"""What a source file gives besides its module: data, metrics, optimisations and tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lampc.ir.content import Field
from lampc.ir.core import Module
from lampc.ir.diag import Diagnostic
from lampc.ir.loc import UNKNOWN, Loc
from lampc.ir.types import ANY, INT, STR, ListOf, Record

STATS = Record(
    (
        ("calls", INT),
        ("calls_of", ANY),
        ("prompt_tokens", INT),
        ("computed_tokens", INT),
        ("cached_tokens", INT),
        ("generated_tokens", INT),
        ("retrievals", INT),
        ("tools", ListOf(STR)),
    )
)
"""What an expectation of a test may ask about its run: LM calls (all, and `calls_of.<predictor>`), tokens,
retrievals, and the names of the tools that were called, in order."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A labelled table: `kind` is `csv` or `jsonl`. `split_column` names the column that holds
    train/dev/test; else `sizes` gives the rows of each split, drawn with `seed`."""

    name: str
    columns: tuple[Field, ...]
    kind: str
    path: str
    split_column: str = ""
    sizes: tuple[tuple[str, int], ...] = ()
    seed: int = 0
    loc: Loc = UNKNOWN


@dataclass(frozen=True, slots=True)
class Metric:
    """A score of (gold, pred): `function` is a symbol of the module or a host reference `module:qualname`.

    `params` are (gold field, predicted field) names; by default the dataset's labels against the outputs
    of the same name.
    """

    name: str
    function: str
    params: tuple[str, ...] = ()
    is_host: bool = False
    loc: Loc = UNKNOWN


@dataclass(frozen=True, slots=True)
class Optimize:
    """`optimize MODULE with OPTIMIZER(args), ... on DATA.split select DATA.split by METRIC`."""

    program: str
    steps: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
    train: tuple[str, str]
    select: tuple[str, str]
    metric: str
    budget: tuple[tuple[str, float], ...] = ()
    save: str = ""
    resume: str = ""
    loc: Loc = UNKNOWN


@dataclass(frozen=True, slots=True)
class StepFinding:
    """What is wrong with a step of an optimisation: its name (`optimizer`), the name of the option `option`, or its
    `value`."""

    kind: Literal["optimizer", "option", "value"]
    message: str
    help: str = ""
    option: str = ""


StepCheck: TypeAlias = Callable[[str, Mapping[str, Any]], Sequence[StepFinding]]
"""Says what is wrong with a step (its name, its options). Frontends are handed one: they know no optimizers."""


@dataclass(frozen=True, slots=True)
class Mock:
    """In a test, a predictor that answers with fixed outputs, or a tool or retriever that answers with
    `values["value"]`."""

    target: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Test:
    """`test "name" { mock ...; run ...; expect ...; }`. Each expectation is a function of the module that
    takes (outputs, stats) and gives a bool, with its source text."""

    name: str
    mocks: tuple[Mock, ...]
    program: str
    arguments: tuple[tuple[str, Any], ...]
    expects: tuple[tuple[str, str], ...]
    loc: Loc = UNKNOWN
    __test__ = False  # not a test of pytest's


@dataclass(slots=True)
class Unit:
    """A compiled source: the module and everything declared beside it. `entry` is the function run by default.

    `retrievers` are the stores that objects of a Python program bring, by symbol.

    A Python program that could not be traced has `dynamic`, a note that says which line and why, and
    `host_entry`, which runs one row (keyword arguments in, outputs by name out); its module then holds the
    definitions only. One whose outputs by name are not all that it returns in Python is not `exact`;
    of one that returns a plain value, `single` is the output that it is. `surroundings` tells apart programs of the
    same graph that hold other objects.
    """

    module: Module
    entry: str
    path: str = ""
    datasets: dict[str, Dataset] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    optimizes: list[Optimize] = field(default_factory=list)
    tests: list[Test] = field(default_factory=list)
    warnings: list[Any] = field(default_factory=list)
    dynamic: Diagnostic | None = None
    host_entry: Callable[..., dict[str, Any]] | None = None
    retrievers: dict[str, Any] = field(default_factory=dict)
    exact: bool = True
    single: str = ""
    surroundings: str = ""
