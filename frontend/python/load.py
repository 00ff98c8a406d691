"""`load_python`: a `.py` file into a Unit, with the declarations made in it."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from lampc.frontend.python.codes import Untraceable, wrong
from lampc.frontend.python.collect import collecting
from lampc.frontend.python.context import Context
from lampc.frontend.python.data import BUDGETS, Case, Data, MetricFunction, Split, Wish, program_name, source_text
from lampc.frontend.python.module import Module
from lampc.frontend.python.predict import ChainOfThought, Predict
from lampc.frontend.python.program import Program
from lampc.frontend.python.retrieval import Retriever
from lampc.frontend.python.tools.tool import Tool
from lampc.frontend.python.tracing import build
from lampc.ir import ANY, CompileError, Span, Unit
from lampc.ir.hostref import host_ref
from lampc.ir.unit import STATS, Metric, Optimize, Test


def load_python(path: str, program: str | None = None) -> Unit:
    """The Unit of a file: the program that is named, else its only one, or the one called `main`.

    Raises CompileError (L0705) if it has none or several, and for what the file itself raises.
    """
    module, found = execute(path)
    chosen = choose(module, found, path, program)
    unit = build(chosen, lambda context: _declarations(context, found, module), declared=True)
    unit.path = path
    return unit


def execute(path: str) -> tuple[ModuleType, list[Any]]:
    """Run a file as a module; gives it and what was declared meanwhile. Raises CompileError."""
    file = Path(path)
    name = file.stem
    if not file.is_file():
        raise wrong("L0705", f"there is no file `{path}`", Span(path, 1))
    if name in sys.modules and not _is(sys.modules[name], file):
        name = f"lampc_file_{name}"  # the name of another module must stay free
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise wrong("L0705", f"`{path}` is not a Python file", Span(path, 1))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(file.parent.resolve())
    sys.path.insert(0, folder)
    try:
        with collecting() as found:
            spec.loader.exec_module(module)
    except CompileError:
        raise
    except (Exception, SystemExit) as e:
        frames = [f for f in traceback.extract_tb(e.__traceback__) if f.filename == str(file)]
        line = frames[-1].lineno if frames else getattr(e, "lineno", None)
        raise wrong("L0705", f"the file raised {type(e).__name__}: {e}", Span(path, line or 1)) from e
    finally:
        sys.path.remove(folder)
    return module, found


def _is(module: ModuleType, file: Path) -> bool:
    own = getattr(module, "__file__", None)
    return own is not None and Path(own).resolve() == file.resolve()


def choose(module: ModuleType, found: list[Any], path: str, name: str | None = None) -> Any:
    """The program of a loaded file, `name` if it has one of that name."""
    own = {n: v for n, v in vars(module).items() if not n.startswith("_")}
    programs: dict[str, Any] = {v.name: v for v in found if isinstance(v, Program)}
    programs |= {n: v for n, v in own.items() if _is_program(v)}
    inner = {id(m) for p in programs.values() if isinstance(p, Module) for _, m in p.named_sub_modules() if m is not p}
    programs = {n: p for n, p in programs.items() if id(p) not in inner}
    if not programs:
        classes = [v for v in own.values() if _is_program_class(v, module)]
        if len(classes) == 1 and not _needs_arguments(classes[0]):
            return classes[0]()
    if name in programs:
        return programs[name]
    if "main" in programs:
        return programs["main"]
    if len({id(p) for p in programs.values()}) == 1:
        return next(iter(programs.values()))
    wished = {program_name(w.parts["program"]) for w in found if isinstance(w, Wish)}
    chosen = {n: p for n, p in programs.items() if program_name(p) in wished}
    if len(chosen) == 1:
        return next(iter(chosen.values()))
    if not programs:
        help_ = "write a function under @lampc.program, or make an object of a lampc.Module class"
        raise wrong("L0705", "the file has no program", Span(path, 1), help_)
    several = f"several programs ({', '.join(programs)}): choose one by --program, or call one of them `main`"
    raise wrong("L0705", f"the file has {several}", Span(path, 1))


def _is_program(value: Any) -> bool:
    return isinstance(value, Program) or (isinstance(value, Module) and not isinstance(value, Predict | ChainOfThought))


def _is_program_class(value: Any, module: ModuleType) -> bool:
    return isinstance(value, type) and issubclass(value, Module) and value.__module__ == module.__name__


def _needs_arguments(cls: type) -> bool:
    parameters = list(inspect.signature(cls).parameters.values())
    return any(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _declarations(context: Context, found: list[Any], module: ModuleType) -> Callable[[Unit], None]:
    """Trace metrics and expectations into the module's functions; the rest is put into the unit after."""
    later: list[Callable[[Unit], None]] = []
    number = 0
    for thing in found:
        match thing:
            case Retriever():
                if thing.name:
                    context.retriever(thing)
            case Tool():
                context.use(thing)
            case Data():
                later.append(lambda u, d=thing: u.datasets.update({d.name: d.declaration}))  # type: ignore[misc]
            case MetricFunction():
                score = _metric(context, thing)
                later.append(lambda u, m=score: u.metrics.update({m.name: m}))  # type: ignore[misc]
            case Wish():
                later.append(lambda u, w=thing: u.optimizes.append(_optimize(w, u)))  # type: ignore[misc]
    for thing in found:
        if isinstance(thing, Case):
            number += 1
            later.append(_test(context, thing, number))

    def fill(unit: Unit) -> None:
        for put in later:
            put(unit)

    return fill


def _metric(context: Context, m: MetricFunction) -> Metric:
    """A function of the module where the metric can be traced, else a host reference."""
    if m.compares():
        try:
            context.trace_raw(m.function, m.name, {})
            return Metric(m.name, m.name, m.fields, False, m.loc)
        except Untraceable:
            pass
    return Metric(m.name, host_ref(m.function).target, m.fields, True, m.loc)


def _optimize(w: Wish, unit: Unit) -> Optimize:
    p = w.parts
    steps = tuple(_step(s, w.loc) for s in p["steps"])
    measure = p["metric"] if isinstance(p["metric"], str) else getattr(p["metric"], "name", "")
    if not measure:
        raise wrong("L0705", "the metric of an optimisation is declared with @lampc.metric, or a name", w.loc)
    for split in (p["train"], p["select"]):
        if not isinstance(split, Split) or split.data not in unit.datasets:
            raise wrong("L0705", "rows are given as data.train or data.dev of a lampc.dataset(...)", w.loc)
    unknown = [b for b in p["budget"] if b not in BUDGETS]
    if unknown:
        raise wrong("L0705", f"there is no budget of `{unknown[0]}`; budgets bound {', '.join(BUDGETS)}", w.loc)
    budget = tuple((n, float(v)) for n, v in p["budget"].items())
    name = program_name(p["program"])
    train, select = p["train"].pair(), p["select"].pair()
    return Optimize(name, steps, train, select, measure, budget, p["save"], p["resume"], w.loc)


def _step(step: Any, at: Span) -> tuple[str, tuple[tuple[str, Any], ...]]:
    if isinstance(step, str):
        return step, ()
    if isinstance(step, tuple) and len(step) == 2 and isinstance(step[1], dict):
        return step[0], tuple(step[1].items())
    if hasattr(step, "step"):
        name, options = step.step()
        return name, tuple(options.items())
    raise wrong("L0705", f"{step!r} is no step of an optimisation: write ('bootstrap', {{...}})", at)


def _test(context: Context, case: Case, number: int) -> Callable[[Unit], None]:
    said = []
    name = program_name(case.program)
    outputs = next((f.returns for f in context.done.values() if f.symbol == name), ANY)
    for i, function in enumerate(case.expects, 1):
        symbol = f"test{number}.expect{i}"
        try:
            context.trace_raw(function, symbol, {"outputs": outputs, "stats": STATS})
        except Untraceable as e:
            label = e.diagnostic.primary
            text = f"test `{case.name}`: an expectation cannot be traced: {e.diagnostic.message}"
            raise wrong("L0705", text, label.span if label else case.loc) from None
        said.append((symbol, source_text(function)))
    arguments = tuple(case.arguments.items())
    made = Test(case.name, case.mocks, name, arguments, tuple(said), case.loc)
    return lambda unit: unit.tests.append(made)
