"""`Refine`: attempts of a module, with advice to its predictors between them.

The texts of the call that gives advice are DSPy 3.4's.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from lampc.frontend.python.fields import InputField, OutputField
from lampc.frontend.python.module import Module
from lampc.frontend.python.modules.best_of_n import Reward, attempt_sampling, best, kept, raise_beyond
from lampc.frontend.python.modules.hints import hinting
from lampc.frontend.python.predict import Predict
from lampc.frontend.python.signature import Signature
from lampc.ir.adapters.wording import described
from lampc.ir.runner import gather
from lampc.ir.settings import settings
from lampc.ir.sources import source_of


class OfferFeedback(Signature):
    """
    In the discussion, assign blame to each module that contributed to the final reward being below the threshold, if
    any. Then, prescribe concrete advice of how the module should act on its future input when we retry the process, if
    it were to receive the same or similar inputs. If a module is not to blame, the advice should be N/A.
    The module will not see its own history, so it needs to rely on entirely concrete and actionable advice from you
    to avoid the same mistake on the same or similar inputs.
    """

    program_code: str = InputField(desc="The code of the program that we are analyzing")
    modules_defn: str = InputField(desc="The definition of each module in the program, including its I/O")
    program_inputs: str = InputField(desc="The inputs to the program that we are analyzing")
    program_trajectory: str = InputField(desc="The trajectory of the program's execution, showing each module's I/O")
    program_outputs: str = InputField(desc="The outputs of the program that we are analyzing")
    reward_code: str = InputField(desc="The code of the reward function that we are analyzing")
    target_threshold: float = InputField(desc="The target threshold for the reward function")
    reward_value: float = InputField(desc="The reward value assigned to the program's outputs")
    module_names: list[str] = InputField(desc="The names of the modules in the program, for which we seek advice")
    discussion: str = OutputField(desc="Discussing blame of where each module went wrong, if it did")
    advice: dict[str, str] = OutputField(
        desc="For each module, describe very concretely, in this order: the specific scenarios in which it has made "
        "mistakes in the past and what each mistake was, followed by what it should do differently in that kind of"
        "scenario in the future. If the module is not to blame, write N/A."
    )


class Refine(Module):
    """Up to `N` attempts of `module`: the first whose reward reaches `threshold`, else the one of highest reward.

    If the first attempt does not reach it, one call writes advice for each predictor, and the other attempts run
    together with it, as forks of one prefix: the advice stands behind the inputs, so what is before it is shared.
    Under the setting `compat="dspy-3.4"` attempts run one after another, each with advice from the one before, which
    then is a described input. Attempts are drawn at temperature 1; more than `fail_count` failures end the call.
    """

    def __init__(
        self, module: Module, N: int, reward_fn: Reward, threshold: float, fail_count: int | None = None
    ) -> None:
        super().__init__()
        if N < 1:
            raise ValueError(f"Refine makes at least one attempt, not {N}")
        self.module = module
        self.reward_fn = reward_fn
        self.threshold = threshold
        self.N = N
        self.fail_count = fail_count or N
        self.module_code = _source(type(module))
        self.reward_fn_code = _source(reward_fn)

    def forward(self, **kwargs: Any) -> Any:
        theirs = settings.compat.startswith("dspy")
        found: list[Any] = []
        advice: Mapping[str, str] | None = None
        while len(found) < self.N and not self._reached(found):
            first = len(found)
            count = 1 if theirs or not found else self.N - first
            pieces = [lambda i=i, a=advice: self._attempt(i, kwargs, a) for i in range(first, first + count)]
            found += gather(pieces, lambda out: best(out, self.threshold))
            raise_beyond(found, self.fail_count)
            if len(found) < self.N and not self._reached(found) and not isinstance(found[-1], Exception):
                advice = self._feedback(found[-1], kwargs)
        return kept(found, best(found, self.threshold))

    def _reached(self, found: Sequence[Any]) -> bool:
        return any(not isinstance(f, Exception) and f[1] >= self.threshold for f in found)

    def _attempt(self, number: int, kwargs: dict[str, Any], advice: Mapping[str, str] | None) -> tuple[Any, Any, Any]:
        """(prediction, reward, trace) of one attempt."""
        trace: list[Any] = []
        with settings.context(sampling=attempt_sampling(number), trace=trace), self._told(advice):
            prediction = self.module(**kwargs)
        return prediction, self.reward_fn(kwargs, prediction), trace

    @contextmanager
    def _told(self, advice: Mapping[str, str] | None) -> Iterator[None]:
        if not advice:
            yield
            return
        names = {p.signature: name for name, p in self.module.named_predictors()}
        shown = {id(p): advice.get(names[p.signature], "N/A") for _, p in self.module.named_predictors()}
        with hinting(shown, late=not settings.compat.startswith("dspy")):
            yield

    def _feedback(self, found: tuple[Any, Any, Any], kwargs: dict[str, Any]) -> Mapping[str, str]:
        """Advice by the name of each predictor."""
        prediction, reward, trace = found
        names = {id(p): name for name, p in self.module.named_predictors()}
        steps = [{"module_name": names[id(p)], "inputs": i, "outputs": dict(o.items())} for p, i, o in trace]
        asked = {
            "program_code": self.module_code,
            "modules_defn": definitions(self.module),
            "program_inputs": kwargs,
            "program_trajectory": steps,
            "program_outputs": dict(prediction.items()),
            "reward_code": self.reward_fn_code,
            "target_threshold": self.threshold,
            "reward_value": reward,
            "module_names": [name for name, _ in self.module.named_predictors()],
        }
        texts = {k: v if isinstance(v, str) else _json(v) for k, v in asked.items()}
        made: Any = Predict(OfferFeedback)(**texts)
        advice: Mapping[str, str] = made.advice
        return advice


def definitions(module: Module) -> str:
    """The predictors of a module with their fields and instructions, as text."""
    line = "-" * 80
    out = [line]
    for name, predictor in module.named_predictors():
        signature = predictor.signature.ir()
        out += [f"Module {name}", "\n\tInput Fields:", _tabbed(described(signature.inputs))]
        out += ["\tOutput Fields:", _tabbed(described(signature.outputs))]
        out += [f"\tOriginal Instructions: {_tabbed(textwrap.dedent(signature.instruction))}", line]
    return "\n".join(o.strip("\n") for o in out)


def _tabbed(text: str) -> str:
    return ("\n" + "\t" * 2).join(["", *text.splitlines()])


def _json(value: Any) -> str:
    return json.dumps(_masked(value), indent=2, ensure_ascii=False)


def _masked(value: Any) -> Any:
    """A value with what is not JSON replaced by a note."""
    if isinstance(value, dict):
        return {k: _masked(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return f"<non-serializable: {type(value).__name__}>"


def _source(thing: Any) -> str:
    """The source of a class or function, or of the class of a callable. Raises OSError if it cannot be had."""
    try:
        return source_of(thing)
    except TypeError:
        return source_of(type(thing))
