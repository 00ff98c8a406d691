"""Running the tests that a program declares: mocked calls answered as said, all others by the session.

Tests run in the reference interpreter, so they mean what the program means; mocked predictors need no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lampc.ir import Draw, Module, Sampling, Unit
from lampc.ir.adapters import Bound
from lampc.ir.prog import Predict, Py, Tool
from lampc.ir.unit import Test
from lampc.runtime.failures import RowFailure
from lampc.runtime.interp import entry_function, host_call, interpret
from lampc.runtime.types import TraceStep, Usage

if TYPE_CHECKING:
    from lampc.runtime.session import Session


@dataclass(slots=True)
class TestResult:
    """What became of a test. `failures` are the expectations that do not hold, or the error that ended it."""

    __test__ = False

    test: Test
    failures: list[str] = field(default_factory=list)
    outputs: Any = None
    trace: list[TraceStep] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures


def run_test(unit: Unit, test: Test, session: Session) -> TestResult:
    """Run one test. Raises the session's errors (a model that cannot be loaded), nothing else."""
    result = TestResult(test)
    if unit.dynamic is not None:
        result.failures.append(f"a program that cannot be traced has no mocks; {unit.dynamic.line()}")
        return result
    runner = _Mocked(session, unit.module, {m.target: m.values for m in test.mocks})
    with session.measured() as used:
        try:
            result.outputs = interpret(
                unit.module,
                dict(test.arguments),
                entry=test.program,
                runner=runner,
                seed=session.seed,
                row=test.name,
                base=session.base,
                trace=result.trace,
                host=runner.host,
            )
        except RowFailure as e:
            result.failures.append(f"the program failed: {e.row_error('')}")
            return result
    stats = _stats(runner, result.trace, used[0])
    for symbol, text in test.expects:
        try:
            holds = expectation(unit.module, symbol, result.outputs, stats, session)
        except RowFailure as e:
            result.failures.append(f"{text}: {e.row_error('')}")
            continue
        if not holds:
            result.failures.append(text)
    return result


def expectation(module: Module, symbol: str, outputs: Any, stats: dict[str, Any], session: Session) -> bool:
    """Whether an expectation holds. Raises RowFailure."""
    names = [a.hint for a in entry_function(module, symbol).body.args]
    value = interpret(module, dict(zip(names, (outputs, stats), strict=False)), entry=symbol, base=session.base)
    return bool(next(iter(value.values())) if isinstance(value, dict) else value)


def _stats(runner: _Mocked, trace: list[TraceStep], used: Usage) -> dict[str, Any]:
    """The record that `lampc.ir.unit.STATS` describes."""
    calls = Counter(step.predictor for step in trace)
    return {
        "calls": sum(calls.values()),
        "calls_of": {name: calls.get(name, 0) for name in runner.predictors},
        "prompt_tokens": used.prompt_tokens,
        "computed_tokens": used.computed_tokens,
        "cached_tokens": used.cached_tokens,
        "generated_tokens": used.generated_tokens,
        "retrievals": runner.retrievals,
        "tools": list(runner.tools),
    }


class _Mocked:
    """Answers mocked predictors, retrievers and tools as said, and passes the rest on."""

    def __init__(self, session: Session, module: Module, mocks: Mapping[str, Mapping[str, Any]]) -> None:
        self.session, self.module, self.mocks = session, module, mocks
        self.predictors = sorted({op.predictor.name for op in module.walk() if isinstance(op, Predict)})
        self.tools: list[str] = []
        self.retrievals = 0

    def predict(
        self, bound: Bound, inputs: dict[str, Any], sampling: Sampling, draw: Draw
    ) -> tuple[Mapping[str, Any], str]:
        if bound.name in self.mocks:
            return self.mocks[bound.name], "(mocked)"
        return self.session.predict(bound, inputs, sampling, draw)

    def retrieve(self, name: str, query: str, k: int) -> list[str]:
        self.retrievals += 1
        if name in self.mocks:
            passages: list[str] = self.mocks[name]["value"][:k]
            return passages
        return self.session.retriever(self.module, name).search(query, k)

    def host(self, op: Tool | Py, args: Sequence[Any], module: Module, base: Path) -> Any:
        """Call a tool or Python function unless it is mocked."""
        if isinstance(op, Tool):
            self.tools.append(op.tool.name)
            if op.tool.name in self.mocks:
                return self.mocks[op.tool.name]["value"]
        return host_call(op, args, module, base)
