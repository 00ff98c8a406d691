"""Steps, options and budgets of an optimisation as the command line says them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.runtime.cli.failure import CommandError

if TYPE_CHECKING:
    from lampc.runtime.cells import Budget

Step = tuple[str, dict[str, Any]]
TRIALS = ("num_trials", "trials", "num_candidate_programs", "max_full_evals", "max_steps", "num_candidates", "depth")
"""What `--trials` sets: the first of these options that an optimizer has."""
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_TIMES = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def steps_of(
    declared: Sequence[tuple[str, Mapping[str, Any]]], names: Sequence[str], given: Sequence[str], trials: int | None
) -> list[Step]:
    """The declared steps, or those of `names` (`--optimizer`), with the options of `given` (`-o`) and `--trials`.

    Raises CommandError.
    """
    from lampc.passes.optimize import OPTIMIZERS
    from lampc.passes.optimize.options import near, options

    steps: list[Step] = [(n, {}) for n in names] or [(n, dict(args)) for n, args in declared]
    for name, _ in steps:
        if name not in OPTIMIZERS:
            guess = near(name, OPTIMIZERS) or f"there are {', '.join(sorted(OPTIMIZERS))}"
            raise CommandError(f"--optimizer {name}: there is no such optimizer; {guess}")
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"-o {text}: write name=value, or optimizer.name=value")
        name, at = _place(key, steps, text)
        steps[at][1][name] = _value(value, options(OPTIMIZERS[steps[at][0]])[name].type, text)
    if trials is not None:
        _set_trials(steps, trials)
    return steps


def _place(key: str, steps: Sequence[Step], text: str) -> tuple[str, int]:
    """Which option of which step `key` means: `k` of the only step that has it, or `labeled.k`."""
    from lampc.ir.diag import there_are
    from lampc.passes.optimize import OPTIMIZERS
    from lampc.passes.optimize.options import near, options

    owner, dot, name = key.rpartition(".")
    among = [i for i, (n, _) in enumerate(steps) if not dot or n == owner]
    if not among:
        raise CommandError(f"-o {text}: no step is `{owner}`; steps: {', '.join(n for n, _ in steps)}")
    found = [i for i in among if name in options(OPTIMIZERS[steps[i][0]])]
    if not found:
        known = list(dict.fromkeys(o for i in among for o in options(OPTIMIZERS[steps[i][0]])))
        guess = near(name, known) or there_are(known)
        raise CommandError(f"-o {text}: {' and '.join(steps[i][0] for i in among)} has no option `{name}`; {guess}")
    if len(found) > 1 and not dot:
        raise CommandError(f"-o {text}: several steps have `{name}`: say which, as {steps[found[0]][0]}.{name}=...")
    return name, found[0]


def _value(text: str, wanted: Any, said: str) -> Any:
    """A value: a text for an option of texts (in quotes, as JSON has it, or without), else JSON, else a text; `@file`
    is the lines of a file, or its JSON."""
    if text.startswith("@") and len(text) > 1:
        path = Path(text[1:])
        try:
            content = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            why = e.strerror if isinstance(e, OSError) else e
            raise CommandError(f"-o {said}: {path} cannot be read: {why}") from None
        try:
            return json.loads(content) if path.suffix == ".json" else content.splitlines()
        except ValueError as e:
            raise CommandError(f"-o {said}: {path} is not JSON: {e}") from None
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    if wanted is str and not quoted:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _set_trials(steps: Sequence[Step], trials: int) -> None:
    from lampc.passes.optimize import OPTIMIZERS
    from lampc.passes.optimize.options import options

    if trials < 1:
        raise CommandError(f"--trials {trials}: at least one")
    found = False
    for name, args in steps:
        known = options(OPTIMIZERS[name])
        option = next((o for o in TRIALS if o in known), None)
        if option is None:
            continue
        found = True
        if args.get("auto"):
            raise CommandError(f"--trials {trials}: `auto` of {name} says how many there are; leave one of them out")
        args[option] = trials
        if "auto" in known and known["auto"].default and "auto" not in args:
            args["auto"] = None  # sizes that are named and those of a preset exclude each other
            if option == "num_trials" and "num_candidates" in known:
                args.setdefault("num_candidates", max(2, trials // 2))
    if not found:
        raise CommandError(f"--trials: {' and '.join(n for n, _ in steps)} has no number of trials")


def budget_of(declared: Budget, given: Sequence[str]) -> Budget:
    """The declared budget with the bounds that `--budget calls=10k,time=15m` names. Raises CommandError."""
    from dataclasses import replace

    from lampc.runtime.cells import Budget

    pairs: dict[str, float] = {}
    for text in [part for many in given for part in many.split(",") if part.strip()]:
        name, equals, value = (p.strip() for p in text.partition("="))
        if not equals:
            raise CommandError(f"--budget {text}: write calls=10k,tokens=2M,time=15m,money=1.50")
        pairs[name] = _amount(value, _TIMES if name in ("time", "seconds") else _UNITS, text)
    try:
        wanted = Budget.of(pairs.items())
    except ValueError as e:
        raise CommandError(f"--budget: {e}") from None
    bounds = {n: getattr(wanted, n) for n in Budget.__dataclass_fields__ if getattr(wanted, n)}
    return replace(declared, **bounds)


def _amount(text: str, units: Mapping[str, float], said: str) -> float:
    digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = text[len(digits) :]
    try:
        value = float(digits.replace("_", "")) * units[unit]
    except (ValueError, KeyError):
        known = ", ".join(u for u in units if u)
        raise CommandError(f"--budget {said}: a number is needed, with a unit if you like ({known})") from None
    if value <= 0:
        raise CommandError(f"--budget {said}: a budget is above 0")
    return value


def listing() -> str:
    """All optimizers with what they do, one a line."""
    import inspect

    from lampc.passes.optimize import OPTIMIZERS

    wide = max(map(len, OPTIMIZERS))
    lines = []
    for name, cls in sorted(OPTIMIZERS.items()):
        module = inspect.getmodule(cls)
        first = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")
        lines.append(f"{name:<{wide}}  {first}")
    return "\n".join(lines)


def described(name: str) -> str:
    """An optimizer: what it does, and its options with types and defaults."""
    import inspect

    from lampc.passes.optimize import OPTIMIZERS
    from lampc.passes.optimize.options import options, said

    cls = OPTIMIZERS[name]
    about = (inspect.getdoc(inspect.getmodule(cls)) or "").partition("\n\n")[0].replace("\n", " ")
    lines = [f"{name}  [an optimizer]", "", about, "", inspect.cleandoc(cls.__doc__ or "")]
    found = options(cls)
    wide = max(map(len, found), default=0)
    lines += ["", "options:"] if found else []
    for o in found.values():
        default = "needed" if o.required else f"default {json.dumps(o.default, default=str)}"
        lines.append(f"  {o.name:<{wide}}  {said(o.type)}; {default}")
    lines += ["", f"in a source: optimize Program with {name}(option: value) on data.train select data.dev by metric;"]
    lines += [f"on the command line: lampc optimize FILE --optimizer {name} -o option=value"]
    return "\n".join(lines)
