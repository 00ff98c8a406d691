"""`EnsembledProgram`: several programs asked the same, and what is made of their answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lampc.frontend.python import state as states
from lampc.frontend.python.module import Module
from lampc.ir import digest
from lampc.ir.runner import gather


class EnsembledProgram(Module):
    """What `Ensemble` makes: `reduce_fn` of what the programs return, or the list of it.

    The programs run together. With `size` each call asks so many of them, drawn at random; with `deterministic` the
    draw follows from the inputs. The state holds that of every program, compiled ones too.
    """

    def __init__(
        self,
        programs: Sequence[Any],
        reduce_fn: Callable[[list[Any]], Any] | None = None,
        size: int | None = None,
        deterministic: bool = False,
    ) -> None:
        super().__init__()
        if not programs:
            raise ValueError("an ensemble needs at least one program")
        if size is not None and not 0 < size <= len(programs):
            raise ValueError(f"`size` is {size}; there are {len(programs)} programs to draw from")
        self.programs = list(programs)
        self.reduce_fn = reduce_fn
        self.size = size
        self.deterministic = deterministic

    @property
    def module(self) -> Any:
        """The program whose inputs are those of all."""
        return self.programs[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        chosen = self._chosen(args, kwargs)
        found = gather([partial(p, *args, **kwargs) for p in chosen])
        for one in found:
            if isinstance(one, Exception):
                raise one
        return found if self.reduce_fn is None else self.reduce_fn(found)

    def _graph(self, **inputs: Any) -> Any:
        """`forward` as it is traced; a draw of programs, or answers that are not reduced, run as plain Python."""
        programs = self.programs if self.size is None else self._chosen((), inputs)
        return self.reduce_fn([program(**inputs) for program in programs])  # type: ignore[misc]

    def _chosen(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        if self.size is None:
            return self.programs
        if not self.deterministic:
            return random.sample(self.programs, self.size)
        drawn = random.Random(digest(repr((args, sorted(kwargs.items())))))
        return drawn.sample(self.programs, self.size)

    # -- state: that of compiled programs too, which `named_predictors` leaves out ------------------------

    def dump_state(self, json_mode: bool = True) -> dict[str, Any]:
        return states.dump_state(_Whole(self), json_mode)

    def load_state(self, state: Mapping[str, Any], *, allow_unsafe_lm_state: bool = False) -> Any:
        """Take over the state of an ensemble of as many programs of the same kinds. Raises KeyError or ValueError."""
        self._check(state, "the saved state")
        states.load_state(_Whole(self), state, allow_unsafe_lm_state=allow_unsafe_lm_state)

    def save(
        self, path: str | Path, save_program: bool = False, modules_to_serialize: Sequence[Any] | None = None
    ) -> None:
        _Whole(self).save(path, save_program, modules_to_serialize)

    def load(self, path: str | Path, allow_pickle: bool = False, allow_unsafe_lm_state: bool = False) -> None:
        """The same from a file."""
        self._check(states.state_of(path), str(path))
        _Whole(self).load(path, allow_pickle, allow_unsafe_lm_state)

    def _check(self, state: Mapping[str, Any], what: str) -> None:
        known = {name.partition(".")[0] for name in state if name.startswith("programs[")}
        if len(known) != len(self.programs):
            raise ValueError(f"{what} is that of {len(known)} programs, and this ensemble has {len(self.programs)}")


class _Whole(Module):
    """An ensemble with nothing frozen."""

    def __init__(self, ensemble: EnsembledProgram) -> None:
        self.ensemble = ensemble

    def named_predictors(self) -> list[tuple[str, Any]]:
        out = []
        for i, program in enumerate(self.ensemble.programs):
            for name, predictor in program.named_predictors():
                out.append((f"programs[{i}]" if predictor is program else f"programs[{i}].{name}", predictor))
        return out
