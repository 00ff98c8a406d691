"""Instructions out of a declared pool: a list of texts, a file with one per line, or either by predictor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lampc.ir.diag import there_are
from lampc.passes.optimize.proposers.protocol import Drafted, Wish, dealt
from lampc.passes.optimize.protocol import OptimizeError, Problem


@dataclass(frozen=True)
class Pool:
    """Texts in the pool's order, each once, none that a predictor has or had. `base` is where relative paths start."""

    name: ClassVar[str] = "pool"
    pool: Any = ()
    base: Path = field(default=Path("."), repr=False)

    def begin(self, problem: Problem, wishes: Sequence[Wish]) -> Drafted:
        return dealt(wishes, pool_texts(self.name, self.pool, problem, self.base))

    def files(self, problem: Problem) -> object:
        return pool_texts(self.name, self.pool, problem, self.base)

    def calls(self, problem: Problem, wishes: int) -> int:
        return 0


def pool_texts(who: str, pool: Any, problem: Problem, base: Path) -> dict[str, list[str]]:
    """The pool of each predictor. Raises OptimizeError, naming `who`, for a pool that cannot be read or is empty."""
    known = [p.symbol for p in problem.predictors()]
    if isinstance(pool, Mapping):
        for name in pool:
            if name not in known:
                raise OptimizeError(f"{who}: the pool is for `{name}`; {there_are(known)}")
        return {name: _texts(who, pool.get(name, ()), base) for name in known}
    texts = _texts(who, pool, base)
    if not texts:
        raise OptimizeError(f'{who}: the pool is empty; give `pool: ["text", ...]` or a text file')
    return {name: list(texts) for name in known}


def _texts(who: str, pool: Any, base: Path) -> list[str]:
    lines = _lines(who, base / pool) if isinstance(pool, str | Path) else [str(t).strip() for t in pool]
    return list(dict.fromkeys(t for t in lines if t))


def _lines(who: str, path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as e:
        raise OptimizeError(f"{who}: the pool {path} cannot be read: {e.strerror}") from None
    except UnicodeDecodeError:
        raise OptimizeError(f"{who}: the pool {path} is not UTF-8 text") from None
