"""Optimizers by the names that source files use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from lampc.ir.unit import StepFinding
from lampc.passes.optimize.better_together import BetterTogether
from lampc.passes.optimize.bootstrap import BootstrapFewShot
from lampc.passes.optimize.bootstrap_optuna import BootstrapOptuna
from lampc.passes.optimize.cascade import Cascade
from lampc.passes.optimize.copro import COPRO
from lampc.passes.optimize.finetune import BootstrapFinetune
from lampc.passes.optimize.fuse import Fuse
from lampc.passes.optimize.gepa import GEPA
from lampc.passes.optimize.infer_rules import InferRules
from lampc.passes.optimize.instructions import InstructionSearch
from lampc.passes.optimize.joint import JointSearch
from lampc.passes.optimize.labeled import LabeledFewShot
from lampc.passes.optimize.mipro import MIPROv2
from lampc.passes.optimize.options import Misfit, fitted, near, options, said
from lampc.passes.optimize.parameters import ParameterSearch
from lampc.passes.optimize.protocol import OptimizeError, Strategy
from lampc.passes.optimize.random_demos import RandomDemos
from lampc.passes.optimize.random_search import RandomSearch
from lampc.passes.optimize.simba import SIMBA

OPTIMIZERS: dict[str, type[Strategy]] = {
    c.name: c
    for c in (
        BetterTogether,
        BootstrapFewShot,
        BootstrapFinetune,
        BootstrapOptuna,
        COPRO,
        Cascade,
        Fuse,
        GEPA,
        InferRules,
        InstructionSearch,
        JointSearch,
        LabeledFewShot,
        MIPROv2,
        ParameterSearch,
        RandomDemos,
        RandomSearch,
        SIMBA,
    )
}
"""Strategy class by name."""


def optimizer(name: str, args: Mapping[str, Any], base: Path = Path(".")) -> Strategy:
    """The strategy `name` with the given options. Raises OptimizeError naming what is unknown or mistyped."""
    cls, values, found = _read(name, args)
    if cls is None or found:
        first = found[0]
        raise OptimizeError(f"{first.message}{'; ' if first.help else ''}{first.help}")
    if "base" in get_type_hints(cls):
        values["base"] = base
    made: Strategy = cls(**values)
    return made


def optimizers(
    steps: Iterable[tuple[str, Mapping[str, Any] | Iterable[tuple[str, Any]]]], base: Path = Path(".")
) -> tuple[Strategy, ...]:
    """The strategies of an `optimize ... with a(x: 1), b(...)` declaration. Raises OptimizeError."""
    return tuple(optimizer(name, dict(args), base) for name, args in steps)


def findings(name: str, args: Mapping[str, Any]) -> list[StepFinding]:
    """What is wrong with a step of an optimisation: frontends report it at its place. Of a strategy that names others
    in a row (`steps`), with these, too."""
    cls, values, found = _read(name, args)
    steps = getattr(cls, "steps", None)
    if cls is not None and callable(steps) and not found:
        try:
            steps(cls(**values))
        except OptimizeError as e:
            return [StepFinding("optimizer", str(e))]
    return found


def _read(name: str, args: Mapping[str, Any]) -> tuple[type[Strategy] | None, dict[str, Any], list[StepFinding]]:
    """The class, the options as it takes them, and what is wrong."""
    cls = OPTIMIZERS.get(name)
    if cls is None:
        help = near(name, OPTIMIZERS) or f"there are {', '.join(sorted(OPTIMIZERS))}"
        return None, {}, [StepFinding("optimizer", f"there is no optimizer `{name}`", help)]
    known = options(cls)
    values: dict[str, Any] = {}
    found: list[StepFinding] = []
    for key, value in args.items():
        if key not in known:
            help = near(key, known) or (f"it has {', '.join(sorted(known))}" if known else "it has none")
            found.append(StepFinding("option", f"{name} has no option `{key}`", help, key))
            continue
        try:
            values[key] = fitted(value, known[key].type)
        except Misfit as e:
            found.append(StepFinding("value", f"{name}: `{key}` is {e.wanted}, got {_shown(value)}", e.help, key))
    found += [
        StepFinding("optimizer", f"{name} needs its option `{option.name}`: {said(option.type)}", "", option.name)
        for option in known.values()
        if option.required and option.name not in args
    ]
    return cls, values, found


def _shown(value: Any) -> str:
    words = {True: "true", False: "false", None: "null"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
