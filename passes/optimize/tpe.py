"""Choices sampled by a tree-structured Parzen estimator: that of optuna, which is imported when it is needed."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from lampc.passes.optimize.protocol import OptimizeError

if TYPE_CHECKING:
    import optuna

Params: TypeAlias = dict[str, int]
"""The place of the choice made for each variable."""

STARTUP = 10
"""With fewer trials than these in a study, optuna draws the next at random, whatever their values."""


def optuna_module(who: str) -> Any:
    """The package. Raises OptimizeError, naming `who` needs it, where it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError as e:
        if e.name != "optuna":
            raise
        raise OptimizeError(f"{who} samples with optuna, which is not installed: pip install 'lampc[optuna]'") from None
    return optuna


class TreeSearch:
    """A study of `sizes` (choices of each variable, in the order in which they are sampled), to be maximized.

    With `together` above 1, trials that are not told yet count as bad ones (a constant liar), so that trials sampled at
    the same time differ. The first trials are drawn at random (`STARTUP`). Raises OptimizeError
    without optuna.
    """

    def __init__(self, who: str, sizes: Mapping[str, int], seed: int, together: int = 1) -> None:
        self._optuna = optuna_module(who)
        self._sizes = dict(sizes)
        options: dict[str, Any] = {"seed": seed, "multivariate": True}
        if together > 1:
            options["constant_liar"] = True
        with quiet(self._optuna):
            sampler = self._optuna.samplers.TPESampler(**options)
            self._study: optuna.Study = self._optuna.create_study(direction="maximize", sampler=sampler)
        self._open: dict[int, Any] = {}

    def ask(self) -> tuple[int, Params]:
        """A trial's number, by which it is told, and its choices."""
        with quiet(self._optuna):
            trial = self._study.ask()
            params = {name: int(trial.suggest_categorical(name, range(n))) for name, n in self._sizes.items()}
        self._open[trial.number] = trial
        return trial.number, params

    def tell(self, number: int, value: float) -> None:
        self._study.tell(self._open.pop(number), value)

    def add(self, params: Params, value: float) -> None:
        """A trial that was not sampled here."""
        choices = self._optuna.distributions.CategoricalDistribution
        kinds = {name: choices(range(n)) for name, n in self._sizes.items()}
        self._study.add_trial(self._optuna.trial.create_trial(params=params, distributions=kinds, value=value))


@contextlib.contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Without the lines that optuna writes for each study, and without notes that an option of ours is experimental."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)
