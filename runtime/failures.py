"""Failures of one row: what went wrong, at which op. They end the row, never the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lampc.frontend.python.values.plain import plain
from lampc.ir.adapters import Bound, ParseFailure
from lampc.ir.adapters.registry import adapter_name
from lampc.ir.adapters.values import unwritable
from lampc.ir.hostvalues import completed, is_default
from lampc.ir.types import ANY, Maybe, Record, Type, mismatch, spelled, type_of
from lampc.runtime.types import RowError, TraceStep

if TYPE_CHECKING:
    from lampc.ir import Op, Signature
    from lampc.ir.prog import Func
    from lampc.runtime.models import Answer


class RowFailure(Exception):
    """A row cannot go on. `kind` names the class of error (`parse`, `model`, `host`, `assert`, `value`)."""

    def __init__(self, message: str, op: Op | None = None, kind: str = "value") -> None:
        super().__init__(message)
        self.message = message
        self.op = op
        self.kind = kind

    def at(self, op: Op) -> RowFailure:
        """The same failure, placed at `op` unless it has a place already."""
        self.op = self.op or op
        return self

    def row_error(self, row: str) -> RowError:
        span = self.op.loc.origin() if self.op is not None else None
        return RowError(self.message, str(span) if span else "", row, self.kind, getattr(self, "text", ""))


class UnreadableAnswer(RowFailure, ParseFailure):
    """A model's answer to the call `bound` could not be read in the layout `layout`; `text` is all that it wrote,
    `inputs` what it was asked with. `cut` is where its tokens were at an end, see `cut_of`."""

    def __init__(
        self,
        bound: Bound,
        layout: str,
        failure: ParseFailure,
        inputs: Mapping[str, Any],
        op: Op | None = None,
        cut: str = "",
    ) -> None:
        told = _bounded(bound.signature, cut)
        message = f"{bound.name}: {failure}; the model wrote {failure.text[:200]!r}{told}"
        ParseFailure.__init__(self, message, failure.text, failure.partial, adapter_name=adapter_name(layout))
        self.signature, self.predictor = bound.signature, bound.name
        self.message, self.op, self.kind = message, op, "parse"
        self.inputs = dict(inputs)

    def step(self) -> TraceStep:
        """The call as a step of a trace, without outputs."""
        span = self.op.loc.origin() if self.op is not None else None
        return TraceStep(self.predictor, self.inputs, {}, self.text, str(span or ""))


class Cut(str):
    """Text that a model would have gone on with; `cut` says where its tokens were at an end."""

    __slots__ = ("cut",)
    cut: str

    def __new__(cls, text: str, cut: str) -> Cut:
        made = super().__new__(cls, text)
        made.cut = cut
        return made


def cut_of(answer: Answer) -> str:
    """Where an answer's tokens were at an end before it was; empty if they were not."""
    if answer.finish != "length":
        return ""
    count = answer.generated_tokens
    return f"after {count} token{'s' * (count != 1)}" if count else "at the bound of its tokens"


def _bounded(signature: Signature, cut: str) -> str:
    """Where an answer was cut, or may have been, and how it can be longer."""
    bounds = [f.max_tokens for f in signature.outputs]
    said = ", ".join(f"`{f.name}` {f.max_tokens}" for f in signature.outputs if f.max_tokens)
    if not cut:
        return f" (an answer is cut at the bounds of its outputs, in tokens: {said})" if said else ""
    how = [f"the bounds of outputs ({said})"] if said else []
    if not all(bounds):
        how.append("`max_tokens` of the call or the model (in .lmp, `@sample(max_tokens: N)`)")
    return f" (it was cut {cut}: raise {' or '.join(how)})"


def unwritable_output(value: Mapping[str, Any], *, objects: bool = False) -> str | None:
    """Why outputs, by name, cannot be kept as JSON, or None. A row of data may not hold infinite numbers, so neither
    may what a program gives; Python objects are the business of whoever writes outputs (`objects`)."""
    found = (unwritable(v, name, objects=objects) for name, v in value.items())
    why = next(filter(None, found), None)
    return f"output {why}" if why else None


def unfit(func: Func, value: Any) -> str | None:
    """Why what a function gives is not of the type that it declares, or None. What its ops are known to give is not
    looked at again."""
    returns, known = func.returns, func.body.terminator
    given = known.operands[0].type if known is not None else ANY
    if returns == given:
        return None
    if isinstance(returns, Record) and isinstance(given, Record):
        returns = Record(tuple((n, t) for n, t in returns.fields if given.get(n) != t), returns.host)
    return unfit_output(func.symbol, value, returns)


def as_declared(func: Func, value: Any) -> Any:
    """What a function gives, with the defaults of the classes that it declares."""
    end = func.body.terminator
    return value if end is not None and func.returns == end.operands[0].type else completed(value, func.returns)


def result_as_declared(outputs: Any, returns: Type) -> Any:
    """The same of a program that ran as plain Python."""
    return completed(outputs, _alone(returns) if _is_alone(outputs, returns) else returns)


def unfit_output(program: str, value: Any, returns: Type) -> str | None:
    """Why what a program returned is not of the type that it declares, or None."""
    if not isinstance(returns, Record) or not isinstance(value, dict):
        why = mismatch(value, returns)
        return why and f"`{program}` returned a value of the wrong type: {why}"
    for name, t in returns.fields:
        if name not in value and not isinstance(t, Maybe) and t != ANY:
            return f"`{program}` declares the output `{name}: {spelled(t)}`, and did not return it"
        if (why := mismatch(value.get(name), t)) and not is_default(returns.host, name, value.get(name)):
            return f"output `{name}` of `{program}` is declared {spelled(t)}: {why}, of type {_kind(value.get(name))}"
    return None


def unfit_result(program: str, outputs: Mapping[str, Any], returns: Type) -> str | None:
    """The same of a program that ran as plain Python: a plain value, or an object, is the output `result`."""
    if returns == ANY:
        return None
    named = _named(outputs)
    single = _alone(returns)
    if _is_alone(named, returns):
        return unfit_output(program, named, single)
    found = unfit_output(program, named, returns)
    return found if found and unfit_output(program, named, single) else None


def _alone(returns: Type) -> Record:
    return Record((("result", returns),))


def _is_alone(outputs: Mapping[str, Any], returns: Type) -> bool:
    """Whether outputs are one plain value, or object."""
    return list(outputs) == ["result"] and not (isinstance(returns, Record) and returns.get("result"))


def _named(value: Any) -> Any:
    """A value whose keys are texts, as JSON has it."""
    if isinstance(value, dict):
        return {next(iter(plain({k: None}))): _named(v) for k, v in value.items()}
    return [_named(v) for v in value] if isinstance(value, list) else value


def _kind(value: Any) -> str:
    try:
        return spelled(type_of(value))
    except TypeError:
        return type(value).__name__
